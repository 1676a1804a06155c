"""Soft Bellman equations (maximum-entropy reinforcement learning), on arrays.

The *temperature* τ is the weight of the entropy, "α" in the SAC paper.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from iqlearn.types import Scalar


def soft_value(q: Float[Array, "*n actions"], temperature: float) -> Float[Array, "*n"]:
    """V(s) = τ·log Σ_a exp(Q(s,a)/τ), exact for discrete actions.

    >>> bool(jnp.isclose(soft_value(jnp.zeros((1, 2)), 1.0)[0], jnp.log(2.0)))
    True
    """
    return temperature * jax.nn.logsumexp(q / temperature, axis=-1)


def soft_log_policy(q: Float[Array, "*n actions"], temperature: float) -> Float[Array, "*n actions"]:
    """log π(a|s) = (Q(s,a) − V(s))/τ: the policy that is optimal for Q."""
    return jax.nn.log_softmax(q / temperature, axis=-1)


def discounted(
    next_v: Float[Array, "*members n"],
    terminal: Bool[Array, " n"],
    gamma: float,
    end_value: Float[Array, "*#members n"] | Scalar | float = 0.0,
) -> Float[Array, "*members n"]:
    """γV(s'), with V(s') = `end_value` after a true end. Termination enters the Bellman equations only here.

    A time limit is not terminal: V(s') is kept. `end_value` is the value of the absorbing state, or 0.
    """
    return gamma * jnp.where(terminal, end_value, next_v)


def soft_td_loss(q: Float[Array, " n"], reward: Float[Array, " n"], discounted_next_v: Float[Array, " n"]) -> Scalar:
    """½·E[(Q(s,a) − r − γV(s'))²] with a fixed target; `discounted_next_v` is γV(s') from `discounted`."""
    return 0.5 * jnp.mean((q - jax.lax.stop_gradient(reward + discounted_next_v)) ** 2)
