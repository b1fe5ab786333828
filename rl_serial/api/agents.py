"""Trained agents in a program of one's own: load, predict, search on top, hand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rl_serial.agents.protocols import (
    ActsOnObservations,
    Judgement,
    ObservingAgent,
    Preference,
    Trainer,
    decide,
    on_host,
)
from rl_serial.config import RunConfig
from rl_serial.errors import UserError, did_you_mean
from rl_serial.runs.devices import choose_device
from rl_serial.runs.files import read_summary
from rl_serial.runs.load import load_trained, searchable_subject
from rl_serial.subjects import subject_of
from rl_serial.subjects.protocol import Examination, HasSpaces, SearchScore

Observation = NDArray[Any] | Mapping[str, NDArray[Any]]
"""[...] as the observation space has it, or a batch [N, ...]; of Dict spaces by key."""


@dataclass(frozen=True)
class Decision:
    """What an agent makes of the states that an environment is in, B of them."""

    action: NDArray[np.int64]  # [B]
    preferences: NDArray[np.float32]  # [B, num_actions]: the largest legal one is taken
    values: NDArray[np.float32] | None  # [B] estimates of the states' values, where there are any
    preference: Preference  # what the preferences are: action values, probabilities, …


def load(folder: str | Path, *, device: str = "auto", trust: bool = False) -> LoadedAgent:
    """The trained agent of a finished run.

    Nothing in the folder is run as code: weights are tensors, the configuration is plain YAML. A
    run whose environment is named ``module:id`` needs ``trust``, as importing that module runs it.

    Args:
        folder: of the run, as ``runs/mine``.
        device: auto, cpu or cuda.
        trust: import the module that the run's environment names.

    Raises:
        UserError: the folder holds no finished run, or a damaged one.
    """
    folder = Path(folder)
    config, trainer = load_trained(folder, device, trust)
    return LoadedAgent(config, trainer, folder, device)


class LoadedAgent:
    """An agent that has been trained; made by :func:`rl_serial.load` and :func:`rl_serial.train`.

    It predicts as a model of Stable-Baselines3 does, so what takes one of those (its
    ``evaluate_policy``, say) takes this.

    Args:
        config: of the run.
        trainer: with what it has learned.
        folder: of the run.
        device: where networks are.
    """

    def __init__(
        self, config: RunConfig, trainer: Trainer, folder: Path, device: str = "auto"
    ) -> None:
        self.config, self.trainer, self.folder = config, trainer, folder
        self.device = choose_device(device)
        self.subject = subject_of(config)
        self.agent: Any = trainer.agent
        self.simulations: int | None = None  # of a search on top; None: there is none
        self._generator = np.random.default_rng(config.seed)
        assert isinstance(self.subject, HasSpaces)
        self.observation_space, self.action_space = self.subject.spaces

    def __repr__(self) -> str:
        """Kind, environment and folder."""
        on_top = f", search of {self.simulations}" if self.simulations is not None else ""
        return f"<{self.config.agent.kind} in {self.config.env.id}{on_top}, {self.folder}>"

    @property
    def results(self) -> dict[str, Any]:
        """The final metrics of the run, by the tags of TensorBoard."""
        found: dict[str, Any] = read_summary(self.folder).get("final", {})
        return found

    def seed(self, seed: int) -> None:
        """Begin the dice of ``predict(deterministic=False)`` anew."""
        self._generator = np.random.default_rng(seed)
        if (model := getattr(self.trainer, "model", None)) is not None:
            model.set_random_seed(seed)

    def predict(
        self,
        observation: Observation,
        mask: NDArray[Any] | None = None,
        deterministic: bool = True,
        *,
        state: Any = None,
        episode_start: Any = None,
    ) -> tuple[Any, None]:
        """The actions for observations, by the convention of Stable-Baselines3.

        Args:
            observation: one, or a batch of them.
            mask: [num_actions] or [N, num_actions], true or 1 where an action is legal, as
                ``info["action_mask"]``; None: all are (one that is not counts as action 0 in the
                package's environments). Continuous actions have none.
            deterministic: the best or likeliest action; else one drawn from the policy. An agent
                of action values alone has no policy and takes the best.
            state: not used; here for callers that hand on the state of a recurrent policy.
            episode_start: not used, likewise.

        Returns:
            An action, or a batch [N, ...] of them, and None.

        Raises:
            UserError: an agent that decides from states, as searches and planners do
                (:meth:`act`), or observations of another shape.
        """
        batch, single = self._batched(observation)
        if isinstance(self.agent, ActsOnObservations) and not isinstance(
            self.agent, ObservingAgent
        ):
            actions = self._acted(batch, deterministic)
        else:
            judgement, legal = self._assessed(batch, mask)
            if deterministic or self.agent.preference != Preference.PROBABILITY:
                actions = decide(judgement, legal)
            else:
                actions = self._drawn(judgement, legal)
        return (actions[0] if single else actions), None

    def values(self, observation: Observation, mask: NDArray[Any] | None = None) -> Any:
        """Estimates of the states' values: a number, or [N] float32.

        Args:
            observation: one, or a batch of them.
            mask: as of :meth:`predict`; what cannot be chosen has no part in a value.

        Raises:
            UserError: as :meth:`predict`, and an agent without values.
        """
        batch, single = self._batched(observation)
        judgement, _ = self._assessed(batch, mask)
        if judgement.values is None:
            raise UserError(f"the agent {self.config.agent.kind} has no values", source=self.folder)
        found = on_host(judgement.values)
        return found[0] if single else found

    def action_values(self, observation: Observation) -> Any:
        """Estimates of every action's value: [num_actions] or [N, num_actions] float32.

        Raises:
            UserError: as :meth:`predict`, and an agent that has none, as PPO.
        """
        batch, single = self._batched(observation)
        judgement, _ = self._assessed(batch, None)
        if self.agent.preference == Preference.PROBABILITY:
            raise UserError(
                f"the agent {self.config.agent.kind} has probabilities of actions "
                "and no values of them",
                source=self.folder,
            )
        found = on_host(judgement.preferences)
        return found[0] if single else found

    def judge(self, env: Any) -> Decision:
        """What the agent makes of the states that an environment of a chain is in.

        Args:
            env: of ``gymnasium.make`` or ``make_vec``, wrapped or not, after its ``reset``; its
                rules may be other ones than the run's where the agent sees observations alone.

        Raises:
            UserError: an environment of something else, before its reset, or of other rules where
                the agent reads states.
        """
        world = getattr(env, "unwrapped", env)
        task, state = getattr(world, "task", None), getattr(world, "state", None)
        if task is None or not hasattr(self.agent, "judge"):
            raise UserError(
                f"{self!r} in {world!r}: judge and act are for environments of chains, whose rules "
                "are known; predict takes observations"
            )
        if state is None:
            raise UserError("reset it before an agent acts in it", source=repr(world))
        legal = on_host(task.legal_actions(state)).astype(np.bool_)
        own = getattr(self.agent, "task", task)
        if _same_rules(task, own):
            judgement = self.agent.judge(state)
        elif isinstance(self.agent, ObservingAgent) and _same_shapes(task, own):
            judgement = self.agent.assess(task.observe(state), task.legal_actions(state))
        else:
            raise UserError(f"{self!r} was trained by the rules {own}, not {task}")
        values = None if judgement.values is None else on_host(judgement.values)
        preferences = on_host(judgement.preferences)
        return Decision(decide(judgement, legal), preferences, values, self.agent.preference)

    def act(self, env: Any) -> Any:
        """The action in the state that an environment is in, or [num_envs] actions of a batch.

        For every agent in a chain, searches and planners of the rules included. Arguments and
        errors as of :meth:`judge`.
        """
        action = self.judge(env).action
        return action if hasattr(env, "num_envs") else action[0]

    def search(
        self, simulations: int, *, dynamics: str | None = None, algorithm: str | None = None
    ) -> LoadedAgent:
        """The same agent with a search on top, which reads states: :meth:`act`, :meth:`judge`.

        Args:
            simulations: of a decision; 0 is the network alone.
            dynamics: true or learned; None: the run's own.
            algorithm: gumbel or puct; None: the run's own.

        Raises:
            UserError: an agent without values, dynamics that were not learned, or an environment
                whose rules are not known.
        """
        if simulations < 0:
            raise UserError(f"must be 0 or more, not {simulations}", "simulations")
        subject = searchable_subject(self.config, self.folder)
        other = copy(self)
        searcher = subject.searcher(self.trainer, self.device, dynamics, algorithm, simulations)
        other.agent = searcher if simulations else getattr(searcher, "agent", searcher)
        other.simulations = simulations
        return other

    def search_scores(
        self,
        simulations: Sequence[int],
        *,
        dynamics: str | None = None,
        algorithm: str | None = None,
    ) -> list[SearchScore]:
        """Scores one step ahead and with each number of ``simulations`` on the same instances.

        Arguments and errors as of :meth:`search`.
        """
        subject = searchable_subject(self.config, self.folder)
        searcher = subject.searcher(self.trainer, self.device, dynamics, algorithm)
        return subject.search_scores(searcher, simulations)

    def examine(self, **settings: Any) -> Examination:
        """Examine it on evaluation instances, as the end of its run did.

        Args:
            settings: keys of ``evaluation`` that differ (instances, per_remaining, seed).

        Raises:
            UserError: a key that the examination has not.
        """
        evaluation = self.config.evaluation
        known = type(evaluation).model_fields
        for key in settings:
            if key not in known:
                near = did_you_mean(key, known)
                raise UserError(f"no such key; there are {', '.join(known)}{near}", key)
        changed = type(evaluation).model_validate(evaluation.model_dump() | settings)
        subject = subject_of(self.config.model_copy(update={"evaluation": changed}))
        if self.agent is self.trainer.agent:
            return subject.last_examination(subject.examiner(), self.trainer)
        return subject.examiner()(self.agent)

    def to_sb3(self) -> Any:
        """The model of Stable-Baselines3 or sb3-contrib, to save, to train on, to hand on.

        Where the run normalises observations, its ``get_vec_normalize_env()`` does that.

        Raises:
            UserError: the agent is none of theirs.
        """
        from rl_serial.agents.sb3 import SB3Trainer

        if not isinstance(self.trainer, SB3Trainer):
            raise UserError(
                f"agent.kind {self.config.agent.kind} is no algorithm of Stable-Baselines3",
                source=self.folder,
            )
        return self.trainer.model

    def to_onnx(self, folder: str | Path, *, tolerance: float = 1e-4) -> dict[str, Path]:
        """Write its networks as ONNX files ``<name>.onnx``, each held against torch.

        The extra ``onnx`` brings what is needed. Inputs and outputs have a free first dimension.

        Args:
            folder: where; it is made.
            tolerance: the largest difference to torch's outputs on random observations, relative
                to outputs larger than 1.

        Returns:
            The files by the names of the networks (value, policy, critic, …).

        Raises:
            UserError: the extra is missing, or an agent without networks.
            RunError: a file whose outputs differ by more.
        """
        from rl_serial.api.export import export

        return export(
            self.trainer, self.observation_space, Path(folder), str(self.folder), tolerance
        )

    def _batched(self, observation: Observation) -> tuple[Any, bool]:
        """Observations [N, ...] as the agent takes them, and whether there was one alone."""
        space = self.observation_space
        if isinstance(space, spaces.Dict):
            if not isinstance(observation, Mapping):
                raise UserError(f"observation: must be a dictionary of {', '.join(space.spaces)}")
            parts = {
                key: _as_batch(part, observation.get(key), key)
                for key, part in space.spaces.items()
            }
            return {key: array for key, (array, _) in parts.items()}, all(
                single for _, single in parts.values()
            )
        batch, single = _as_batch(space, observation, "observation")
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            return batch, single
        flat = [np.asarray(spaces.flatten(space, one), np.float32) for one in batch]
        return np.stack(flat), single

    def _assessed(
        self, batch: Any, mask: NDArray[Any] | None
    ) -> tuple[Judgement, NDArray[np.bool_]]:
        if not isinstance(self.agent, ObservingAgent):
            if hasattr(self.agent, "judge"):
                told = "decides from states; act(env) and judge(env) take them from an environment"
            elif isinstance(self.agent, ActsOnObservations):
                told = "has actions alone; values are those of agents in chains"
            else:
                told = "plans in its own simulator, and predicts nothing from observations"
            raise UserError(f"{self!r} {told}")
        legal = self._legal(mask, len(batch))
        return self.agent.assess(batch.astype(np.float32, copy=False), legal), legal

    def _legal(self, mask: NDArray[Any] | None, rows: int) -> NDArray[np.bool_]:
        shape = (rows, int(self.action_space.n))
        if mask is None:
            return np.ones(shape, dtype=np.bool_)
        legal = np.asarray(mask).astype(np.bool_).reshape(-1, np.shape(mask)[-1])
        if legal.shape != shape:
            raise UserError(f"must be {list(shape)}, not {list(np.shape(mask))}", "mask")
        if not legal.any(axis=1).all():
            raise UserError("a row of it allows no action", "mask")
        return legal

    def _acted(self, batch: Any, deterministic: bool) -> NDArray[Any]:
        if deterministic:
            actions = self.agent.act(batch)
        else:
            model, normalize = self.to_sb3(), getattr(self.agent, "normalize", lambda seen: seen)
            actions, _ = model.predict(normalize(batch), deterministic=False)
        if isinstance(self.action_space, spaces.Discrete):
            actions = actions + int(self.action_space.start)
        return np.asarray(actions)

    def _drawn(self, judgement: Judgement, legal: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[N] actions drawn by their probabilities, among the legal ones."""
        shares = np.where(legal, on_host(judgement.preferences).astype(np.float64), 0.0)
        shares = np.where(shares.sum(axis=1, keepdims=True) > 0, shares, legal.astype(np.float64))
        bounds = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
        dice = self._generator.random((len(bounds), 1))
        last = legal.shape[1] - 1 - legal[:, ::-1].argmax(axis=1)  # rounding may leave a gap above
        chosen: NDArray[np.int64] = np.minimum((bounds <= dice).sum(axis=1), last)
        return chosen


def _as_batch(space: gymnasium.Space[Any], given: Any, name: str) -> tuple[NDArray[Any], bool]:
    """[N, ...] of a space, and whether it was one."""
    array = np.asarray(given)
    shape = space.shape or ()
    if array.shape == shape:
        return array[None], True
    if array.shape[1:] == shape and array.ndim == len(shape) + 1:
        return array, False
    raise UserError(
        f"must be {list(shape)} or a batch {['N', *shape]}, not {list(array.shape)}".replace(
            "'", ""
        ),
        name,
    )


def _same_rules(task: Any, own: Any) -> bool:
    """Whether tasks differ in where their episodes begin at most."""
    return type(task) is type(own) and bool(replace(task, start=own.start) == own)


def _same_shapes(task: Any, own: Any) -> bool:
    return (task.layout, task.action_names) == (own.layout, own.action_names)
