"""Statistics of a few numbers, such as the returns of several training seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float] | Float[np.ndarray, " n"]) -> Interval:
    """The mean and its 95 % percentile bootstrap interval (Efron, 1979), the same in every call.

    A single value has an interval of no width: nothing is known of its spread.
    """
    data = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0).integers(len(data), size=(RESAMPLES, len(data)))
    low, high = np.quantile(data[drawn].mean(axis=1), (0.025, 0.975))
    return Interval(float(data.mean()), float(low), float(high))
