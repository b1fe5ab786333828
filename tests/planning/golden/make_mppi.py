"""Writes mppi.json: what pytorch-mppi plans for a fixed problem, with the noise that it drew.

    python tests/planning/golden/make_mppi.py

in an environment with torch and pytorch-mppi (0.9.1 made the file that is stored).
`tests/planning/test_mpc_golden.py` replays it; under `make peers` it also makes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from pytorch_mppi import MPPI

FILE = Path(__file__).with_name("mppi.json")
HORIZON, SAMPLES, COMMANDS = 6, 24, 3

# A damped point on a plane: position and velocity, pushed by two forces. Time step 0.1.
TRANSITION = [[1, 0, 0.1, 0], [0, 1, 0, 0.1], [0, 0, 0.95, 0], [0, 0, 0, 0.9]]
INPUT = [[0, 0], [0, 0], [0.1, 0], [0.02, 0.1]]
START = [1.0, -0.5, 0.3, 0.2]

CASES: list[dict[str, Any]] = [
    {"name": "free", "std": 1.0, "temperature": 3.0, "bound": None, "terminal": False},
    {"name": "bounded", "std": 0.7, "temperature": 0.3, "bound": 0.6, "terminal": False},
    {"name": "terminal", "std": 0.5, "temperature": 1.5, "bound": 1.0, "terminal": True},
]


def record(case: dict[str, Any]) -> dict[str, Any]:
    """The noise of every command and the plan after it, the first action being carried out."""
    torch.manual_seed(7)
    transition = torch.tensor(TRANSITION, dtype=torch.float64)
    push = torch.tensor(INPUT, dtype=torch.float64)

    def dynamics(state: Any, action: Any) -> Any:
        return state @ transition.T + action @ push.T

    def cost(state: Any, action: Any) -> Any:
        """Of the state that the action has led to."""
        return (state**2).sum(dim=1) + 0.1 * (action**2).sum(dim=1) + torch.cos(3 * state[:, 0])

    def terminal(states: Any, actions: Any) -> Any:
        return 5 * (states[..., -1, :] ** 2).sum(dim=-1)

    bound = case["bound"]
    peer = MPPI(
        dynamics,
        cost,
        nx=4,
        noise_sigma=case["std"] ** 2 * torch.eye(2, dtype=torch.float64),
        num_samples=SAMPLES,
        horizon=HORIZON,
        lambda_=case["temperature"],
        u_max=None if bound is None else torch.full((2,), bound, dtype=torch.float64),
        terminal_state_cost=terminal if case["terminal"] else None,
        U_init=torch.zeros(HORIZON, 2, dtype=torch.float64),
    )
    drawn: list[Any] = []
    sample = peer._sample_noise

    def remembered(shape: Any) -> Any:
        drawn.append(sample(shape))
        return drawn[-1]

    peer._sample_noise = remembered
    state = torch.tensor(START, dtype=torch.float64)
    commands = []
    for _ in range(COMMANDS):
        action = peer.command(state)
        commands.append(
            {
                "state": state.tolist(),
                "noise": drawn[-1].tolist(),
                "plan": peer.U.tolist(),
                "costs": peer.cost_total.tolist(),
                "weights": peer.omega.tolist(),
            }
        )
        state = dynamics(state[None], action[None])[0]
    return {**case, "commands": commands}


def made() -> dict[str, Any]:
    """All of the file."""
    problem = {"transition": TRANSITION, "input": INPUT, "horizon": HORIZON, "samples": SAMPLES}
    return {"problem": problem, "cases": [record(case) for case in CASES]}


if __name__ == "__main__":
    FILE.write_text(json.dumps(made()) + "\n")
