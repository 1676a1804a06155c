"""Distributions over continuous actions in [−1, 1], stable at the bounds."""

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from iqlearn.types import PRNGKey

Squash = Literal["clip", "tanh"]

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
"""Range of the logarithm of the standard deviation of the normal that an action is made from."""
EDGE = 1.0 - 1e-3
"""Under tanh, recorded actions beyond ±EDGE count as ±EDGE: their pre-image would be infinite at the bound."""
AT_BOUND = 1.0 - 1e-6
"""Recorded actions of at least this size are at the bound, whatever rounding their scaling has left."""
LOG_2, LOG_2PI = 0.6931471805599453, 1.8378770664093453

Rows = Float[Array, " n"]
Unit = Float[Array, "n act"]


class ActionDistribution(eqx.Module):
    """π(·|s) of each row, made from a normal variable u ~ N(mean, std²) with independent dimensions."""

    mean: Unit
    log_std: Unit

    @property
    @abstractmethod
    def mode(self) -> Unit:
        """The image of the mean: the deterministic action."""

    @abstractmethod
    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        """The action that this standard normal noise ε leads to, reparameterised, and log π of it."""

    @abstractmethod
    def log_prob(self, unit: Unit) -> Rows:
        """log π of given actions in [−1, 1], finite at the bounds."""

    @abstractmethod
    def distance(self, unit: Unit) -> Rows:
        """|a − mode|² of given actions in [−1, 1], with a useful gradient wherever it is not 0."""

    def sample(self, key: PRNGKey) -> tuple[Unit, Rows]:
        """An action a row, reparameterised, and log π of it."""
        return self.shifted(jr.normal(key, self.mean.shape))


class ClippedGaussian(ActionDistribution):
    """a = clip(u, −1, 1): a density inside, and at each bound the probability of all values beyond it.

    It matches an expert whose actions are often at the bounds exactly.
    """

    @property
    def mode(self) -> Unit:
        return jnp.clip(self.mean, -1.0, 1.0)

    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        unit = clip(self.mean + jnp.exp(self.log_std) * noise)
        return unit, self.log_prob(unit)

    def log_prob(self, unit: Unit) -> Rows:
        inverse_std = jnp.exp(-self.log_std)
        noise = (unit - self.mean) * inverse_std
        density = -0.5 * (noise**2 + LOG_2PI) - self.log_std
        beyond = norm.logcdf(jnp.where(unit > 0.0, self.mean - 1.0, -1.0 - self.mean) * inverse_std)
        return jnp.sum(jnp.where(jnp.abs(unit) < AT_BOUND, density, beyond), axis=-1)

    def distance(self, unit: Unit) -> Rows:
        error = self.mean - unit
        matched = (jnp.abs(unit) >= AT_BOUND) & (error * unit > 0.0)
        return jnp.sum(jnp.where(matched, 0.0, error) ** 2, axis=-1)


class TanhGaussian(ActionDistribution):
    """a = tanh u: a density on (−1, 1) (SAC, appendix C)."""

    @property
    def mode(self) -> Unit:
        return jnp.tanh(self.mean)

    def shifted(self, noise: Unit) -> tuple[Unit, Rows]:
        u = self.mean + jnp.exp(self.log_std) * noise
        return jnp.tanh(u), self._density(noise, u)

    def log_prob(self, unit: Unit) -> Rows:
        u = jnp.arctanh(jnp.clip(unit, -EDGE, EDGE))
        return self._density((u - self.mean) * jnp.exp(-self.log_std), u)

    def distance(self, unit: Unit) -> Rows:
        return jnp.sum((self.mode - unit) ** 2, axis=-1)

    def _density(self, noise: Unit, u: Unit) -> Rows:
        return jnp.sum(-0.5 * (noise**2 + LOG_2PI) - self.log_std - log_slope(u), axis=-1)


KINDS: dict[Squash, type[ActionDistribution]] = {"clip": ClippedGaussian, "tanh": TanhGaussian}


def policy(outputs: Float[Array, "n twice"], squash: Squash) -> ActionDistribution:
    """The distribution of a network's outputs: the mean, and the log standard deviation squashed into its range."""
    mean, raw = jnp.split(outputs, 2, axis=-1)
    return KINDS[squash](mean, LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (jnp.tanh(raw) + 1.0))


@jax.custom_vjp
def clip(u: Unit) -> Unit:
    """u clipped to [−1, 1], with the gradient of projected descent: beyond a bound only gradients that lead back pass.

    The plain gradient is 0 beyond a bound, so that an actor could never leave it (compare the inverting gradients of
    Hausknecht & Stone, 2016).
    """
    return jnp.clip(u, -1.0, 1.0)


def _clip_forward(u: Unit) -> tuple[Unit, Unit]:
    return clip(u), u


def _clip_backward(u: Unit, slope: Unit) -> tuple[Unit]:
    outwards = ((u > 1.0) & (slope < 0.0)) | ((u < -1.0) & (slope > 0.0))
    return (jnp.where(outwards, 0.0, slope),)


clip.defvjp(_clip_forward, _clip_backward)


def log_slope(u: Unit) -> Unit:
    """log(1 − tanh²u), exact where tanh u rounds to ±1."""
    return 2.0 * (LOG_2 - u - jax.nn.softplus(-2.0 * u))
