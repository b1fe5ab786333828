"""Tree search on top of any agent that has values."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import torch

from rl_serial.agents.dynamics import (
    Dynamics,
    LearnedDynamics,
)
from rl_serial.agents.protocols import Agent, Judgement, Preference, on_host
from rl_serial.agents.search.judgement import (
    SEARCH_BATCH,
    planned_judgement,
    prior_logits,
    state_values,
)
from rl_serial.envs.chain import Array, array_namespace, is_numpy_only, map_state
from rl_serial.envs.tasks import Task
from rl_serial.errors import RunError
from rl_serial.planning import (
    Memory,
    MinMax,
    MixValue,
    PolicyOutput,
    RecurrentOutput,
    Root,
    Tree,
    gumbel_muzero_policy,
    muzero_policy,
)

ALGORITHMS = ("gumbel", "puct")
# Returns lie in [-1, 1], so values need no rescaling, as in board games (Danihelka et al. 2022).
_GUMBEL_VALUES = MixValue(value_scale=1.0, rescale=False)
_PUCT_VALUES = MinMax(-1.0, 1.0)


class SearchAgent:
    """Searches before it acts, with another agent's judgement as network.

    A simulation is one serial step of the model: a BET is carried out step by step. Where only one
    action is legal nothing is searched. Zero simulations is the other agent itself.

    Args:
        task: the rules, which say what is legal now.
        agent: judges states; needs values.
        dynamics: the model that is searched in.
        simulations: of a decision, at least 0.
        algorithm: gumbel (Gumbel MuZero) or puct (MuZero, AlphaZero).
        max_depth: most steps from the root to a leaf; None: no limit.
        device: where trees are; None: on the CPU. On a GPU rules, trees and network are tensors
            that never leave it.
        backend: of the planner.

    Raises:
        ValueError: an unknown algorithm, a negative number of simulations.
    """

    def __init__(
        self,
        task: Task[Any],
        agent: Agent,
        dynamics: Dynamics,
        simulations: int,
        algorithm: str = "gumbel",
        max_depth: int | None = None,
        device: torch.device | None = None,
        backend: str = "auto",
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm={algorithm!r}: must be one of {', '.join(ALGORITHMS)}")
        if simulations < 0:
            raise ValueError(f"simulations={simulations}: must be at least 0")
        self.task, self.agent, self.dynamics = task, agent, dynamics
        self.simulations, self.algorithm, self.max_depth = simulations, algorithm, max_depth
        self.device = device
        self.backend = backend
        self.memory = Memory()

    @property
    def preference(self) -> Preference:
        """Action values that the search has found."""
        return Preference.SEARCHED if self.simulations else self.agent.preference

    @property
    def dynamics_kind(self) -> str:
        """What is searched in: true or learned."""
        return "learned" if isinstance(self.dynamics, LearnedDynamics) else "true"

    def with_simulations(self, simulations: int) -> SearchAgent:
        """The same search with another number of simulations."""
        other = copy(self)
        other.simulations, other.memory = simulations, Memory()
        return other

    def within(self, dynamics: Dynamics) -> SearchAgent:
        """The same search in another model."""
        other = copy(self)
        other.dynamics, other.memory = dynamics, Memory()
        return other

    def search(
        self,
        state: Any,
        generator: np.random.Generator | None = None,
        reused: Tree | None = None,
    ) -> tuple[PolicyOutput, Judgement]:
        """The searches from a batch of states, and the agent's own judgement of them.

        Args:
            state: of the task, B rows.
            generator: where given, the search explores as in training: Gumbel noise, or for PUCT
                Dirichlet noise and actions drawn by their visits.
            reused: what :func:`rl_serial.planning.reuse` kept of the searches that led here.

        Raises:
            RunError: the agent or the model says numbers that cannot be searched with.
        """
        if self.device is not None:
            state = map_state(lambda array: torch.as_tensor(array, device=self.device), state)
        legal = self.task.legal_actions(state)
        embedding = self.dynamics.embed(state)
        own = self.dynamics.judge(self.agent, embedding, legal)
        value = state_values(self.agent, own, legal)
        root = Root(prior_logits(self.agent, own), value, embedding, legal)
        try:
            return self._plan(root, generator, reused), own
        except ValueError as error:
            raise RunError(f"search with {type(self.agent).__name__}: {error}") from error

    def _plan(
        self, root: Root, generator: np.random.Generator | None, reused: Tree | None
    ) -> PolicyOutput:
        if self.algorithm == "gumbel":
            return gumbel_muzero_policy(
                root,
                self._recurrent,
                self.simulations,
                max_depth=self.max_depth,
                backend=self.backend,
                memory=self.memory,
                reused=reused,
                gumbel_scale=0.0 if generator is None else 1.0,
                generator=generator,
                qtransform=_GUMBEL_VALUES,
            )
        return muzero_policy(
            root,
            self._recurrent,
            self.simulations,
            max_depth=self.max_depth,
            backend=self.backend,
            memory=self.memory,
            reused=reused,
            temperature=0.0 if generator is None else 1.0,
            dirichlet_fraction=0.0 if generator is None else 0.25,
            generator=generator,
            qtransform=_PUCT_VALUES,
        )

    @property
    def passes(self) -> int:
        """Judgements of a decision, one after the other: of the root, then one a simulation."""
        return 1 + self.simulations

    def judge(self, state: Any) -> Judgement:
        """The searched action, with action values and the root's value from the search."""
        own = self.agent.judge(state)
        if self.simulations == 0:
            return own
        return planned_judgement(
            self.task,
            self.agent,
            own,
            state,
            lambda rows: searched(self.search(rows)[0]),
            SEARCH_BATCH,
        )

    def _recurrent(self, action: Array, embedding: Any) -> tuple[RecurrentOutput, Any]:
        step = self.dynamics.step(embedding, action)
        judgement = self.dynamics.judge(self.agent, step.embedding, step.legal)
        xp = array_namespace(step.reward)
        goes_on = xp.astype(~step.terminated, xp.float32)
        output = RecurrentOutput(
            reward=step.reward,
            discount=self.dynamics.discount * goes_on,
            prior_logits=prior_logits(self.agent, judgement),
            value=state_values(self.agent, judgement, step.legal) * goes_on,
            legal=step.legal,
        )
        return output, step.embedding


def tensors_on(device: torch.device, task: Task[Any]) -> torch.device | None:
    """The ``device`` of :class:`SearchAgent` for networks on ``device``.

    On the CPU, or with rules that are NumPy's, trees are arrays there.
    """
    return None if device.type == "cpu" or is_numpy_only(task.chain) else device


def searched(output: PolicyOutput) -> Judgement:
    """What a search found, on the host."""
    return Judgement(*(on_host(a) for a in (output.qvalues, output.value, output.action)))
