"""Distributions over continuous actions, stable at the bounds."""

from abc import abstractmethod
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

from iqlearn.types import ROUNDING, PRNGKey

stop = jax.lax.stop_gradient
Squash = Literal["clip", "tanh"]

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
"""Range of the logarithm of the standard deviation of the normal variable that an action is computed from."""
EDGE = 1.0 - 1e-3
"""Largest absolute value of a recorded action before arctanh, with bounds ±1. Larger values are clipped to it, because
arctanh is infinite at a bound."""
LOG_2, LOG_2PI = 0.6931471805599453, 1.8378770664093453

Rows = Float[Array, " n"]
Unit = Float[Array, "n act"]
Limits = Float[Array, "2 act"]


class ActionDistribution(eqx.Module):
    """π(·|s) of each row, computed from a normal variable u ~ N(mean, std²) with independent dimensions.

    Actions are in the networks' units: of order 1, within `limits`.
    """

    mean: Unit
    log_std: Unit
    limits: Limits
    """Lower and upper bound of each dimension."""

    @property
    def low(self) -> Float[Array, " act"]:
        """The lower bounds."""
        return stop(self.limits[0])

    @property
    def high(self) -> Float[Array, " act"]:
        """The upper bounds."""
        return stop(self.limits[1])

    @property
    @abstractmethod
    def mode(self) -> Unit:
        """The deterministic action: the action for u = mean."""

    @abstractmethod
    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        """Return the action for u = mean + std·noise, reparameterised, and its log π. `noise` is standard normal."""

    @abstractmethod
    def log_prob(self, unit: Unit) -> Rows:
        """Return log π of given actions, finite at the bounds."""

    @abstractmethod
    def distance(self, unit: Unit) -> Rows:
        """Return the squared distance of given actions to the mode, with a useful gradient wherever it is not 0.

        A clipped Gaussian uses the mean before clipping instead of the mode. In a dimension in which the action is at
        a bound and the mean is beyond that bound, its distance is 0.
        """

    def sample(self, key: PRNGKey) -> tuple[Unit, Rows]:
        """Return a sampled action for each row, reparameterised, and its log π."""
        return self.shifted(jr.normal(key, self.mean.shape))

    def after(self, n: int) -> "ActionDistribution":
        """Return the distributions without the first n rows."""
        return type(self)(self.mean[n:], self.log_std[n:], self.limits)


class ClippedGaussian(ActionDistribution):
    """a = clip(u, low, high): a density inside the bounds, and at each bound the probability of all values beyond it.

    It suits an expert whose actions are often exactly at the bounds.
    """

    @property
    def mode(self) -> Unit:
        return jnp.clip(self.mean, self.low, self.high)

    def at_bounds(self, unit: Unit) -> tuple[Bool[Array, "n act"], Bool[Array, "n act"]]:
        """Return whether each action is at the lower bound, and whether it is at the upper bound."""
        slack = 0.5 * ROUNDING * (self.high - self.low)
        return unit <= self.low + slack, unit >= self.high - slack

    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        unit = clip(self.mean + jnp.exp(self.log_std) * noise, self.low, self.high)
        return unit, self.log_prob(unit)

    def log_prob(self, unit: Unit) -> Rows:
        inverse_std = jnp.exp(-self.log_std)
        noise = (unit - self.mean) * inverse_std
        density = -0.5 * (noise**2 + LOG_2PI) - self.log_std
        lowest, highest = self.at_bounds(unit)
        beyond = norm.logcdf(jnp.where(highest, self.mean - self.high, self.low - self.mean) * inverse_std)
        return jnp.sum(jnp.where(lowest | highest, beyond, density), axis=-1)

    def distance(self, unit: Unit) -> Rows:
        error = self.mean - unit
        lowest, highest = self.at_bounds(unit)
        matched = (lowest & (error < 0.0)) | (highest & (error > 0.0))
        return jnp.sum(jnp.where(matched, 0.0, error) ** 2, axis=-1)


class TanhGaussian(ActionDistribution):
    """a = tanh u, shifted and scaled where the bounds are not ±1. It has a density inside (SAC, appendix C)."""

    @property
    def middle(self) -> Float[Array, " act"]:
        """The middle between the bounds."""
        return 0.5 * (self.low + self.high)

    @property
    def half(self) -> Float[Array, " act"]:
        """Half the width between the bounds."""
        return 0.5 * (self.high - self.low)

    @property
    def mode(self) -> Unit:
        return self._squashed(self._inner(self.mean))

    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        u = self._inner(self.mean + jnp.exp(self.log_std) * noise)
        return self._squashed(u), self._density(noise, u)

    def log_prob(self, unit: Unit) -> Rows:
        u = jnp.arctanh(jnp.clip(self._inner(unit), -EDGE, EDGE))
        return self._density((self.middle + self.half * u - self.mean) * jnp.exp(-self.log_std), u)

    def distance(self, unit: Unit) -> Rows:
        return jnp.sum((self.mode - unit) ** 2, axis=-1)

    def _inner(self, u: Unit) -> Unit:
        """Shift and scale values so that the bounds become ±1."""
        return (u - self.middle) / self.half

    def _squashed(self, u: Unit) -> Unit:
        return self.middle + self.half * jnp.tanh(u)

    def _density(self, noise: Unit, u: Unit) -> Rows:
        return jnp.sum(-0.5 * (noise**2 + LOG_2PI) - self.log_std - log_slope(u), axis=-1)


KINDS: dict[Squash, type[ActionDistribution]] = {"clip": ClippedGaussian, "tanh": TanhGaussian}


def policy(outputs: Float[Array, "n twice"], squash: Squash, limits: Limits) -> ActionDistribution:
    """Return the distribution of a network's outputs.

    The first half of the outputs is the mean. The second half is squashed into the range of the log standard deviation.
    """
    mean, raw = jnp.split(outputs, 2, axis=-1)
    return KINDS[squash](mean, LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (jnp.tanh(raw) + 1.0), limits)


@jax.custom_vjp
def clip(u: Unit, low: Float[Array, " act"], high: Float[Array, " act"]) -> Unit:
    """Clip to the bounds, with the gradient of projected descent: beyond a bound only gradients that lead back pass.

    The plain gradient is 0 beyond a bound, so an actor could never return from there (compare the inverting gradients
    of Hausknecht & Stone, 2016).
    """
    return jnp.clip(u, low, high)


def _clip_forward(u: Unit, low: Any, high: Any) -> tuple[Unit, tuple[Any, ...]]:
    return clip(u, low, high), (u, low, high)


def _clip_backward(seen: tuple[Any, ...], slope: Unit) -> tuple[Any, ...]:
    u, low, high = seen
    outwards = ((u > high) & (slope < 0.0)) | ((u < low) & (slope > 0.0))
    return jnp.where(outwards, 0.0, slope), jnp.zeros_like(low), jnp.zeros_like(high)


clip.defvjp(_clip_forward, _clip_backward)


def log_slope(u: Unit) -> Unit:
    """Return log(1 − tanh²u), which is exact even where tanh u rounds to ±1."""
    return 2.0 * (LOG_2 - u - jax.nn.softplus(-2.0 * u))
