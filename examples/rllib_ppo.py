"""RLlib's PPO (new API stack) on the package's own batch of environments.

    pip install 'ray[rllib]==2.60.*' torch     # pins gymnasium 1.2.2
    python examples/rllib_ppo.py

RLlib's env runner expects the step after an episode's end to be its reset: NEXT_STEP.
"""

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 3}
ITERATIONS = 25


def main() -> None:
    config = (
        PPOConfig()
        .environment(ENV, env_config={**OPTIONS, "autoreset_mode": "NEXT_STEP"})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=64,
            gym_env_vectorize_mode="vector_entry_point",
            rollout_fragment_length=32,
        )
        .learners(num_learners=0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[128, 128]))
        .training(
            train_batch_size_per_learner=2048,
            minibatch_size=256,
            num_epochs=8,
            lr=1e-3,
            gamma=1.0,
            lambda_=0.95,
            entropy_coeff=0.01,
        )
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    for _ in range(ITERATIONS):
        found = algorithm.train()["env_runners"]
    algorithm.stop()
    best = "the best: 0.40, a random agent: about 0.00"
    print(f"mean return {found['episode_return_mean']:.2f} ({best})")


if __name__ == "__main__":
    main()
