"""Runs in goal environments: trainers and examination, from a configuration.

Goals are reached or not, so there is no score between random and optimal play: an examination
counts the episodes that end at the goal, those that were there at all, and the steps spent there,
all of them also by how far the goal was at the start.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.stats import binomtest

from rl_serial.agents.contrastive import Actor, ContrastiveTrainer, Critic, GoalAgent
from rl_serial.config import ContrastiveAgentConfig, GoalSB3AgentConfig, RunConfig
from rl_serial.envs.chain import TokenLayout
from rl_serial.envs.goals import make_goal_vec, success_of
from rl_serial.envs.random import evaluation_seeds
from rl_serial.errors import UserError
from rl_serial.networks import Account, Network, account, build_trunk
from rl_serial.training.subject import Examination, Examine, Log, Trainer, solved_trunk
from rl_serial.training.watching import shown_steps

DISTANCES = 4
"""Classes of goals by distance, with as many evaluation episodes in each."""
MOST_AT_A_TIME = 128
"""Evaluation episodes that are played side by side."""
LONGEST_EPISODE = 100_000
"""Steps after which an episode is taken to have no end."""


@dataclass(frozen=True)
class GoalEvaluation:
    """What an examination found, by episode."""

    distance: NDArray[np.float64]  # [E] from the goal at the start, in the units of the goal
    length: NDArray[np.int64]  # [E] steps
    at_goal: NDArray[np.int64]  # [E] steps after which the agent was at the goal
    success: NDArray[np.bool_]  # [E] at the goal after the last step
    returns: NDArray[np.float64]  # [E] sum of the environment's rewards

    @property
    def classes(self) -> list[NDArray[np.int64]]:
        """Episodes of each class of distance, the nearest first."""
        return np.array_split(np.argsort(self.distance, kind="stable"), DISTANCES)

    def metrics(self) -> dict[str, float]:
        """Scalars under their TensorBoard tags."""
        metrics = {
            "eval/success": float(self.success.mean()),
            "eval/success_ever": float((self.at_goal > 0).mean()),
            "eval/time_at_goal": float(self.at_goal.mean()),
            "eval/return": float(self.returns.mean()),
        }
        for k, rows in enumerate(self.classes, start=1):
            metrics[f"eval/success/distance_{k}"] = float(self.success[rows].mean())
            metrics[f"eval/time_at_goal/distance_{k}"] = float(self.at_goal[rows].mean())
        return metrics

    def final(self) -> dict[str, Any]:
        """What ``summary.json`` keeps."""
        return (
            self.metrics()
            | {
                "eval/success_interval": list(_wilson(int(self.success.sum()), self.success.size)),
                "eval/instances": int(self.success.size),
                "eval/episode_steps": float(self.length.mean()),
            }
            | {
                f"eval/distance_{k}": float(self.distance[rows].mean())
                for k, rows in enumerate(self.classes, start=1)
                if rows.size
            }
        )

    def headline(self) -> str:
        """Success, and time at the goal."""
        low, high = _wilson(int(self.success.sum()), self.success.size)
        return (
            f"success {self.success.mean():.3f} (95 % of instances {low:.3f} to {high:.3f}), "
            f"at the goal at some time {(self.at_goal > 0).mean():.3f}, "
            f"for {self.at_goal.mean():.1f} of {self.length.mean():.0f} steps"
        )


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    found = binomtest(hits, trials).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


class GoalEvaluator:
    """Plays an agent's episodes on evaluation instances.

    Args:
        make: makes that many environments.
        instances: episodes, at least one for each class of distance.
        seed: chooses the instances.
    """

    def __init__(self, make: Any, instances: int, seed: int) -> None:
        self.seeds = evaluation_seeds(2 * seed, instances, np)
        self.env: Any = make(min(instances, MOST_AT_A_TIME))

    def __call__(self, agent: GoalAgent) -> GoalEvaluation:
        """Examine an agent."""
        size = self.env.num_envs
        parts = [
            self._play(agent, self.seeds[first : first + size])
            for first in range(0, self.seeds.size, size)
        ]
        return GoalEvaluation(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _play(self, agent: GoalAgent, seeds: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        size, episodes = self.env.num_envs, seeds.size
        # The last round fills up with instances that do not count.
        observation, _ = self.env.reset(seed=[int(s) for s in np.resize(seeds, size)])
        gap = observation["achieved_goal"] - observation["desired_goal"]
        distance = np.linalg.norm(gap.astype(np.float64), axis=1)
        running = np.ones(size, dtype=np.bool_)
        length, at_goal = np.zeros((2, size), dtype=np.int64)
        returns, success = np.zeros(size), np.zeros(size, dtype=np.bool_)
        while running.any():
            observation, reward, terminated, truncated, info = self.env.step(agent.act(observation))
            there = _success(info)
            length += running
            at_goal += running & there
            returns += np.where(running, reward, 0.0)
            success = np.where(running, there, success)
            running &= ~(terminated | truncated)
            if running.any() and length.max() >= LONGEST_EPISODE:
                raise UserError(
                    f"env: no end of an episode within {LONGEST_EPISODE} steps; "
                    "env.max_episode_steps (in Reach and Push env.episode_steps) gives it one"
                )
        return tuple(column[:episodes] for column in (distance, length, at_goal, success, returns))


def _success(info: dict[str, Any]) -> NDArray[np.bool_]:
    try:
        return success_of(info)
    except ValueError as error:
        raise UserError(f"env: nothing says when a goal is reached: {error}") from None


class GoalSubject:
    """A goal environment; see :class:`rl_serial.training.subject.Subject`.

    Raises:
        UserError: an environment that cannot be made, or is none with goals.
    """

    charts: ClassVar[dict[str, Any]] = {
        "goals": {
            "success": ["Multiline", ["eval/success", "eval/success_ever"]],
            "time at goal": ["Multiline", ["eval/time_at_goal"]],
            "success by distance": ["Multiline", ["eval/success/distance_.*"]],
            "time at goal by distance": ["Multiline", ["eval/time_at_goal/distance_.*"]],
            "critic": ["Multiline", ["train/accuracy", "train/critic_loss"]],
        }
    }

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.agent, ContrastiveAgentConfig | GoalSB3AgentConfig)
        self.config, self.agent = config, config.agent
        if config.evaluation.instances < DISTANCES:
            raise UserError(
                f"evaluation.instances: at least {DISTANCES}, one for each class of distance, not "
                f"{config.evaluation.instances}"
            )
        env = self._make(1)
        spaces, self.actions = env.single_observation_space.spaces, env.single_action_space
        env.close()
        for name, space in {**spaces, "action": self.actions}.items():
            if len(space.shape) != 1:
                raise UserError(f"env: {name} must be a vector, and has the shape {space.shape}")
        if not self.actions.is_bounded():
            raise UserError(f"env: actions must have bounds, and are {self.actions}")
        observation, self.goal = (spaces[key].shape[0] for key in ("observation", "desired_goal"))
        self.state = observation + self.goal  # the achieved goal is part of it
        self.action = self.actions.shape[0]

    def check(self, keys: Collection[str]) -> None:
        """Refuse networks that cannot be built and arguments that the algorithm has not."""
        if set(keys) - {"agent"}:
            self._trunks()
        if "agent" in keys and isinstance(self.agent, GoalSB3AgentConfig):
            from rl_serial.agents.sb3_goals import check_goal_arguments

            check_goal_arguments(self.agent)

    def examiner(self) -> GoalEvaluator:
        """Makes the evaluation environments."""
        settings = self.config.evaluation
        return GoalEvaluator(self._make, settings.instances, settings.seed)

    def trainer(self, device: torch.device, log: Log) -> Trainer:
        """The trainer that the configuration describes."""
        torch.manual_seed(self.config.seed)
        if isinstance(self.agent, GoalSB3AgentConfig):
            return self._sb3_trainer(self.agent, device, log)
        phi, policy = self._trunks()
        psi = phi | {"layout": _vector(self.goal)}
        outputs = self.agent.representation
        critic = Critic(*(Network(build_trunk(**trunk), outputs) for trunk in (phi, psi)))
        return ContrastiveTrainer(
            lambda: self._make(self.agent.num_envs, self.agent.processes),
            self.actions,
            (self.state, self.action, self.goal),
            self.agent,
            critic.to(device),
            Actor(build_trunk(**policy), self.action).to(device),
            self.config.seed,
            device,
            log,
        )

    def _sb3_trainer(self, agent: GoalSB3AgentConfig, device: torch.device, log: Log) -> Trainer:
        from rl_serial.agents.sb3_goals import GoalSB3Trainer, check_goal_arguments

        check_goal_arguments(agent)
        critic, policy = self._trunks()
        env = self._make(agent.num_envs, agent.processes)
        return GoalSB3Trainer(env, agent, critic, policy, self.config.seed, device, log)

    def baseline(self) -> None:
        """Every agent here is trained."""

    def accounts(self, trainer: Any) -> dict[str, Account]:
        """What each network costs."""
        return {
            name: account(network, trainer.examples[name])
            for name, network in trainer.networks.items()
        }

    def last_examination(
        self, examine: Examine, agent: Any, trainer: Trainer | None
    ) -> Examination:
        """The same as any other: there are no exact values to make a floor of."""
        return examine(agent)

    def further_metrics(
        self, trainer: Trainer, examine: Examine, device: torch.device
    ) -> dict[str, float]:
        """Nothing."""
        return {}

    def watch(self, agent: GoalAgent, instance: int = 0) -> list[GoalMoment]:
        """An evaluation episode from its first state to its end."""
        env = self._make(1)
        seeds = evaluation_seeds(2 * self.config.evaluation.seed, 1, np, first=instance)
        observation, _ = env.reset(seed=[int(seeds[0])])
        goal = observation["desired_goal"][0]
        path = [observation["achieved_goal"][0]]
        there = [False]
        ended = False
        while not ended and len(path) < LONGEST_EPISODE:
            observation, _, terminated, truncated, info = env.step(agent.act(observation))
            ended = bool(terminated[0] | truncated[0])
            now = info["final_obs"] if ended else observation
            path.append(now["achieved_goal"][0])
            there.append(bool(_success(info)[0]))
        env.close()
        steps = shown_steps(len(path) - 1)
        return [GoalMoment(np.array(path), goal, step, there[step]) for step in steps]

    def _make(self, num_envs: int, processes: int = 1) -> Any:
        options = self.config.env.options
        try:
            for name in ("num_envs", "processes"):
                if name in options:
                    raise ValueError(f"{name}: belongs to the agent: agent.{name}")
            return make_goal_vec(self.config.env.id, num_envs, processes=processes, **options)
        except ValueError as error:
            raise UserError(f"env: {error}") from None

    def _trunks(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of the critic's trunk, of φ in contrastive RL, and of the policy's."""
        config, agent = self.config, self.agent
        outputs, inputs = 1, self.state + self.action + self.goal
        if isinstance(agent, ContrastiveAgentConfig):  # φ does not see the goal
            outputs, inputs = agent.representation, self.state + self.action
        assert config.network is not None
        critic = solved_trunk(config.network, "network", _vector(inputs), outputs)
        key = "network" if config.policy_network is None else "policy_network"
        policy = config.policy_network or config.network
        seen = _vector(self.state + self.goal)
        return critic, solved_trunk(policy, key, seen, 2 * self.action)


def _vector(size: int) -> TokenLayout:
    """A trunk's layout has tokens; to the residual one a vector is a vector."""
    return TokenLayout(1, size - 1, 1)


_SIDE, _EDGE = 240, 20  # pixels of a picture, of the space around what it shows
_PAPER, _PATH, _GOAL, _HERE = (250, 250, 248), (150, 160, 175), (196, 106, 46), (43, 65, 98)


@dataclass(frozen=True)
class GoalMoment:
    """A moment of an episode: where the achieved goal was until now, and the goal."""

    path: NDArray[np.float32]  # [steps + 1, G] of the whole episode
    goal: NDArray[np.float32]  # [G]
    step: int
    at_goal: bool

    def text(self) -> str:
        """As text."""
        here = self.path[self.step]
        distance = float(np.linalg.norm(here - self.goal))
        there = ", at the goal" if self.at_goal else ""
        return (
            f"step {self.step:4d}: {_numbers(here)}, goal {_numbers(self.goal)}, "
            f"distance {distance:.3f}{there}"
        )

    def picture(self) -> NDArray[np.uint8]:
        """The first two numbers of the goal space, with all that the episode passes in view."""
        points = np.concatenate([self.path[:, :2], self.goal[None, :2]]).astype(np.float64)
        if points.shape[1] == 1:
            points = np.concatenate([points, np.zeros_like(points)], axis=1)
        low = points.min(axis=0)
        extent = max(float((points.max(axis=0) - low).max()), 1e-9)
        places = _EDGE + (points - low) / extent * (_SIDE - 2 * _EDGE)
        places[:, 1] = _SIDE - places[:, 1]
        image = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
        draw = ImageDraw.Draw(image)
        passed = [(float(x), float(y)) for x, y in places[: self.step + 1]]
        if len(passed) > 1:
            draw.line(passed, fill=_PATH, width=2)
        x, y = places[-1]
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), outline=_GOAL, width=3)
        x, y = passed[-1]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=_HERE)
        return np.asarray(image)


def _numbers(goal: NDArray[np.float32]) -> str:
    return "(" + ", ".join(f"{number:.2f}" for number in goal) + ")"
