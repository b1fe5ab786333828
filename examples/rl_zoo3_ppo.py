"""RL Baselines3 Zoo: a hyperparameter file, trained by the zoo's own command.

    pip install rl_zoo3
    python examples/rl_zoo3_ppo.py

The zoo imports this package because of `--gym-packages`; options go into `--env-kwargs`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium as gym
from stable_baselines3 import PPO

from rl_serial.envs import seeds_for

ENV = "rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 2}
EPISODES = 4096


def main() -> None:
    logs = tempfile.mkdtemp()
    command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo", "--env", ENV]
    command += ["--conf-file", str(Path(__file__).with_suffix(".yml"))]
    command += ["--gym-packages", "rl_serial"]
    command += ["--env-kwargs", *(f"{name}:{value!r}" for name, value in OPTIONS.items())]
    command += ["--seed", "0", "--eval-freq", "-1", "--verbose", "0", "--log-folder", logs]
    subprocess.run(command, check=True)

    [file] = Path(logs).glob("ppo/*/*.zip")
    model = PPO.load(file)
    test = gym.make_vec(ENV, EPISODES, **OPTIONS)
    observation, _ = test.reset(seed=seeds_for(1, EPISODES))  # an episode of Bet is one step long
    _, reward, *_ = test.step(model.predict(observation, deterministic=True)[0])
    print(f"mean return {reward.mean():.2f} (the best: 0.40, a random agent: about 0.00)")


if __name__ == "__main__":
    main()
