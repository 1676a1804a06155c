"""Distributions over continuous actions in [−1, 1], stable at the bounds."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.types import PRNGKey

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
"""Range of the logarithm of the standard deviation before the tanh."""
EDGE = 1.0 - 1e-3
"""Recorded actions beyond ±EDGE count as ±EDGE: their pre-image under tanh would be infinite at the bound."""
LOG_2, LOG_2PI = 0.6931471805599453, 1.8378770664093453

Rows = Float[Array, " n"]
Unit = Float[Array, "n act"]


def split(outputs: Float[Array, "n twice"]) -> tuple[Unit, Unit]:
    """Mean and log standard deviation from a network's outputs; the second is squashed into its range."""
    mean, raw = jnp.split(outputs, 2, axis=-1)
    return mean, LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (jnp.tanh(raw) + 1.0)


def log_slope(u: Unit) -> Unit:
    """log(1 − tanh²u), exact where tanh u rounds to ±1."""
    return 2.0 * (LOG_2 - u - jax.nn.softplus(-2.0 * u))


def sample(mean: Unit, log_std: Unit, key: PRNGKey) -> tuple[Unit, Rows]:
    """a = tanh(mean + std·ε), reparameterised, and log π(a|s) as a density on [−1, 1]."""
    return shifted(mean, log_std, jr.normal(key, mean.shape))


def shifted(mean: Unit, log_std: Unit, noise: Unit) -> tuple[Unit, Rows]:
    """The sample that this standard normal noise ε leads to, and its log-density."""
    u = mean + jnp.exp(log_std) * noise
    density = -0.5 * (noise**2 + LOG_2PI) - log_std - log_slope(u)
    return jnp.tanh(u), jnp.sum(density, axis=-1)


def log_prob(mean: Unit, log_std: Unit, unit: Unit) -> Rows:
    """log π(a|s) of given actions in [−1, 1].

    >>> log_prob(jnp.zeros((1, 2)), jnp.zeros((1, 2)), jnp.ones((1, 2)))  # finite at the bounds
    """
    u = jnp.arctanh(jnp.clip(unit, -EDGE, EDGE))
    noise = (u - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * (noise**2 + LOG_2PI) - log_std - log_slope(u), axis=-1)
