"""How the updates of fitted networks are made fast: lessons ahead, gradients as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

AHEAD = {"cpu": 2**18, "cuda": 2**24}
"""Numbers of observations whose lessons are made as one batch, of several updates where one has
fewer.

Rules are many small operations, each of which costs more to start than to carry out on few rows. On
a CPU more numbers than these no longer fit its cache, on a GPU they would fill its memory.
"""

GRAPHS_ON = ("cuda",)
"""Devices that replay an update's kernels as one graph."""

WARM_UPS = 3
"""Updates before a graph is captured, in which libraries choose kernels and take memory."""


class LessonsAhead:
    """The lessons of the updates of some trainers, made as one batch for several updates.

    Args:
        make: the lessons of all trainers for the next ``count`` updates: tensors [P, count * B, …],
            those of an update together.
        ahead: most updates whose lessons are made at once; 1 where they depend on what is learned
            meanwhile.
    """

    def __init__(self, make: Callable[[int], Sequence[Tensor]], ahead: int) -> None:
        self.make, self.ahead = make, ahead
        self.first = self.end = -1
        self.parts: list[Tensor] = []

    def at(self, step: int, total: int) -> list[Tensor]:
        """[P, B, …] each: the lessons of update ``step`` of ``total``."""
        if not self.first <= step < self.end:
            count = max(min(self.ahead, total - step), 1)
            self.parts = [
                part.view(len(part), count, -1, *part.shape[2:]) for part in self.make(count)
            ]
            self.first, self.end = step, step + count
        return [part[:, step - self.first] for part in self.parts]


class ReplayedGradients:
    """Losses and gradients of a lesson; on a GPU as one graph, since a deep-narrow net is launches.

    A graph is captured at the first lesson of its shapes and replayed for all others (Ng et al.
    2021, *Accelerating PyTorch with CUDA Graphs*). On other devices the function is called.

    Args:
        function: a lesson's tensors to the loss, whose gradients it leaves where the parameters
            have them. It may not change anything else, wait for the device, or take gradients away.
        device: where it runs.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self.function, self.replays = function, device.type in GRAPHS_ON
        self.graphs: dict[Hashable, _Graph] = {}

    def __call__(self, lesson: Sequence[Tensor], variant: Hashable = None) -> Tensor:
        """The loss, which holds until the next call.

        ``variant`` says what besides the shapes decides the operations of the function.
        """
        if not self.replays:
            return self.function(*lesson)
        key = (variant, *(part.shape for part in lesson))
        if key not in self.graphs:
            self.graphs[key] = _Graph(self.function, lesson)
        return self.graphs[key].replay(lesson)


class _Graph:
    def __init__(self, function: Callable[..., Tensor], lesson: Sequence[Tensor]) -> None:
        self.lesson = [part.clone() for part in lesson]
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function(*self.lesson)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = function(*self.lesson)

    def replay(self, lesson: Sequence[Tensor]) -> Tensor:
        for own, part in zip(self.lesson, lesson, strict=True):
            own.copy_(part)
        self.graph.replay()
        return self.loss
