"""The losses of a discriminator between expert and learner."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.types import Scalar


def discrimination_loss(
    expert: Float[Array, " n"],
    visited: Float[Array, " m"],
    expert_weight: Float[Array, " n"],
    visited_weight: Float[Array, " m"],
) -> Scalar:
    """−E_{ρ_E}[log D] − E_ρ[log(1 − D)] with D = σ(logit), as weighted means over the rows (GAIL, equation 14).

    >>> zeros, ones = jnp.zeros(2), jnp.ones(2)
    >>> bool(jnp.isclose(discrimination_loss(zeros, zeros, ones, ones), 2.0 * jnp.log(2.0)))
    True
    """
    of_expert = jnp.average(jax.nn.softplus(-expert), weights=expert_weight)
    return of_expert + jnp.average(jax.nn.softplus(visited), weights=visited_weight)


def slope_loss(gradient: Float[Array, "n inputs"]) -> Scalar:
    """E[(‖∇D‖ − 1)²]: the two-sided gradient penalty (WGAN-GP: Gulrajani et al., 2017, equation 3)."""
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=-1) + 1e-12)
    return jnp.mean((norm - 1.0) ** 2)
