"""MaskablePPO of sb3-contrib, with the legal actions read through wrappers.

pip install 'rl_serial[train]'
python examples/sb3_maskable_ppo.py
"""

import gymnasium as gym
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.env_util import make_vec_env

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 2, "think_budget": 1, "think_cost": 0.05}


def legal_actions(env: gym.Env):
    """[num_actions] bool: `env.action_masks()` would not be found behind Gymnasium's wrappers."""
    return env.get_wrapper_attr("action_masks")()


def make(seed: int, num_envs: int):
    return make_vec_env(
        ENV,
        n_envs=num_envs,
        seed=seed,
        env_kwargs=OPTIONS,
        wrapper_class=ActionMasker,
        wrapper_kwargs={"action_mask_fn": legal_actions},
    )


if __name__ == "__main__":
    model = MaskablePPO(
        "MlpPolicy", make(0, 16), n_steps=64, batch_size=256, learning_rate=2e-3, seed=0
    )
    model.learn(10_000)
    mean, _ = evaluate_policy(model, make(10_000, 16), n_eval_episodes=500, warn=False)
    print(f"mean return {mean:.2f} (a random agent: below 0.00, the best: 0.40)")
