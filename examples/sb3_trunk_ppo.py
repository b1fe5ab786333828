"""MaskablePPO of sb3-contrib on a deep-narrow trunk of this package, in a batch of this package.

pip install 'rl_serial[train]'
python examples/sb3_trunk_ppo.py
"""

import gymnasium as gym
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy

import rl_serial

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 2, "think_budget": 1, "think_cost": 0.05}
TRUNK = {
    "features_extractor_class": rl_serial.TrunkExtractor,
    "features_extractor_kwargs": {"kind": "residual", "depth": 4, "parameters": 40_000},
    "net_arch": [],  # linear heads on the trunk, and nothing between
    "share_features_extractor": False,  # a trunk each for actor and critic
    "ortho_init": False,  # it would undo the trunk's own initialisation
}


def make(num_envs: int) -> rl_serial.SerialVecEnv:
    """Its `action_masks` are found without a wrapper."""
    return rl_serial.SerialVecEnv(gym.make_vec(ENV, num_envs, **OPTIONS).unwrapped)


if __name__ == "__main__":
    model = MaskablePPO(
        "MlpPolicy",
        make(128),
        n_steps=16,
        batch_size=512,
        n_epochs=4,
        learning_rate=1e-3,
        seed=0,
        policy_kwargs=TRUNK,
    )
    model.learn(300_000)
    test = make(128)
    test.seed(10_000)
    mean, _ = evaluate_policy(model, test, n_eval_episodes=2000, warn=False)
    print(f"mean return {mean:.2f} (a random agent: below 0.00, the best: 0.40)")
