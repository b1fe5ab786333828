"""Trainers whose networks have the same shapes, updated as one batch.

A deep-narrow network is many small matrix products, and a small product costs little more for eight
networks than for one. The networks' parameters are laid side by side in one tensor each, [P, ...]
for P trainers, and every trainer's own parameters and optimiser state become views of its slice: it
acts, is saved and is loaded as if it were alone. Results are those of one by one within rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from rl_serial.agents.fitted import FittedTrainer, make_optimizer, make_schedule
from rl_serial.agents.updates import LessonsAhead, ReplayedGradients
from rl_serial.envs.chain import Array
from rl_serial.errors import RunError


class Population:
    """Trainers that make each update together.

    Args:
        trainers: at the same update, of networks, targets and batches of the same shapes
            (:func:`rl_serial.runs.population.population_key`). Tasks, seeds, learning rates and
            weight decays may differ; those of a task and a rate should stand side by side, since
            their lessons and their optimiser's steps are then made at once.
    """

    def __init__(self, trainers: Sequence[FittedTrainer[Any]]) -> None:
        self.trainers = list(trainers)
        self.device = trainers[0].device
        self.network = _Stack([trainer.network for trainer in trainers])
        self.target: _Stack | None = None
        if trainers[0].target is not None:
            targets = [trainer.target for trainer in trainers]
            self.target = _Stack([network for network in targets if network is not None])
        self.classes = [
            _Class(trainers, self.network, *ends)
            for ends in _runs([(id(trainer.task), *_rates(trainer)) for trainer in trainers])
        ]
        self.lessons = []
        for first, last in _runs([id(trainer.task) for trainer in trainers]):
            trainer, seeds = trainers[first], [one.seed for one in trainers[first:last]]
            values = partial(self._target_values, first, last)
            make = partial(trainer.make_lessons, seeds, values=values)
            self.lessons.append(LessonsAhead(make, trainer.updates_ahead(len(seeds))))
        self.gradients = ReplayedGradients(self._gradients, self.device)

    def update(self) -> dict[int, RunError]:
        """One update of every trainer; of those whose loss is not finite, by place, the error."""
        first = self.trainers[0]
        if self.target is not None and first.renews_target():
            self.target.copy(self.network)
        parts = [lessons.at(first.step, first.total) for lessons in self.lessons]
        losses = self.gradients([torch.cat(part) for part in zip(*parts, strict=True)])
        for members in self.classes:
            members.step()
        if first.logs_next:
            self.synchronise()
        errors = {}
        for place, (trainer, loss) in enumerate(zip(self.trainers, losses, strict=True)):
            try:
                trainer.updated(loss)
            except RunError as error:
                errors[place] = error
        return errors

    def synchronise(self) -> None:
        """Give every trainer what it is saved with; its numbers are always its own."""
        for members in self.classes:
            members.synchronise()

    def _gradients(self, *lesson: Tensor) -> Tensor:
        """[P]: the loss of every network; their gradients are left in the stack."""
        losses = self.network.each(self.trainers[0].loss, *lesson)
        self.network.clear_gradients()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    def _target_values(self, first: int, last: int, observations: Array) -> Array:
        """What the targets of trainers ``first`` to ``last`` give for their rows [N, size]."""
        assert self.target is not None
        rows = torch.as_tensor(observations).to(self.device)
        with torch.no_grad():
            outputs = self.target(rows.view(last - first, -1, rows.shape[1]), first, last).flatten(
                0, 1
            )
        return outputs if isinstance(observations, Tensor) else outputs.cpu().numpy()


class _Class:
    """Trainers ``first`` to ``last``, whose optimisers are set alike: one optimiser for all."""

    def __init__(
        self, trainers: Sequence[FittedTrainer[Any]], network: _Stack, first: int, last: int
    ) -> None:
        self.trainers = trainers[first:last]
        one = self.trainers[0]
        self.names = list(network.parameters)
        self.parameters = [network.part(name, first, last) for name in self.names]
        self.optimizer = make_optimizer(self.parameters, one.config, one.device)
        self.schedule = make_schedule(self.optimizer, one.config)
        self._set(self.optimizer, one.optimizer)
        self.schedule.load_state_dict(one.schedule.state_dict())
        self.bound = False
        if one.optimizer.state:
            self._take_states()

    def step(self) -> None:
        self.optimizer.step()
        self.schedule.step()
        if not self.bound:
            self._give_states()

    def synchronise(self) -> None:
        """Set every trainer's own optimiser and schedule as this one's are."""
        state = self.schedule.state_dict()
        for trainer in self.trainers:
            self._set(trainer.optimizer, self.optimizer)
            trainer.schedule.load_state_dict(state)

    def _take_states(self) -> None:
        for name, parameter in zip(self.names, self.parameters, strict=True):
            theirs = [t.optimizer.state[t.network.get_parameter(name)] for t in self.trainers]
            self.optimizer.state[parameter] = {
                key: torch.stack([state[key] for state in theirs]) if value.ndim else value.clone()
                for key, value in theirs[0].items()
            }
        self._give_states()

    def _give_states(self) -> None:
        """Let the trainers' optimisers have their slices of the state."""
        for name, parameter in zip(self.names, self.parameters, strict=True):
            state = self.optimizer.state[parameter]
            for i, trainer in enumerate(self.trainers):
                trainer.optimizer.state[trainer.network.get_parameter(name)] = {
                    key: value[i] if value.ndim else value for key, value in state.items()
                }
        self.bound = True

    @staticmethod
    def _set(optimizer: torch.optim.Optimizer, like: torch.optim.Optimizer) -> None:
        changes = {key: value for key, value in like.param_groups[0].items() if key != "params"}
        optimizer.param_groups[0].update(changes)


class _Stack:
    """Networks of the same shapes as one; their parameters become views of it."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.shape = copy.deepcopy(networks[0]).to("meta")
        self.recorded: dict[tuple[Any, ...], nn.Module] = {}
        self.parameters: dict[str, Tensor] = {}
        for name, _ in networks[0].named_parameters():
            own = [network.get_parameter(name) for network in networks]
            stacked = torch.stack([parameter.detach() for parameter in own])
            for parameter, part in zip(own, stacked, strict=True):
                parameter.data = part
            self.parameters[name] = stacked.requires_grad_()
            stacked.grad = torch.zeros_like(stacked)

    def __call__(self, observations: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """[Q, B, ...]: what the networks ``first`` to ``last`` give for their rows [Q, B, size]."""
        mine = {name: stacked[first:last] for name, stacked in self.parameters.items()}
        return self._run("outputs", self._one, mine, observations)

    def each(self, loss: Callable[..., Tensor], *lesson: Tensor) -> Tensor:
        """[P] ``loss`` of each network, which is its first argument, on its part of a lesson."""

        def of_one(parameters: dict[str, Tensor], *part: Tensor) -> Tensor:
            return loss(partial(self._one, parameters), *part)

        return self._run("losses", of_one, self.parameters, *lesson)

    def _run(
        self,
        name: str,
        function: Callable[..., Tensor],
        parameters: dict[str, Tensor],
        *arguments: Tensor,
    ) -> Tensor:
        """A function of one network's parameters, of all networks at once.

        Its operations are recorded at the first call with arguments of these shapes, and only they
        run afterwards: vmap itself takes longer than many a small product.
        """
        key = (name, *(argument.shape for argument in arguments))
        if key not in self.recorded:

            def together(*all_arguments: Any) -> Tensor:
                with _StackedLayers():
                    outputs: Tensor = vmap(function)(*all_arguments)
                return outputs

            numbers = {name: stacked.detach() for name, stacked in parameters.items()}
            self.recorded[key] = make_fx(together)(numbers, *arguments)
        outputs: Tensor = self.recorded[key](parameters, *arguments)
        return outputs

    def part(self, name: str, first: int, last: int) -> nn.Parameter:
        """A parameter of networks ``first`` to ``last``, [Q, ...]: numbers and gradient shared."""
        stacked = self.parameters[name]
        part = nn.Parameter(stacked.detach()[first:last])
        assert stacked.grad is not None
        part.grad = stacked.grad[first:last]
        return part

    def clear_gradients(self) -> None:
        gradients = [stacked.grad for stacked in self.parameters.values()]
        torch._foreach_zero_([gradient for gradient in gradients if gradient is not None])

    def copy(self, other: _Stack) -> None:
        """Take the other's numbers."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.parameters.values()), list(other.parameters.values()))

    def _one(self, parameters: dict[str, Tensor], *arguments: Any, **options: Any) -> Tensor:
        outputs: Tensor = functional_call(self.shape, parameters, arguments, options)
        return outputs


class _StackedLayers(TorchFunctionMode):
    """Dense layers and layer norms of a stack in one product each.

    torch's own rules under vmap are right too; they take another pass over memory for the bias, and
    two for what a layer norm multiplies and adds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and len(args) == 3 and args[2] is not None:
            return _Dense.apply(*args)  # type: ignore[no-untyped-call]
        if func is F.layer_norm and kwargs and kwargs.get("weight") is not None:
            normed = F.layer_norm(*args, eps=kwargs["eps"])
            return _Affine.apply(normed, kwargs["weight"], kwargs["bias"])  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


class _Together(torch.autograd.Function):
    """A function of x, weight and bias whose rule under vmap is written out.

    Its own gradient is never asked for: vmap's rule is made of functions that have theirs.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise AssertionError("a stack is differentiated through its rule under vmap")

    @staticmethod
    def first(info: Any, in_dims: Sequence[int | None], *inputs: Tensor) -> Iterator[Tensor]:
        """The inputs with the stack's dimension before all others."""
        for tensor, place in zip(inputs, in_dims, strict=True):
            if place is None:
                yield tensor.expand(info.batch_size, *tensor.shape)
            else:
                yield tensor.movedim(place, 0) if place else tensor


class _Dense(_Together):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> tuple[Tensor, int]:
        x, weight, bias = _Together.first(info, in_dims, *inputs)
        rows = x.flatten(1, -2) if x.ndim > 2 else x[:, None]
        product = torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
        return product.view(*x.shape[:-1], -1), 0


class _Affine(_Together):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.addcmul(bias, x, weight)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Tensor) -> tuple[Tensor, int]:
        x, weight, bias = _Together.first(info, in_dims, *inputs)
        shape = (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])
        return torch.addcmul(bias.view(shape), x, weight.view(shape)), 0


def _runs(keys: Sequence[Any]) -> list[tuple[int, int]]:
    """Where runs of equal keys begin and end."""
    ends, first = [], 0
    for _, run in groupby(keys):
        last = first + len(list(run))
        ends.append((first, last))
        first = last
    return ends


def _rates(trainer: FittedTrainer[Any]) -> tuple[float, float]:
    return trainer.config.learning_rate, trainer.config.weight_decay
