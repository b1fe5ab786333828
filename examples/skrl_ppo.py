"""skrl: PPO on the package's own batch of environments.

pip install skrl
python examples/skrl_ppo.py
"""

import tempfile

import gymnasium as gym
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import categorical_model, deterministic_model

from rl_serial.envs import seeds_for

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 3}
NUM_ENVS, STEPS, UPDATES, EPISODES = 64, 32, 30, 4096
LAYERS = [{"name": "net", "input": "OBSERVATIONS", "layers": [128, 128], "activations": "tanh"}]


def main() -> None:
    set_seed(0)
    # skrl takes batches under SAME_STEP, the default of the package's.
    envs = wrap_env(gym.make_vec(ENV, NUM_ENVS, **OPTIONS), wrapper="gymnasium", verbose=False)
    spaces = {
        "observation_space": envs.observation_space,
        "action_space": envs.action_space,
        "device": "cpu",
    }
    models = {
        "policy": categorical_model(**spaces, network=LAYERS, output="ACTIONS"),
        "value": deterministic_model(**spaces, network=LAYERS, output="ONE"),
    }
    config = PPO_CFG(
        rollouts=STEPS,
        learning_epochs=8,
        mini_batches=8,
        discount_factor=1.0,
        learning_rate=1e-3,
        entropy_loss_scale=0.01,
        value_loss_scale=0.5,
    )
    config.experiment.directory = tempfile.mkdtemp()
    config.experiment.write_interval = config.experiment.checkpoint_interval = 0
    memory = RandomMemory(memory_size=STEPS, num_envs=NUM_ENVS, device="cpu")
    agent = PPO(models=models, memory=memory, cfg=config, **spaces)
    schedule = {"timesteps": STEPS * UPDATES, "headless": True, "disable_progressbar": True}
    SequentialTrainer(env=envs, agents=agent, cfg=schedule).train()

    test = gym.make_vec(ENV, EPISODES, **OPTIONS)
    observation, _ = test.reset(seed=seeds_for(1, EPISODES))  # an episode of Bet is one step long
    with torch.no_grad():
        logits, _ = models["policy"].compute({"observations": torch.as_tensor(observation)})
    _, reward, *_ = test.step(logits.argmax(dim=1).numpy())
    print(f"mean return {reward.mean():.2f} (the best: 0.40, a random agent: about 0.00)")


if __name__ == "__main__":
    main()
