"""Chains with exact values, under a task."""

from rl_serial.envs.registry import ENV_IDS, NAMESPACE
from rl_serial.subjects.chains.config import ChainEvaluationConfig, check, together
from rl_serial.subjects.chains.metrics import ABOVE_FLOOR, METRICS, most_steps, places, profile
from rl_serial.subjects.protocol import SubjectRow

CHAINS = SubjectRow(
    name="chains",
    place="on chains",
    a_member="a chain",
    owns=lambda id_: id_ in ENV_IDS,
    may_own=lambda id_: id_.startswith(f"{NAMESPACE}/"),
    evaluation=ChainEvaluationConfig,
    check=check,
    subject="rl_serial.subjects.chains.subject:ChainSubject",
    metrics=METRICS,
    places=places,
    profile=profile,
    above_floor=ABOVE_FLOOR,
    most_steps=most_steps,
    together=together,
)
