"""The planner on a model and a network of one's own: Gymnasium's Taxi, learned from its search.

    pip install rl_serial torch
    python examples/planner_taxi.py

Each round searches from all states and fits the network to what the search found.
"""

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rl_serial.planning import RecurrentOutput, Root, gumbel_muzero_policy

ROUNDS, SIMULATIONS, FITS, DISCOUNT = 25, 16, 20, 0.97

env = gym.make("Taxi-v4")  # Taxi-v3 in older versions of Gymnasium
table = env.unwrapped.P  # [state][action] -> [(probability, next state, reward, ended)]
STATES, ACTIONS = len(table), len(table[0])
moves = [[table[state][action][0] for action in range(ACTIONS)] for state in range(STATES)]
NEXT = np.array([[move[1] for move in row] for row in moves])  # [states, actions]
REWARD = np.array([[move[2] for move in row] for row in moves], np.float32) / 20
ENDED = np.array([[move[3] for move in row] for row in moves])
parts = torch.tensor([list(env.unwrapped.decode(state)) for state in range(STATES)])
SEEN = torch.eye(5)[parts].flatten(1)  # [states, 20]: row, column, passenger, goal


def main() -> None:
    torch.manual_seed(0)
    layers = nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()
    network = nn.Sequential(*layers, nn.Linear(128, 1 + ACTIONS))  # value, policy
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)

    def judge():  # prior logits [states, actions] and values [states] of every state
        found = network(SEEN).detach().numpy()
        return found[:, 1:], found[:, 0]

    def search():  # from every state; the embedding of a node is its state
        priors, values = judge()

        def recurrent_fn(action, state):
            following = NEXT[state, action]
            return RecurrentOutput(
                reward=REWARD[state, action],
                discount=np.where(ENDED[state, action], 0, DISCOUNT).astype(np.float32),
                prior_logits=priors[following],
                value=values[following],
            ), following

        root = Root(priors, values, embedding=np.arange(STATES))
        return gumbel_muzero_policy(root, recurrent_fn, SIMULATIONS)

    for _ in range(ROUNDS):
        found = search()
        policy, value = map(torch.as_tensor, (found.action_weights, found.qvalues.max(axis=1)))
        for _ in range(FITS):
            out = network(SEEN)
            errors = (out[:, 0] - value).square()
            loss = nn.functional.cross_entropy(out[:, 1:], policy) + errors.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    # The network alone, without a search, and what dynamic programming gets.
    exact, likeliest, total, best = np.zeros(STATES), judge()[0].argmax(axis=1), 0.0, 0.0
    for _ in range(50):  # steps; no ride takes as many
        exact = (20 * REWARD + np.where(ENDED, 0, exact[NEXT])).max(axis=1)
    for seed in range(100):
        (state, _), ended = env.reset(seed=seed), False
        best += exact[state]
        while not ended:
            state, reward, terminated, truncated, _ = env.step(likeliest[state])
            total, ended = total + reward, terminated or truncated
    print(f"mean return {total / 100:.2f} (the best: {best / 100:.2f})")


if __name__ == "__main__":
    main()
