"""What a point that flies straight at its goal reaches: the shortcut behind a maze's success.

The controller pushes towards the goal and against its own velocity, knows no walls and learns
nothing. It is examined as a trained agent is, on the same evaluation instances.

    rl-serial bench goals [--ids PointMaze_UMaze-v3 …] [--instances 128] [--seed 0]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from rl_serial.envs.goals import make_goal_vec
from rl_serial.metrics import tagged
from rl_serial.subjects.goals.evaluation import GoalEvaluator
from rl_serial.subjects.goals.metrics import DISTANCES
from rl_serial.tables import markdown_table

STIFFNESS, DAMPING = 5.0, 1.0


class Straight:
    """Acts on the goal's place, its own and its velocity: observation 2 and 3 of a PointMaze."""

    def act(self, observation: Any) -> Any:
        gap = observation["desired_goal"] - observation["achieved_goal"]
        force = STIFFNESS * gap - DAMPING * observation["observation"][:, 2:4]
        return np.clip(force, -1, 1).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="rl-serial bench goals", description=__doc__)
    parser.add_argument("--ids", nargs="+", default=["PointMaze_UMaze-v3", "PointMaze_Medium-v3"])
    parser.add_argument("--instances", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for id_ in options.ids:
        evaluate = GoalEvaluator(
            lambda n, i=id_: make_goal_vec(i, n), options.instances, options.seed
        )
        found = tagged(evaluate(Straight()).measurements())
        far = [f"{found[f'eval/success/distance_{k}']:.2f}" for k in range(1, DISTANCES + 1)]
        rows.append(
            (id_, f"{found['eval/success']:.3f}", f"{found['eval/time_at_goal']:.1f}", *far)
        )
    quarters = [f"goals {k} of {DISTANCES}" for k in range(1, DISTANCES + 1)]
    print(markdown_table(("id", "success", "steps at the goal", *quarters), rows))


if __name__ == "__main__":
    main()
