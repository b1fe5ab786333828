"""The ``search`` agent: tree search over any agent's judgement, and learning from one's own search.

:class:`SearchAgent` puts a search on top of any trained agent, :class:`OnePlyAgent` a single step;
from the same weights they show what search is worth (raw network, one-ply value, N simulations:
Ruoss et al. 2024, arXiv 2402.04494). :class:`SearchTrainer` learns from the search: the policy from
improved policies, the value from what came of them (Silver et al. 2017; Danihelka et al. 2022).
"""

from rl_serial.agents.search.agent import SearchAgent, searched, tensors_on
from rl_serial.agents.search.games import GameDynamics, SearchPlayer, true_dynamics
from rl_serial.agents.search.judgement import (
    OnePlyAgent,
    planned_judgement,
    prior_logits,
    state_values,
)
from rl_serial.agents.search.self_play import SelfPlayTrainer, make_trainer
from rl_serial.agents.search.trainer import PolicyValueAgent, SearchTrainer

__all__ = [
    "GameDynamics",
    "OnePlyAgent",
    "PolicyValueAgent",
    "SearchAgent",
    "SearchPlayer",
    "SearchTrainer",
    "SelfPlayTrainer",
    "make_trainer",
    "planned_judgement",
    "prior_logits",
    "searched",
    "state_values",
    "tensors_on",
    "true_dynamics",
]
