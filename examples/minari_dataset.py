"""Minari: random play of a chain with its exact values as an offline data set, and read again.

    pip install 'minari[create,hdf5]' torch
    python examples/minari_dataset.py

Every step's info has the exact Q* of the state that it leads to, for whoever learns from data.
"""

import os
import tempfile

import gymnasium as gym
import minari
import numpy as np
import torch
from torch import nn

from rl_serial.envs import seeds_for

ENV = "rl_serial:rl_serial/PermutationAutomatonSteer-v0"
OPTIONS = {"group": "z5", "serial_depth": 2, "decisions": 2}
NAME = "rl_serial/automaton-random-v0"
EPISODES, STEPS, TEST = 1000, 400, 4096


class ExactValues(gym.Wrapper):
    def reset(self, **keywords):
        observation, info = self.env.reset(**keywords)
        return observation, info | {"action_values": self.unwrapped.action_values()}

    def step(self, action):
        *found, info = self.env.step(action)
        return *found, info | {"action_values": self.unwrapped.action_values()}


def write():
    env = minari.DataCollector(ExactValues(gym.make(ENV, **OPTIONS)), record_infos=True)
    env.action_space.seed(0)
    for episode in range(EPISODES):
        env.reset(seed=None if episode else 0)
        for _ in range(OPTIONS["serial_depth"]):
            env.step(env.action_space.sample())
    env.create_dataset(NAME, description=str(OPTIONS))


def main() -> None:
    os.environ["MINARI_DATASETS_PATH"] = tempfile.mkdtemp()  # else under the home directory
    write()
    torch.manual_seed(0)
    data = minari.load_dataset(NAME)
    episodes = list(data.iterate_episodes())
    # Of the states in which there was a decision: all but each episode's last.
    seen = torch.as_tensor(np.concatenate([e.observations[:-1] for e in episodes]))
    exact = torch.as_tensor(np.concatenate([e.infos["action_values"][:-1] for e in episodes]))

    network = nn.Sequential(
        nn.Linear(seen.shape[1], 128), nn.ReLU(), nn.Linear(128, exact.shape[1])
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(seen), (512,))
        loss = (network(seen[rows]) - exact[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    test = gym.make_vec(ENV, TEST, **OPTIONS)
    observation, _ = test.reset(seed=seeds_for(1, TEST))
    total, best = 0.0, test.unwrapped.action_values().max(axis=1).mean()
    for _ in range(OPTIONS["serial_depth"]):
        values = network(torch.as_tensor(observation)).detach()
        observation, reward, *_ = test.step(values.argmax(dim=1).numpy())
        total += reward.mean()
    print(f"{data.total_episodes} episodes of {data.env_spec.id} read")
    print(f"mean return {total:.2f} (the best: {best:.2f}, random play: about 0.00)")


if __name__ == "__main__":
    main()
