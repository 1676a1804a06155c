"""The mathematics of the objectives, as functions of arrays."""

from iqlearn.objectives.bellman import discounted, soft_log_policy, soft_td_loss, soft_value
from iqlearn.objectives.divergences import Divergence, divergence
from iqlearn.objectives.iq import SoftValues, implied_reward, iq_loss, least_squares_loss, steepness, value_term

__all__ = [
    "Divergence",
    "SoftValues",
    "discounted",
    "divergence",
    "implied_reward",
    "iq_loss",
    "least_squares_loss",
    "soft_log_policy",
    "soft_td_loss",
    "soft_value",
    "steepness",
    "value_term",
]
