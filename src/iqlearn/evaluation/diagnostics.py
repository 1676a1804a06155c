"""Figures of an evaluation that measure a policy without the true reward."""

from __future__ import annotations

import math

from iqlearn.files import Row

BETTER = {
    "occupancy_distance": -1,
    "held_out_log_likelihood": 1,
    "held_out_agreement": 1,
    "held_out_relative_error": -1,
    "reward_gap": -1,
    "held_out_reward_gap": -1,
    "largest_reward": -1,
    "reward_bound": -1,
}
"""Columns of `metrics.csv`: 1 where more is better, −1 where less is."""
CHOSEN_BY = "occupancy_distance"
"""The figure that decides which policy a run returns, and when `EarlyStopping` stops."""


def misfit(row: Row, name: str = CHOSEN_BY) -> float:
    """Return how bad a policy is by one of these figures: less is better, and infinite where the figure is unknown."""
    value = row.get(name)
    return math.inf if value is None or not math.isfinite(value) else -BETTER[name] * value
