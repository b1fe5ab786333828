"""A loop of one's own: learn from rewards, then hold the network against the exact values.

    pip install rl_serial torch
    python examples/own_loop.py

A Bet is one step long: PASS gives 0, BET the payoff of the chain's end. The network learns what BET
gives from the bets that a random player makes; `action_values()` says what it really gives.
"""

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rl_serial.envs import seeds_for

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "s5", "serial_depth": 3, "start": "uniform"}
NUM_ENVS, STEPS = 256, 400
PASS, BET = 0, 1


def main() -> None:
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    envs = gym.make_vec(ENV, NUM_ENVS, **OPTIONS)
    size = envs.single_observation_space.shape[0]
    network = nn.Sequential(
        nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)

    observation, _ = envs.reset(seed=seeds_for(0, NUM_ENVS))
    for _ in range(STEPS):
        action = generator.integers(2, size=NUM_ENVS)
        following, reward, *_ = envs.step(action)
        predicted = network(torch.as_tensor(observation))[range(NUM_ENVS), action]
        loss = (predicted - torch.as_tensor(reward, dtype=torch.float32)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        observation = following

    # Fresh instances, at every remaining from 1 to 3; under `start: uniform` the observation says
    # how many are left, in its last numbers.
    test = gym.make_vec(ENV, 4096, **OPTIONS)
    observation, _ = test.reset(seed=seeds_for(1, 4096))
    exact = test.unwrapped.action_values()  # [4096, 2]
    with torch.no_grad():
        learned = network(torch.as_tensor(observation)).numpy()
    remaining = observation[:, -(OPTIONS["serial_depth"] + 1) :].argmax(axis=1)
    for k in np.unique(remaining):
        rows = remaining == k
        error = np.sqrt(np.square(learned[rows, BET] - exact[rows, BET]).mean())
        right = (learned[rows].argmax(axis=1) == exact[rows].argmax(axis=1)).mean()
        print(f"{k} remaining: root mean square error of BET {error:.2f}, right {right:.3f}")
    _, reward, *_ = test.step(learned.argmax(axis=1))
    best = f"the best: {exact.max(axis=1).mean():.2f}, a random agent: about 0.00"
    print(f"mean return {reward.mean():.2f} ({best})")


if __name__ == "__main__":
    main()
