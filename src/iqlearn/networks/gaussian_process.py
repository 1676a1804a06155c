"""Gaussian-process regression of an expert's actions, for states close to the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from iqlearn import interrupts
from iqlearn.types import ROUNDING

JITTER = 1e-4
"""Variance of noise that is always added, as a share of the outputs' variance, so that the covariance matrix stays
positive definite."""
ITERATIONS = 20
"""Iterations of the search for the covariance."""
SEARCHED = 1_000
"""Largest number of rows that the search for the covariance uses."""
ROUNDS, CENSORING = 2, 20
"""Number of searches for the covariance, and of updates of the targets of outputs at a bound after each search."""
KNOWN = 4_000
"""Largest number of rows that `expert_process` is fitted to."""
BLOCK = 4_096
"""Rows that are predicted at a time."""

Rows = Float[np.ndarray, "n inputs"]
Outputs = Float[np.ndarray, "n outputs"]


class Covariance(NamedTuple):
    """v·Matérn-5/2 of the distance in units of `lengths`, plus slope·(1 + x·x'), plus noise on the diagonal."""

    lengths: Float[np.ndarray, " inputs"]
    variance: float
    slope: float
    noise: float

    def between(self, x: Rows, y: Float[np.ndarray, "m inputs"]) -> Float[np.ndarray, "n m"]:
        """Return the covariance between the function's values at x and those at y, without the noise."""
        root = np.sqrt(5.0 * squared_distances(x / self.lengths, y / self.lengths))
        return self.variance * (1.0 + root + root**2 / 3.0) * np.exp(-root) + self.slope * (1.0 + x @ y.T)


def squared_distances(x: Rows, y: Float[np.ndarray, "m inputs"]) -> Float[np.ndarray, "n m"]:
    """Return the squared Euclidean distance between each row of x and each row of y."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2.0 * x @ y.T, 0.0)


def negative_log_likelihood(theta: Float[np.ndarray, " parameters"], x: Rows, y: Outputs) -> tuple[float, np.ndarray]:
    """Return −log p(y|x), up to a constant, and its gradient in `theta`.

    `theta` holds the logarithms of the parameters of the covariance: lengths, variance, slope and noise. Rasmussen &
    Williams, *Gaussian Processes for Machine Learning*, 2006, equations 5.8 and 5.9, summed over the outputs, which
    share the covariance.
    """
    lengths, (variance, slope, noise) = np.exp(theta[:-3]), np.exp(theta[-3:])
    scaled = x / lengths
    root = np.sqrt(5.0 * squared_distances(scaled, scaled))
    decay = variance * np.exp(-root)
    matern, linear = (1.0 + root + root**2 / 3.0) * decay, slope * (1.0 + x @ x.T)
    factor = cho_factor(matern + linear + (noise + JITTER) * np.eye(len(x)), lower=True, check_finite=False)
    weights = cho_solve(factor, y, check_finite=False)
    value = 0.5 * np.sum(y * weights) + y.shape[1] * np.sum(np.log(np.diag(factor[0])))
    inverse = cho_solve(factor, np.eye(len(x)), check_finite=False)
    pull = 0.5 * (y.shape[1] * inverse - weights @ weights.T)  # ∂value/∂covariance
    along = pull * (5.0 / 3.0) * (1.0 + root) * decay
    by_length = 2.0 * ((along.sum(1) @ scaled**2) - np.einsum("ni,ni->i", scaled, along @ scaled))
    rest = np.sum(pull * matern), np.sum(pull * linear), noise * np.trace(pull)
    return float(value), np.concatenate([by_length, rest])


def most_likely(start: Covariance, x: Rows, y: Outputs) -> Covariance:
    """Return the covariance that maximises the marginal likelihood, searched from `start`.

    Raises:
        KeyboardInterrupt: a signal asked to stop.
    """
    interrupts.check()
    theta = np.log(np.concatenate([start.lengths, [start.variance, start.slope, start.noise]]))
    bounds = [(-3.0, 7.0)] * len(start.lengths) + [(-7.0, 5.0), (-9.0, 2.0), (-14.0, 1.0)]
    found = minimize(
        negative_log_likelihood,
        theta,
        (x, y),
        "L-BFGS-B",
        jac=True,
        bounds=bounds,
        options={"maxiter": ITERATIONS},
        callback=lambda _: interrupts.check(),
    )
    lengths, (variance, slope, noise) = np.exp(found.x[:-3]), np.exp(found.x[-3:])
    return Covariance(lengths, float(variance), float(slope), float(noise))


def expert_process(inputs: Any, unit: Any, limits: Any) -> GaussianProcess:
    """Return a Gaussian process that predicts an expert's actions from network inputs, fitted to at most 4,000 rows.

    Args:
        inputs: encoded observations, (n, inputs).
        unit: scaled actions, (n, act).
        limits: lower and upper bounds of scaled actions, (2, act).

    The last two fits are cached, because `recommended` and the extension `cloning` use the same one.
    """
    few = np.random.default_rng(0).permutation(len(inputs))[:KNOWN]
    x, y, bounds = (np.asarray(part, np.float64) for part in (inputs, unit, limits))
    return _expert_process(x[few].tobytes(), np.clip(y, *bounds)[few].tobytes(), bounds.tobytes(), len(few))


@lru_cache(2)
def _expert_process(x: bytes, y: bytes, limits: bytes, n: int) -> GaussianProcess:
    inputs, unit, bounds = (np.frombuffer(part).reshape(size, -1) for part, size in ((x, n), (y, n), (limits, 2)))
    return GaussianProcess.fit(inputs, unit, bounds, np.random.default_rng(0))


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The posterior mean of a Gaussian process.

    Every coordinate of the input has its own length scale (automatic relevance determination). The scales maximise
    the marginal likelihood. Inputs should be of order 1.
    """

    x: Rows
    weights: Outputs
    covariance: Covariance
    """Covariance of the outputs divided by `scale`. The weights also belong to these outputs."""
    scale: float
    """Standard deviation of the outputs: the square root of their mean variance, or 1 where all are constant."""
    limits: Float[np.ndarray, "2 outputs"]
    """Bounds of the outputs."""

    @classmethod
    def fit(
        cls, x: Rows, y: Outputs, limits: Float[np.ndarray, "2 outputs"], rng: np.random.Generator
    ) -> GaussianProcess:
        """Regress `y` on `x`.

        An output at a bound is censored: the function may have any value at or beyond the bound.
        """
        few = rng.permutation(len(x))[:SEARCHED]
        scale = float(np.sqrt(y.var(axis=0).mean())) or 1.0
        slack = ROUNDING * 0.5 * (limits[1] - limits[0])
        y, (low, high) = y / scale, np.stack([limits[0] + slack, limits[1] - slack]) / scale
        covariance = Covariance(np.full(x.shape[1], 2.0 * x.shape[1] ** 0.5), 16.0, 0.1, 1e-4)
        targets = weights = y
        for _ in range(ROUNDS):
            covariance = most_likely(covariance, x[few], targets[few])
            known = covariance.between(x, x)
            factor = cho_factor(known + (covariance.noise + JITTER) * np.eye(len(x)), lower=True, check_finite=False)
            targets = y
            for _ in range(CENSORING):
                fitted = known @ cho_solve(factor, targets, check_finite=False)
                targets = np.where(y <= low, np.minimum(fitted, low), np.where(y >= high, np.maximum(fitted, high), y))
            weights = cho_solve(factor, targets, check_finite=False)
        return cls(x, weights, covariance, scale, limits)

    @cached_property
    def leave_one_out_error(self) -> float:
        """The root mean squared error of each row's prediction from the other rows, as a share of the outputs' standard
        deviation, after the noise variance is subtracted from the mean square.

        Rasmussen & Williams, 2006, equation 5.12, with the covariance of all rows. The error is 0 for a noisy expert
        that is predicted as well as its noise allows.
        """
        noise, bounds = self.covariance.noise + JITTER, self.limits / self.scale
        known = self.covariance.between(self.x, self.x) + noise * np.eye(len(self.x))
        targets = known @ self.weights
        factor = cho_factor(known, lower=True, check_finite=False)
        alone = targets - self.weights / np.diag(cho_solve(factor, np.eye(len(self.x)), check_finite=False))[:, None]
        squared = np.mean((np.clip(alone, *bounds) - np.clip(targets, *bounds)) ** 2)
        return float(np.sqrt(max(squared - noise, 0.0)))

    def __call__(self, x: Rows) -> Outputs:
        """Return the posterior mean at x, clipped to the bounds."""
        parts = np.array_split(x, -(-len(x) // BLOCK))
        mean = np.concatenate([self.covariance.between(part, self.x) @ self.weights for part in parts])
        return np.clip(self.scale * mean, *self.limits)
