"""Tianshou 2: DQN on a DummyVectorEnv of single environments.

pip install 'tianshou>=2.0'
python examples/tianshou_dqn.py
"""

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 2}


def make() -> gym.Env:
    return gym.make(ENV, **OPTIONS)


def main() -> None:
    np.random.seed(0)  # noqa: NPY002 - Tianshou explores with NumPy's global generator
    torch.manual_seed(0)
    training, test = DummyVectorEnv([make] * 16), DummyVectorEnv([make] * 16)
    training.seed(0)
    test.seed(1000)
    env = make()
    net = Net(
        state_shape=env.observation_space.shape,
        action_shape=env.action_space.n,
        hidden_sizes=[128, 128],
    )
    policy = DiscreteQLearningPolicy(
        model=net, action_space=env.action_space, eps_training=0.3, eps_inference=0.0
    )
    algorithm = DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=1.0, target_update_freq=200
    )
    collector = Collector(
        algorithm, training, VectorReplayBuffer(20_000, len(training)), exploration_noise=True
    )
    collector.reset()
    collector.collect(n_step=1600)
    examiner = Collector(algorithm, test)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            test_collector=examiner,
            max_epochs=3,
            epoch_num_steps=4000,
            collection_step_num_env_steps=64,
            update_step_num_gradient_steps_per_sample=0.125,
            test_step_num_episodes=512,
            batch_size=256,
            show_progress=False,
            verbose=False,
        )
    )
    examiner.reset()
    reached = examiner.collect(n_episode=1000).returns.mean()
    print(f"mean return {reached:.2f} (the best: 0.40, a random agent: about 0.00)")


if __name__ == "__main__":
    main()
