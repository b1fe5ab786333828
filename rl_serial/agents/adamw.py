"""AdamW on a CPU without the bookkeeping that torch repeats for each of hundreds of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class QuickAdamW(torch.optim.AdamW):
    """``torch.optim.AdamW(…, fused=True)`` of parameters on the CPU: the same numbers, sooner.

    torch's own step looks at every parameter's state by itself and counts its steps by itself,
    which for a deep-narrow network takes longer than the fused kernel. Here parameters that stand
    at the same step count it together. State and checkpoints are AdamW's.
    """

    def __init__(self, parameters: Any, learning_rate: float, *, weight_decay: float) -> None:
        super().__init__(parameters, learning_rate, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, as ``torch.optim.AdamW.step``."""
        prepared = [self._prepared(group) for group in self.param_groups]
        if closure is not None or None in prepared:
            return super().step(closure)
        for group, tensors in zip(self.param_groups, prepared, strict=True):
            if tensors is None or not tensors[0]:
                continue
            parameters, gradients, means, squares, step = tensors
            step += 1
            beta1, beta2 = group["betas"]
            torch._fused_adamw_(
                parameters,
                gradients,
                means,
                squares,
                [],
                [step] * len(parameters),
                lr=float(group["lr"]),
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None

    def state_dict(self) -> dict[str, Any]:
        """As of ``torch.optim.AdamW``: every parameter with a count of steps of its own."""
        saved = super().state_dict()
        for place, own in saved["state"].items():
            saved["state"][place] = own | {"step": own["step"].clone()}
        return saved

    def _prepared(
        self, group: dict[str, Any]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], Tensor] | None:
        """What the kernel takes; None where torch has to make states, or steps differ."""
        parameters = [p for p in group["params"] if p.grad is not None]
        state = self.state
        states = [state[p] for p in parameters]
        if not all(states) or group["amsgrad"] or group["maximize"]:
            return None
        gradients: list[Any] = [p.grad for p in parameters]
        step = states[0]["step"] if states else torch.zeros(())
        if any(own["step"] is not step for own in states):
            if any(own["step"] != step for own in states):
                return None
            for own in states:
                own["step"] = step
        means = [own["exp_avg"] for own in states]
        return parameters, gradients, means, [own["exp_avg_sq"] for own in states], step
