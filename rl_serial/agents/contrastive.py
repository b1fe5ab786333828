"""Contrastive reinforcement learning: reach goals without rewards, by telling futures apart.

The critic says how likely a goal is to lie in the future of a state and an action: minus the
distance between φ(s, a) and ψ(g). It learns by classification which future belongs to which of a
batch of steps (InfoNCE), and the actor chooses actions that the critic finds likely to lead to the
goal. There are no rewards, no bootstraps and no target networks. Eysenbach et al. 2022 (arXiv
2206.07568); settings and deep networks of Wang et al. 2025 (arXiv 2503.14858).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rl_serial.agents.protocols import GoalWorld, Log
from rl_serial.agents.replay import EpisodeReplay
from rl_serial.agents.settings_goals import ContrastiveAgentConfig
from rl_serial.envs.random import fold_in
from rl_serial.errors import RunError
from rl_serial.networks import Network, Trunk, build_trunk
from rl_serial.networks.trunks import dense

_LOG = logging.getLogger(__name__)
LOG_STD_RANGE = (-5.0, 2.0)
LOGGED = ("critic_loss", "actor_loss", "entropy", "accuracy", "logsumexp", "alpha")
"""What is logged of the last batch of a turn, as ``train/…``."""
# Keeps the gradient of a distance finite where two embeddings meet.
_LEAST_DISTANCE = 1e-6

Observation = Mapping[str, NDArray[np.float32]]
"""observation [N, O], achieved_goal [N, G] and desired_goal [N, G] of N environments."""


def state_of(observation: Observation) -> NDArray[np.float32]:
    """[N, O + G]: what an agent sees of the state, which is the achieved goal too.

    In AntMaze the place of the ant is in no other part of the observation.
    """
    both = (observation["observation"], observation["achieved_goal"])
    return np.concatenate(both, axis=1).astype(np.float32, copy=False)


class GoalAgent(Protocol):
    """Who plays in goal environments."""

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions [N, A] within the environment's bounds, without noise."""


class Critic(nn.Module):
    """f(s, a, g) = -||φ(s, a) - ψ(g)||.

    Args:
        phi: the network of state and action side by side.
        psi: the network of goals, with as many outputs.
    """

    def __init__(self, phi: Network, psi: Network) -> None:
        super().__init__()
        self.phi, self.psi = phi, psi

    def forward(self, state: Tensor, action: Tensor, goal: Tensor) -> Tensor:
        """[B]: of each row's own goal."""
        phi, psi = self.embed(state, action, goal)
        return energy(phi, psi)

    def embed(self, state: Tensor, action: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """[B, representation] φ and ψ."""
        return self.phi(torch.cat([state, action], dim=1)), self.psi(goal)


class Actor(nn.Module):
    """A normal distribution squashed by tanh, of state and goal side by side.

    log std = -5 + 3.5 (tanh(.) + 1), between -5 and 2 (Wang et al. 2025).
    """

    def __init__(self, trunk: Trunk, actions: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.mean = dense(trunk.features_dim, actions)
        self.log_std = dense(trunk.features_dim, actions)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S + G] to mean and log standard deviation [B, A] before the tanh."""
        features = self.trunk(inputs)
        low, high = LOG_STD_RANGE
        unit = (torch.tanh(self.log_std(features)) + 1) / 2
        return self.mean(features), low + (high - low) * unit

    def sample(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions in (-1, 1) [B, A] and their log densities [B]; ``noise`` [B, A] is normal."""
        mean, log_std = self(inputs)
        before = mean + log_std.exp() * noise
        normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2) in a form that does not underflow
        squashed = 2 * (math.log(2) - before - F.softplus(-2 * before))
        return torch.tanh(before), (normal - squashed).sum(dim=1)


def energy(phi: Tensor, psi: Tensor) -> Tensor:
    """[B]: -||φ - ψ|| of the rows [B, R]."""
    return -((phi - psi).square().sum(dim=-1) + _LEAST_DISTANCE**2).sqrt()


def info_nce(phi: Tensor, psi: Tensor, penalty: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Forward InfoNCE with a penalty on the size of the log partition function.

    With the logits l_ij = -||φ_i - ψ_j||, the mean over i of -l_ii + log Σ_j exp l_ij
    + penalty (log Σ_j exp l_ij)²: row i is told apart from the goals of the other rows.

    Args:
        phi: [B, R] of states and actions.
        psi: [B, R] of the goals; row i belongs to row i.
        penalty: 0 or more.

    Returns:
        The loss, and what is worth logging: the share of rows whose own goal is likeliest, and the
        mean log partition function.
    """
    # By a matrix product: twenty times as fast as the differences of all pairs, and as exact but
    # for embeddings nearer than a thousandth of their norm.
    logits = -torch.cdist(phi, psi, compute_mode="use_mm_for_euclid_dist")
    partition = torch.logsumexp(logits, dim=1)
    own = logits.diagonal()
    loss = (partition - own).mean() + penalty * partition.square().mean()
    with torch.no_grad():
        accuracy = (logits.argmax(dim=1) == torch.arange(len(logits), device=logits.device)).float()
    return loss, {"accuracy": accuracy.mean(), "logsumexp": partition.detach().mean()}


class ContrastiveAgent:
    """Plays the mean of the actor's distribution.

    Args:
        actor: on ``device``.
        low: [A] the least actions of the environment.
        high: [A] the greatest.
        device: where the actor is.
    """

    def __init__(
        self,
        actor: Actor,
        low: NDArray[Any],
        high: NDArray[Any],
        device: torch.device,
    ) -> None:
        self.actor, self.low, self.high, self.device = actor, low, high, device

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions [N, A]: tanh of the mean, scaled to the bounds."""
        with torch.no_grad():
            mean, _ = self.actor(self.inputs(observation))
        return self.scaled(torch.tanh(mean).cpu().numpy())

    def inputs(self, observation: Observation) -> Tensor:
        """[N, S + G] state and desired goal."""
        both = np.concatenate([state_of(observation), observation["desired_goal"]], axis=1)
        return torch.as_tensor(both, dtype=torch.float32, device=self.device)

    def scaled(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """From (-1, 1) to the bounds of the environment."""
        found: NDArray[np.float32] = self.low + (action + 1) / 2 * (self.high - self.low)
        return np.clip(found, self.low, self.high).astype(np.float32)


class ContrastiveTrainer:
    """Trains actor and critic on what the actor plays.

    In turns, every environment is stepped ``unroll`` times with actions drawn from the actor, and
    actor, critic and temperature are updated ``updates`` times. After :meth:`state_dict` all
    environments begin new episodes, in the run that goes on as in one that is resumed: simulators
    need not be saved, and the two are the same.

    Args:
        make_env: makes the vector environment with Dict observations and SAME_STEP autoreset, when
            training begins.
        actions: the bounded Box of one environment's actions.
        sizes: numbers in a state, an action and a goal.
        config: of the agent.
        critic: on ``device``.
        actor: on ``device``.
        seed: of episodes, exploration and batches.
        device: where the networks are. The replay is on the CPU.
        log: receives (tag, value, step).
    """

    def __init__(
        self,
        make_env: Callable[[], Any],
        actions: gymnasium.spaces.Box,
        sizes: tuple[int, int, int],
        config: ContrastiveAgentConfig,
        critic: Critic,
        actor: Actor,
        seed: int,
        device: torch.device,
        log: Callable[[str, float, int], None],
    ) -> None:
        self.make_env, self.config, self.log = make_env, config, log
        self.seed, self.device = seed, device
        self.critic, self.actor = critic, actor
        self.total, self.step, self.updates = config.timesteps, 0, 0
        self.metrics = {f"train/{name}": float("nan") for name in LOGGED}
        self.agent = ContrastiveAgent(actor, actions.low, actions.high, device)
        self.target_entropy = config.target_entropy * sizes[1]
        self.log_alpha = torch.zeros((), device=device, requires_grad=True)
        self.optimizers = {
            name: torch.optim.Adam(parameters, config.learning_rate)
            for name, parameters in (
                ("critic", list(critic.parameters())),
                ("actor", list(actor.parameters())),
                ("alpha", [self.log_alpha]),
            )
        }
        self.replay = EpisodeReplay(config.buffer_size, config.num_envs, sizes)
        self.generator = np.random.default_rng(seed)
        self.noise = torch.Generator(device).manual_seed(seed)
        self._observation: Observation | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks that training spends its budget on."""
        return {"critic": self.critic, "policy": self.actor}

    @property
    def examples(self) -> dict[str, Any]:
        """What each network is called with, one row."""
        state, action, goal = (
            torch.zeros(1, array.shape[2], device=self.device)
            for array in (self.replay.state, self.replay.action, self.replay.reached)
        )
        return {"critic": (state, action, goal), "policy": torch.cat([state, goal], dim=1)}

    def train(self, pause: Callable[[], None]) -> None:
        """Take the timesteps that are left; ``pause`` is called between two turns.

        Raises:
            RunError: a loss is not finite.
        """
        turn = self.config.num_envs * self.config.unroll
        if whole := self.total % turn:
            _LOG.warning(
                "agent.timesteps: %s are no whole number of unrolls; %s are trained",
                f"{self.total:,}",
                f"{self.total - whole + turn:,}",
            )
        env = self.make_env()
        try:
            while self.step < self.total:
                pause()
                self._take_turn(env)
        finally:
            env.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a run needs to go on as if it had not been interrupted."""
        self.replay.end(np.ones(self.config.num_envs, dtype=np.bool_))
        self._observation = None
        replay = self.replay.state_dict()
        return {
            "step": self.step,
            "updates": self.updates,
            "critic": self.critic.state_dict(),
            "actor": self.actor.state_dict(),
            "log_alpha": self.log_alpha.detach(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "replay": {"time": replay.pop("time")}
            | {name: torch.as_tensor(array) for name, array in replay.items()},
            "generator": self.generator.bit_generator.state,
            "noise": self.noise.get_state(),
            "metrics": dict(self.metrics),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.step, self.updates = state["step"], state["updates"]
        self.critic.load_state_dict(state["critic"])
        self.actor.load_state_dict(state["actor"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        time = {"time": state["replay"]["time"]}
        arrays = {k: v.numpy() for k, v in state["replay"].items() if k != "time"}
        self.replay.load_state_dict(time | arrays)
        self.generator.bit_generator.state = state["generator"]
        self.noise.set_state(state["noise"])
        self.metrics = state["metrics"]
        self._observation = None

    def model_state(self) -> dict[str, Any]:
        """What a finished run keeps."""
        return {"critic": self.critic.state_dict(), "actor": self.actor.state_dict()}

    def load_model_state(self, state: dict[str, Any]) -> None:
        """Load what a finished run kept."""
        self.critic.load_state_dict(state["critic"])
        self.actor.load_state_dict(state["actor"])

    def _take_turn(self, env: Any) -> None:
        """Play and learn."""
        if self._observation is None:
            # Training episodes differ by the step at which they begin.
            key = fold_in(np.array([self.seed]), np.array([self.step]))
            self._observation, _ = env.reset(seed=int(key[0]))
        for _ in range(self.config.unroll):
            self._observation = self._play(env, self._observation)
        if self.replay.time >= self.config.prefill:
            for _ in range(self.config.updates):
                found = self._update()
            self._log(found)

    def _play(self, env: Any, before: Observation) -> Observation:
        """One step of every environment; the observations that it led to."""
        inputs = self.agent.inputs(before)
        noise = self._normal(inputs.shape[0])
        with torch.no_grad():
            drawn, _ = self.actor.sample(inputs, noise)
        action = drawn.cpu().numpy()
        after: Observation
        after, _, terminated, truncated, info = env.step(self.agent.scaled(action))
        ended = terminated | truncated
        reached = after["achieved_goal"]
        if ended.any():  # where an episode has ended, the first of the next one stands there
            reached = np.where(ended[:, None], info["final_obs"]["achieved_goal"], reached)
        self.replay.add(state_of(before), action, reached, ended)
        self.step += self.config.num_envs
        return after

    def _update(self) -> dict[str, Tensor]:
        """One update of critic, actor and temperature on one batch; what is worth logging."""
        config = self.config
        batch = self.replay.sample(config.batch_size, config.discount, self.generator)
        state, action, goal = (
            torch.as_tensor(array, device=self.device)
            for array in (batch.state, batch.action, batch.goal)
        )
        phi, psi = self.critic.embed(state, action, goal)
        critic_loss, found = info_nce(phi, psi, config.logsumexp_penalty)
        self._descend("critic", critic_loss)

        alpha = self.log_alpha.exp().detach()
        drawn, log_density = self.actor.sample(
            torch.cat([state, goal], dim=1), self._normal(config.batch_size)
        )
        # The critic's own gradient is not wanted here, only that of its input.
        self.critic.requires_grad_(False)
        actor_loss = (alpha * log_density - self.critic(state, drawn, goal)).mean()
        self._descend("actor", actor_loss)
        self.critic.requires_grad_(True)

        entropy = -log_density.detach().mean()
        self._descend("alpha", self.log_alpha.exp() * (entropy - self.target_entropy))
        self.updates += 1
        losses = {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": entropy}
        return losses | found | {"alpha": alpha}

    def _descend(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _log(self, tensors: dict[str, Tensor]) -> None:
        self.metrics = {f"train/{name}": tensors[name].item() for name in LOGGED}
        for tag, value in self.metrics.items():
            self.log(tag, value, self.step)
            if not np.isfinite(value):
                raise RunError(
                    f"{tag} is {value} at timestep {self.step}: a smaller agent.learning_rate may "
                    "help"
                )

    def _normal(self, rows: int) -> Tensor:
        size = (rows, self.replay.action.shape[2])
        return torch.randn(size, generator=self.noise, device=self.device)


def make_trainer(world: GoalWorld, device: torch.device, log: Log) -> ContrastiveTrainer:
    """The trainer that a run describes."""
    config = world.agent
    assert isinstance(config, ContrastiveAgentConfig)
    trunks, policy = (world.trunk("network"), world.psi_trunk()), world.trunk("policy_network")
    outputs = config.representation
    critic = Critic(*(Network(build_trunk(**trunk), outputs) for trunk in trunks))
    return ContrastiveTrainer(
        lambda: world.make_vec(config.num_envs, config.processes),
        world.actions,
        (world.state, world.action, world.goal),
        config,
        critic.to(device),
        Actor(build_trunk(**policy), world.action).to(device),
        world.seed,
        device,
        log,
    )
