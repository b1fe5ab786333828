"""A chain of one's own in one file: checked, registered, learned. docs/own_chain.md explains it.

pip install 'rl_serial[train]' && python examples/own_chain.py
"""

import tempfile
from dataclasses import dataclass, replace

import rl_serial
from rl_serial.envs.chain import TokenLayout, array_namespace, count_down, one_hot
from rl_serial.envs.random import below, random_words
from rl_serial.envs.testing import check_chain

SIZE = 5


@dataclass(frozen=True)
class CubesState:
    x: object  # [B] int64 in [0, SIZE): the working state
    tape: object  # [B, serial_depth] int64: the next number first, -1 behind the end
    remaining: object  # [B] int64


@dataclass(frozen=True)
class Cubes:
    """x <- x^power + c modulo 5, with another c at every step; with power 1 it is a sum."""

    power: int = 3
    serial_depth: int = 3
    num_kicks, working_size = 2, SIZE

    layout = property(lambda self: TokenLayout(self.serial_depth, SIZE, 6 + self.serial_depth))

    def initial(self, seeds):
        drawn = below(random_words(seeds, 1 + self.serial_depth), SIZE)
        return CubesState(drawn[:, 0], drawn[:, 1:], 0 * seeds + self.serial_depth)

    def kick(self, state, action):
        return replace(state, x=(state.x + 1 + action) % SIZE)

    def advance(self, state):
        xp = array_namespace(state.x)
        x = xp.where(state.remaining > 0, (state.x**self.power + state.tape[:, 0]) % SIZE, state.x)
        tape = xp.concat([state.tape[:, 1:], xp.full_like(state.tape[:, :1], -1)], axis=1)
        return CubesState(x, tape, count_down(state.remaining))

    def payoff(self, state):  # of mean zero: two of five places pay 1, the others take 2/3
        xp = array_namespace(state.x)
        return xp.astype(xp.where(state.x < 2, 3, -2), xp.float32) / 3

    def observe(self, state):
        xp = array_namespace(state.x)
        tape = xp.reshape(one_hot(state.tape, SIZE, xp), (state.x.shape[0], -1))
        steps = one_hot(state.remaining, self.serial_depth + 1, xp)
        return xp.concat([tape, one_hot(state.x, SIZE, xp), steps], axis=1)

    def working(self, state):  # a row of the picture
        return one_hot(state.x, SIZE, array_namespace(state.x))

    def redraw_step(self, state, seeds):  # another next number: how much does a step matter?
        xp = array_namespace(seeds)
        now, more = state.tape[:, :1], 1 + below(random_words(seeds, 1, stream=1), SIZE - 1)
        now = xp.where(now < 0, now, (now + more) % SIZE)
        return replace(state, tape=xp.concat([now, state.tape[:, 1:]], axis=1))


if __name__ == "__main__":
    check_chain(Cubes, serial_depth=4)
    claim = {"complexity": "NC1", "source": "an example"}
    rl_serial.register_family(Cubes, option="power", serial=(3,), twins=(1,), **claim)
    config = {
        "name": "cubes",
        "env": {"id": "rl_serial/CubesBet-v0", "start": "uniform"},
        "network": {"depth": 2, "width": 64},
        "agent": {"kind": "value", "updates": 400, "batch_size": 256, "learning_rate": 3e-3},
        "evaluation": {"every": 400, "instances": 1024, "per_remaining": 256},
    }
    found = rl_serial.train(config, runs=tempfile.mkdtemp(), progress=False).results
    print(f"mean return {found['eval/return']:.2f} (the best: {found['eval/optimal_return']:.2f})")
