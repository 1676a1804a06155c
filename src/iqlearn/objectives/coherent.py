"""The mathematics of coherent soft imitation learning: its reward, and the loss that refines the reward."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.types import Scalar


def coherent_reward(log_clone: Float[Array, " n"], log_prior: Float[Array, " n"], actions: int) -> Float[Array, " n"]:
    """α·(log q(a|s) − log p(a)) with α = 1/dim(A).

    For this reward, q is the soft-optimal policy relative to the prior p at temperature α. The soft value is
    α·log E_p[exp(r/α)] = 0 in every state.

    >>> coherent_reward(jnp.array([2.0, 0.0]), jnp.zeros(2), 2).tolist()
    [1.0, 0.0]
    """
    return (log_clone - log_prior) / actions


def refinement_loss(expert: Float[Array, " n"], visited: Float[Array, " m"], distance: Scalar, weight: float) -> Scalar:
    """E_ρ[r] − E_{ρ_E}[r] + weight·distance.

    Minimising it raises the reward on expert transitions and lowers it on visited ones. `distance` keeps the reward
    near the first one.
    """
    return jnp.mean(visited) - jnp.mean(expert) + weight * distance


def normal_kl(
    mean: Float[Array, "n act"],
    log_std: Float[Array, "n act"],
    other_mean: Float[Array, "n act"],
    other_log_std: Float[Array, "n act"],
) -> Float[Array, " n"]:
    """KL(N ‖ other) of normal distributions with independent dimensions, in each row.

    >>> zero = jnp.zeros((1, 1))
    >>> normal_kl(zero + 2.0, zero, zero, zero).tolist()
    [2.0]
    """
    ratio, error = jnp.exp(2.0 * (log_std - other_log_std)), (mean - other_mean) * jnp.exp(-other_log_std)
    return 0.5 * jnp.sum(ratio + error**2 - 1.0, axis=-1) + jnp.sum(other_log_std - log_std, axis=-1)
