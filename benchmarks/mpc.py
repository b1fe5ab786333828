"""CEM and MPPI beside pytorch-mppi on a pendulum: cost of a swing-up, and milliseconds a decision.

The contenders take turns, so that what else the machine does meets all of them alike. Needs the
extra ``peers``.

    rl-serial bench mpc [--seeds 5]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_serial.planning import CEM, MPPI, first_plan, plan_control, shift
from rl_serial.tables import markdown_table


def pendulum(xp: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Swinging a pendulum up, (angle, speed) [..., 2] and torque [..., 1]: dynamics and cost.

    Those of Gymnasium's Pendulum-v1, the cost of the state that a step leads to.
    """

    def dynamics(state: Any, action: Any) -> Any:
        angle, speed = state[..., 0], state[..., 1]
        torque = xp.clip(action[..., 0], -2, 2)
        speed = xp.clip(speed + (15 * xp.sin(angle) + 3 * torque) * 0.05, -8, 8)
        return xp.stack([angle + 0.05 * speed, speed], -1)

    def cost(state: Any, action: Any) -> Any:
        angle = (state[..., 0] + math.pi) % (2 * math.pi) - math.pi
        return angle**2 + 0.1 * state[..., 1] ** 2 + 0.001 * action[..., 0] ** 2

    return dynamics, cost


def compare_peer(seeds: int) -> None:
    """Print cost and time of own MPPI and CEM beside pytorch-mppi's, on the pendulum."""
    try:
        import torch
        from pytorch_mppi import MPPI as Peer
    except ImportError as error:
        raise SystemExit(f"{error}; pip install 'rl_serial[peers]'") from None
    torch.set_num_threads(1)
    samples, horizon, steps, temperature, std = 200, 20, 100, 1.0, 1.0
    own_dynamics, own_cost = pendulum(np)
    peer_dynamics, peer_cost = pendulum(torch)
    start = np.array([[math.pi, 0.0]])

    def rollout(state: Any, actions: Any) -> Any:
        at = np.repeat(state[:, None], actions.shape[1], axis=1)
        total = np.zeros(actions.shape[:2])
        for step in range(actions.shape[2]):
            at = own_dynamics(at, actions[:, :, step])
            total -= own_cost(at, actions[:, :, step])
        return total

    def own(settings: CEM | MPPI, seed: int) -> Callable[[Any], Any]:
        generator = np.random.default_rng(seed)
        plan = first_plan(1, horizon, [-2], [2])

        def act(state: Any) -> Any:
            nonlocal plan
            found = plan_control(rollout, state, plan, [-2], [2], settings, generator)
            plan = shift(found.plan, last=np.zeros(1))
            return found.action

        return act

    def peer(seed: int) -> Callable[[Any], Any]:
        torch.manual_seed(seed)
        planner = Peer(
            peer_dynamics, peer_cost, 2, torch.tensor([[std**2]], dtype=torch.float64),
            num_samples=samples, horizon=horizon, lambda_=temperature,
            u_max=torch.tensor([2.0], dtype=torch.float64),
            U_init=torch.zeros(horizon, 1, dtype=torch.float64),
        )  # fmt: skip

        def act(state: Any) -> Any:
            return planner.command(torch.as_tensor(state[0])).numpy()[None]

        return act

    same = MPPI(samples, 1, std, temperature, relative=False, control_cost=1.0)
    contenders: dict[str, Callable[[int], Callable[[Any], Any]]] = {
        "pytorch-mppi": peer,
        "own MPPI, same settings": lambda seed: own(same, seed),
        "own CEM, as many samples in 4 iterations": lambda seed: own(
            CEM(samples // 4, 4, 8, std=std), seed
        ),
    }
    costs: dict[str, list[float]] = {name: [] for name in contenders}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for seed in range(seeds):
        for name, make in contenders.items():
            act, state, total = make(seed), start, 0.0
            begun = time.perf_counter()
            for _ in range(steps):
                action = act(state)
                state = own_dynamics(state, action)
                total += float(own_cost(state, action)[0])
            times[name].append(1000 * (time.perf_counter() - begun) / steps)
            costs[name].append(total)
    table = [
        (
            name,
            f"{statistics.fmean(costs[name]):.1f}",
            f"{min(costs[name]):.1f} to {max(costs[name]):.1f}",
            f"{statistics.median(times[name]):.2f}",
        )
        for name in contenders
    ]
    print(
        f"Pendulum from below, {steps} steps, {samples} samples, horizon {horizon}, "
        f"{seeds} seeds, one thread.\n"
    )
    print(markdown_table(("planner", "cost", "seeds from to", "ms a decision"), table))


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="rl-serial bench mpc")
    parser.add_argument("--seeds", type=int, default=5)
    compare_peer(parser.parse_args().seeds)


if __name__ == "__main__":
    main()
