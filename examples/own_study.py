"""A study by Python instead of YAML: how far does one network see along a chain and its twin?

pip install 'rl_serial[train]'
python examples/own_study.py
"""

import tempfile

import rl_serial

TABLES = [{"label": table, "env.table": table} for table in ("random", "shift")]
STUDY = {
    "question": "How far does a network see along a random cycle, and how far along a shift?",
    "hypotheses": [
        {
            "id": "shift_is_easier",
            "statement": "The same network reaches further where the table is a shift.",
            "test": {"difference": {"table": ["shift", "random"]}, "expect": {"above": 0}},
        },
        {
            "id": "shift_is_learned",
            "statement": "Along the shift it reaches at least half of the four steps.",
            "test": {"where": {"table": "shift"}, "expect": {"above": 2}},
        },
    ],
    "base": {
        "env": {
            "id": "rl_serial/PointerChaseBet-v0",
            "nodes": 8,
            "serial_depth": 4,
            "start": "uniform",
        },
        "network": {"kind": "residual", "depth": 2, "width": 128},
        "agent": {"kind": "value", "updates": 800, "batch_size": 256, "learning_rate": 3.0e-3},
        "evaluation": {"every": 800, "instances": 512, "per_remaining": 256},
    },
    "grid": {"table": TABLES},
    "seeds": 5,  # the fewest that a verdict takes
    "metric": "eval/serial_reach",
}


def main() -> None:
    study = rl_serial.Study(STUDY, tempfile.mkdtemp() + "/reach")
    study.run(progress=False)
    for table in ("random", "shift"):
        runs = [row for row in study.results if row["table"] == table]
        reach, floor = (
            sum(float(row[metric]) for row in runs) / len(runs)
            for metric in ("eval/serial_reach", "floor/linear/reach")
        )
        print(f"{table}: serial reach {reach:.2f} of 4 (a linear rule: {floor:.2f})")
    for finding in study.findings:
        print(f"{finding.hypothesis.id}: {finding.words}")
    print(study.report())


if __name__ == "__main__":  # workers are processes that import this script
    main()
