"""The examination on games: who wins, which moves keep it so, and games against the opponent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_serial.agents.protocols import Agent, decide, on_host
from rl_serial.agents.search import SearchAgent
from rl_serial.agents.search.judgement import take_rows
from rl_serial.envs.games import is_solvable
from rl_serial.envs.games.duel import Duel, DuelState
from rl_serial.envs.random import episode_seeds, state_seeds
from rl_serial.metrics import Measurement, measured
from rl_serial.subjects.games import metrics as of
from rl_serial.subjects.games.floors import GameFloor, measure_floor
from rl_serial.subjects.games.metrics import RIGHT
from rl_serial.subjects.games.positions import ROUND, ROUNDS, Positions, draw_positions


@dataclass(frozen=True)
class Answers:
    """What an agent says of N positions."""

    sign: NDArray[np.bool_] | None  # [N] whether its value has the right sign
    kept: NDArray[np.bool_]  # [N] whether its move keeps the value


@dataclass(frozen=True)
class GameEvaluation:
    """What an examination found."""

    returns: NDArray[np.float64]  # [E] of games against the opponent
    groups: list[int]  # of plies that positions end within
    plies: NDArray[np.int64]  # [N] the group of each position
    sign: NDArray[np.bool_] | None  # [N] whether the agent's value has the right sign
    choice: NDArray[np.bool_]  # [N] where the move matters
    kept: NDArray[np.bool_]  # [N] whether the agent's move keeps the value
    floor: GameFloor | None = None  # measured once, at the end of a run
    raw: Answers | None = None  # of an agent that searches: its network's
    openings: float | None = None  # share of won openings not won, measured once, at the end

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean return over games."""
        half = 1.96 * float(self.returns.std(ddof=1)) / math.sqrt(self.returns.size)
        return float(self.returns.mean()) - half, float(self.returns.mean()) + half

    @property
    def sign_by(self) -> dict[int, float]:
        """Share of right value signs by group of plies; NaN where there are no positions."""
        if self.sign is None:
            return {}
        return {group: _share(self.sign[self.plies == group]) for group in self.groups}

    @property
    def kept_by(self) -> dict[int, float]:
        """Share of moves that keep the value, where they matter, by group of plies."""
        return {
            group: _share(self.kept[self.choice & (self.plies == group)]) for group in self.groups
        }

    def measurements(self) -> list[Measurement]:
        """What was measured; NaN where nothing was."""
        found = [
            measured(of.RETURN, self.returns.mean()),
            measured(of.WON, (self.returns > 0).mean()),
        ]
        if not self.groups:
            return found
        kept = _share(self.kept[self.choice])
        found.append(measured(of.KEPT, kept))
        found.append(measured(of.HORIZON, serial_horizon(self.kept_by)))
        found += [measured(of.KEPT_BY, share, plies=g) for g, share in self.kept_by.items()]
        if self.sign is not None:
            found.append(measured(of.SIGN, _share(self.sign)))
            found.append(measured(of.SIGN_HORIZON, serial_horizon(self.sign_by)))
            found += [measured(of.SIGN_BY, share, plies=g) for g, share in self.sign_by.items()]
        found += self._of_the_network()
        if self.openings is not None:
            found.append(measured(of.OPENINGS, self.openings))
        if self.floor is not None:
            floors = self.floor.measurements(self.plies, self.plies[self.choice], self.groups)
            highest = next(m.value for m in floors if m.metric is of.KEPT_FLOOR)
            found += [*floors, measured(of.ABOVE_FLOOR, kept - highest)]
        return found

    def _of_the_network(self) -> list[Measurement]:
        """What the network alone says, of an agent that searches."""
        if self.raw is None:
            return []
        found = [measured(of.RAW_KEPT, _share(self.raw.kept[self.choice]))]
        if (sign := self.raw.sign) is not None:
            found.append(measured(of.RAW_SIGN, _share(sign)))
            found += [
                measured(of.RAW_SIGN_BY, _share(sign[self.plies == group]), plies=group)
                for group in self.groups
            ]
        return found

    def after_loops(self, loops: int) -> list[Measurement]:
        """What was measured with so many loops of the network."""
        if self.sign is None:
            return []
        by = [
            measured(of.LOOPS_BY, share, loops=loops, plies=group)
            for group, share in self.sign_by.items()
        ]
        return [measured(of.LOOPS_SIGN, _share(self.sign), loops=loops), *by]

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps beside the measurements."""
        return {
            "eval/return_interval": list(self.interval),
            "eval/instances": int(self.returns.size),
        } | {
            f"eval/positions/plies_{group}": int((self.plies == group).sum())
            for group in self.groups
        }

    def headline(self) -> str:
        """Games, kept moves and value signs."""
        low, high = self.interval
        text = f"return {self.returns.mean():.3f} (95 % of games {low:.3f} to {high:.3f})"
        if self.groups:
            text += f", keeps {_share(self.kept[self.choice]):.3f} of values"
            text += f" (horizon {serial_horizon(self.kept_by)} plies)"
        if self.groups and self.sign is not None:
            text += f", {_share(self.sign):.3f} of signs right"
            text += f" (horizon {serial_horizon(self.sign_by)} plies)"
        return text


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else float("nan")


def serial_horizon(shares: dict[int, float]) -> int:
    """Largest number of plies such that 0.9 is right in every group up to it; or 0.

    Groups without positions (NaN) neither count nor break it.
    """
    horizon = 0
    for plies in sorted(shares):
        if shares[plies] >= RIGHT:
            horizon = plies
        elif not math.isnan(shares[plies]):
            break
    return horizon


def right_signs(
    values: NDArray[np.float32], exact: NDArray[np.int8], has_draws: bool
) -> NDArray[np.bool_]:
    """[N] whether ``values`` [N] say who wins: by sign, with draws the nearest of -1, 0, 1."""
    told = np.rint(np.clip(values, -1, 1)) if has_draws else np.where(values > 0, 1, -1)
    right: NDArray[np.bool_] = told == exact
    return right


def play_out(agent: Agent, task: Duel, state: DuelState) -> NDArray[np.float64]:
    """[B] returns of the games that an agent plays against the opponent from ``state`` on."""
    returns = np.zeros(len(state.seeds))
    while not state.ended.all():
        going = np.flatnonzero(~state.ended)
        some = take_rows(state, going)
        action = np.zeros(len(returns), np.int64)
        action[going] = decide(agent.judge(some), task.legal_actions(some))
        transition = task.step(state, action)
        state, returns = transition.state, returns + transition.reward
    return returns


class GameEvaluator:
    """Examines agents on the same positions and games.

    Args:
        task: the rules.
        instances: games that are played.
        per_plies: positions that end within so many plies.
        groups: of plies; none of a board that is too large to be solved.
        seed: chooses positions and games.
    """

    def __init__(
        self, task: Duel, instances: int, per_plies: int, groups: list[int], seed: int
    ) -> None:
        self.task: Any = replace(task, start="full")
        self.groups = groups
        self.seeds = episode_seeds(seed, instances, np)
        self.positions: Positions | None = None
        if is_solvable(task.game):
            seeds = state_seeds(seed, ROUND * ROUNDS, np)
            self.positions = draw_positions(self.task, seeds, per_plies)

    def __call__(self, agent: Agent) -> GameEvaluation:
        """Examine an agent."""
        returns = self.play(agent)
        part = self.positions
        if part is None or not len(part.plies):
            none = np.zeros(0, dtype=np.bool_)
            return GameEvaluation(returns, [], np.zeros(0, np.int64), None, none, none)
        found = self.answers(agent)
        raw = self.answers(agent.agent) if isinstance(agent, SearchAgent) else None
        return GameEvaluation(
            returns, self.groups, part.plies, found.sign, part.choice, found.kept, raw=raw
        )

    def answers(self, agent: Agent) -> Answers:
        """What an agent says of the positions, of a board that can be solved."""
        part = self.positions
        assert part is not None
        judgement = agent.judge(part.state)
        action = decide(judgement, part.legal)
        sign = None
        if judgement.values is not None:
            values = on_host(judgement.values)
            sign = right_signs(values, part.values, self.task.game.has_draws)
        return Answers(sign, part.keeping[np.arange(len(action)), action])

    def play(self, agent: Agent, task: Duel | None = None) -> NDArray[np.float64]:
        """[instances] returns of the games, against the opponent of ``task`` (None: the run's)."""
        rules = self.task if task is None else task
        return play_out(agent, rules, rules.initial(self.seeds))

    def floor(self, instances: int, seed: int, training_task: Duel) -> GameFloor | None:
        """What needs no looking ahead; see :func:`measure_floor`."""
        if self.positions is None or not len(self.positions.plies):
            return None
        return _shared_floor(self, training_task, instances, seed)


@lru_cache(maxsize=8)
def _shared_floor(examine: GameEvaluator, task: Duel, instances: int, seed: int) -> GameFloor:
    """The floor on an evaluator's positions, which the runs of a process share."""
    assert examine.positions is not None
    return measure_floor(task, examine.positions, instances, seed)
