"""TorchRL: specs are checked, a collector plays the package's own batch, PPO learns.

pip install torchrl
python examples/torchrl_ppo.py
"""

import gymnasium as gym
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper, check_env_specs
from torchrl.modules import MLP, OneHotCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

ENV = "rl_serial:rl_serial/PermutationAutomatonBet-v0"
OPTIONS = {"group": "z5", "serial_depth": 3}
NUM_ENVS, FRAMES, UPDATES, EPOCHS = 64, 2048, 30, 8


def main() -> None:
    torch.manual_seed(0)
    env = GymEnv(ENV, **OPTIONS)
    check_env_specs(env)
    size, actions = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
    logits = TensorDictModule(
        MLP(size, actions, num_cells=[128, 128]), in_keys=["observation"], out_keys=["logits"]
    )
    actor = ProbabilisticActor(
        logits,
        spec=env.action_spec,
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )
    critic = ValueOperator(MLP(size, 1, num_cells=[128, 128]), in_keys=["observation"])
    advantage = GAE(gamma=1.0, lmbda=0.95, value_network=critic, average_gae=True)
    loss_of = ClipPPOLoss(actor, critic, entropy_coeff=0.01)
    optimizer = torch.optim.Adam(loss_of.parameters(), lr=1e-3)

    # TorchRL takes batches under SAME_STEP, the default of the package's.
    envs = GymWrapper(gym.make_vec(ENV, NUM_ENVS, **OPTIONS))
    check_env_specs(envs)
    envs.set_seed(0)
    collector = Collector(
        envs, actor, frames_per_batch=FRAMES, total_frames=FRAMES * UPDATES, device="cpu"
    )
    for batch in collector:
        with torch.no_grad():
            advantage(batch)
        ended = batch["next", "done"]
        reached = float(batch["next", "reward"].sum() / ended.sum())
        rows = batch.reshape(-1)
        for _ in range(EPOCHS):
            for part in rows[torch.randperm(len(rows))].split(256):
                losses = loss_of(part)
                loss = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(loss_of.parameters(), 0.5)
                optimizer.step()
    collector.shutdown()
    print(f"mean return {reached:.2f} (the best: 0.40, a random agent: about 0.00)")


if __name__ == "__main__":
    main()
