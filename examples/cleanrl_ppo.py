"""PPO in one file, in the style of CleanRL; needs torch and nothing else.

    python examples/cleanrl_ppo.py                 # the package's own batch of environments
    python examples/cleanrl_ppo.py --vector sync   # Gymnasium's SyncVectorEnv of single ones

Under SAME_STEP, which is asked for in both cases, every step is one of an episode. SyncVectorEnv's
default is NEXT_STEP: a Bet ends with its first step, so half of the steps would be resets that must
not be learned from.
"""

import argparse
import time

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn

ENV = "rl_serial:rl_serial/PermutationAutomatonSteer-v0"
OPTIONS = {"group": "z5", "serial_depth": 3, "decisions": 2}
NUM_ENVS, STEPS = 64, 32
EPOCHS, MINIBATCHES, GAMMA, LAMBDA, CLIP = 4, 4, 1.0, 0.95, 0.2


def make(vector: str) -> gym.vector.VectorEnv:
    if vector == "native":
        return gym.make_vec(ENV, NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP, **OPTIONS)
    single = lambda: gym.make(ENV, **OPTIONS)  # noqa: E731
    return SyncVectorEnv([single] * NUM_ENVS, autoreset_mode=AutoresetMode.SAME_STEP)


def network(inputs: int, outputs: int, scale: float) -> nn.Sequential:
    last = nn.Linear(128, outputs)
    nn.init.orthogonal_(last.weight, scale)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), last)


def policy(actor: nn.Module, observations: torch.Tensor, mask: torch.Tensor):
    """The distribution over the legal actions."""
    logits = actor(observations).masked_fill(mask == 0, -1e9)
    return torch.distributions.Categorical(logits=logits)


def main(vector: str, updates: int) -> None:
    torch.manual_seed(0)
    envs = make(vector)
    size, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    actor, critic = network(size, actions, 0.01), network(size, 1, 1.0)
    weights = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(weights, lr=2e-3, eps=1e-5)

    first, info = envs.reset(seed=0)
    observation, mask = torch.as_tensor(first), torch.as_tensor(info["action_mask"])
    started = time.perf_counter()
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - update / updates)
        rollout, finished, total = [], 0, 0.0
        for _ in range(STEPS):
            with torch.no_grad():
                distribution = policy(actor, observation, mask)
                action = distribution.sample()
                value = critic(observation)[:, 0]
            seen, reward, terminated, _, info = envs.step(action.numpy())
            reward = torch.as_tensor(reward, dtype=torch.float32)
            ended = torch.as_tensor(terminated)
            rollout.append(
                (observation, mask, action, distribution.log_prob(action), value, reward, ended)
            )
            finished, total = finished + int(ended.sum()), total + float(reward.sum())
            observation, mask = torch.as_tensor(seen), torch.as_tensor(info["action_mask"])

        # Generalised advantages. An episode ends by `terminated` only: nothing is bootstrapped
        # across its end, so `final_obs` is not needed.
        with torch.no_grad():
            following = critic(observation)[:, 0]
        advantage, advantages = torch.zeros(NUM_ENVS), []
        for *_, value, reward, ended in reversed(rollout):
            goes_on = 1 - ended.float()
            delta = reward + GAMMA * goes_on * following - value
            advantage = delta + GAMMA * LAMBDA * goes_on * advantage
            advantages.insert(0, advantage)
            following = value

        seen, masks, taken, old, values, _, _ = (
            torch.cat(part) for part in zip(*rollout, strict=True)
        )
        gains = torch.cat(advantages)
        returns = gains + values
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(seen)).chunk(MINIBATCHES):
                distribution = policy(actor, seen[rows], masks[rows])
                ratio = (distribution.log_prob(taken[rows]) - old[rows]).exp()
                gain = (gains[rows] - gains[rows].mean()) / (gains[rows].std() + 1e-8)
                surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
                value_loss = (critic(seen[rows])[:, 0] - returns[rows]).square().mean()
                entropy = distribution.entropy().mean()
                loss = 0.5 * value_loss - surrogate.mean() - 0.01 * entropy
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 0.5)
                optimizer.step()

    rate = updates * STEPS * NUM_ENVS / (time.perf_counter() - started)
    # Of the last rollout, whose actions are still sampled.
    best = "the best: 1.00, a random agent: about 0.00"
    print(f"mean return {total / finished:.4f} ({best}; {vector}, {rate:,.0f} steps/s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vector", choices=("native", "sync"), default="native")
    parser.add_argument("--updates", type=int, default=60)
    options = parser.parse_args()
    main(options.vector, options.updates)
