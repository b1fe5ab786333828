"""PPO in one file, in the style of CleanRL; needs torch and nothing else.

python examples/cleanrl_ppo.py                 # the package's own batch of environments
python examples/cleanrl_ppo.py --vector sync   # Gymnasium's SyncVectorEnv of single ones
"""

import argparse
import functools

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn

ENV = "rl_serial:rl_serial/PermutationAutomatonSteer-v0"
OPTIONS = {"group": "z5", "serial_depth": 3, "decisions": 2}
MODE, NUM_ENVS, STEPS = AutoresetMode.SAME_STEP, 64, 32  # NEXT_STEP: every reset is a step too
EPOCHS, RATE, GAMMA, LAMBDA, CLIP = 4, 2e-3, 1.0, 0.95, 0.2
one = functools.partial(gym.make, ENV, **OPTIONS)
MAKE = {
    "native": lambda: gym.make_vec(ENV, NUM_ENVS, autoreset_mode=MODE, **OPTIONS),
    "sync": lambda: SyncVectorEnv([one] * NUM_ENVS, autoreset_mode=MODE),
}


def main(vector: str, updates: int) -> None:
    torch.manual_seed(0)
    envs = MAKE[vector]()
    size, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    actor, critic = (
        nn.Sequential(nn.Linear(size, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), last)
        for last in (nn.Linear(128, actions), nn.Linear(128, 1))
    )
    weights = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(weights, lr=RATE, eps=1e-5)

    def policy(seen: torch.Tensor, mask: torch.Tensor) -> torch.distributions.Categorical:
        return torch.distributions.Categorical(logits=actor(seen).masked_fill(mask == 0, -1e9))

    observation, info = envs.reset(seed=0)
    for _ in range(updates):
        rollout = []
        for _ in range(STEPS):
            seen, mask = torch.as_tensor(observation), torch.as_tensor(info["action_mask"])
            with torch.no_grad():
                pi, value = policy(seen, mask), critic(seen)[:, 0]
                action = pi.sample()
            observation, reward, terminated, _, info = envs.step(action.numpy())
            ended, reward = torch.as_tensor(terminated).float(), torch.as_tensor(reward).float()
            rollout.append((seen, mask, action, pi.log_prob(action), value, reward, ended))
        with torch.no_grad():
            following = critic(torch.as_tensor(observation))[:, 0]
        advantage, advantages = torch.zeros(NUM_ENVS), []
        for *_, value, reward, ended in reversed(rollout):  # nothing is bootstrapped past an end
            delta = reward + GAMMA * (1 - ended) * following - value
            advantage = delta + GAMMA * LAMBDA * (1 - ended) * advantage
            advantages, following = [advantage, *advantages], value
        seen, mask, action, old, value, reward, ended = map(torch.cat, zip(*rollout, strict=True))
        gains = torch.cat(advantages)
        for rows in (part for _ in range(EPOCHS) for part in torch.randperm(len(seen)).chunk(4)):
            pi = policy(seen[rows], mask[rows])
            ratio = (pi.log_prob(action[rows]) - old[rows]).exp()
            gain = (gains[rows] - gains[rows].mean()) / (gains[rows].std() + 1e-8)
            surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            error = (critic(seen[rows])[:, 0] - (gains + value)[rows]).square().mean()
            loss = 0.5 * error - surrogate - 0.01 * pi.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 0.5)
            optimizer.step()
    reached = float(reward.sum() / ended.sum())  # of the last rollout, whose actions are sampled
    print(f"mean return {reached:.4f} (the best: 1.00, a random agent: about 0.00; {vector})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--vector", choices=MAKE, default="native")
    parser.add_argument("--updates", type=int, default=60)
    main(**vars(parser.parse_args()))
