"""What came out: returns in the environment, the recovered reward."""

from iqlearn.evaluation.diagnostics import Familiar
from iqlearn.evaluation.returns import Episode, Evaluator, normalised
from iqlearn.evaluation.rewards import recovered

__all__ = ["Episode", "Evaluator", "Familiar", "normalised", "recovered"]
