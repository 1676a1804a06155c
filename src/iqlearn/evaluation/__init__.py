"""Evaluation of a policy: returns in the environment, distance to the expert's states, statistics and pictures."""

from iqlearn.evaluation.occupancy import ExpertStates
from iqlearn.evaluation.returns import RESET_SEEDS, Episode, Evaluator, as_arrays, normalised, reset_seed, rollouts
from iqlearn.evaluation.statistics import mean_interval

__all__ = [
    "RESET_SEEDS",
    "Episode",
    "Evaluator",
    "ExpertStates",
    "as_arrays",
    "mean_interval",
    "normalised",
    "reset_seed",
    "rollouts",
]
