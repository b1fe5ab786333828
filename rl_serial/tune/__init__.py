"""Search for hyperparameters over any run's configuration, by Optuna (extra ``tune``)."""

from rl_serial.tune.schema import TuneConfig, read_tune
from rl_serial.tune.search import Tuning

__all__ = ["TuneConfig", "Tuning", "read_tune"]
