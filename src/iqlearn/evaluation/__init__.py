"""Evaluation of a policy: returns in the environment, distance to the expert's states, statistics and pictures."""

from iqlearn.evaluation.occupancy import Familiar
from iqlearn.evaluation.returns import RESET_SEEDS, Episode, Evaluator, as_arrays, normalised, reset_seed, rollouts
from iqlearn.evaluation.statistics import mean_interval

__all__ = ["RESET_SEEDS", "Episode", "Evaluator", "Familiar", "as_arrays", "mean_interval", "normalised", "reset_seed"]
__all__ += ["rollouts"]
