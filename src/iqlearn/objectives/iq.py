"""The objective of inverse soft-Q learning, as functions of arrays, without networks and environments.

J(Q) = E_{ρ_E}[φ(Q(s,a) − γV(s'))] − (1−γ)·E_{s0}[V(s0)]      (IQ-Learn, equation 9)
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.objectives.divergences import Divergence
from iqlearn.types import Scalar

ValueTerm = Literal["initial", "expert_states", "expert", "mixture"]
Form = Literal["inverse", "least_squares", "least_squares_fixed"]


class SoftValues(NamedTuple):
    """Values of n transitions, (n,) for one critic, (members, n) for several."""

    q: Float[Array, "*members n"]
    """Q(s, a)"""
    v: Float[Array, "*members n"]
    """V(s)"""
    discounted_next_v: Float[Array, "*members n"]
    """γV(s'). After a true end it is γ times the value of the absorbing state, or 0 (see `bellman.discounted`)."""


def implied_reward(values: SoftValues) -> Float[Array, "*members n"]:
    """Return the only reward for which Q is soft-optimal: the inverse soft Bellman operator, Q(s,a) − γV(s')."""
    return values.q - values.discounted_next_v


def value_term(
    name: ValueTerm,
    expert: SoftValues,
    visited: SoftValues,
    initial_v: Float[Array, " m"],
    gamma: float,
) -> Scalar:
    """Return an estimate of (1−γ)·E[V(s0)] by one of four terms (IQ-Learn, section 5).

    `initial` averages V over initial states. `expert` averages V(s) − γV(s') over expert transitions, and `mixture`
    over expert and visited transitions, half each. These three agree in expectation over discounted occupancies
    (telescoping). Minibatches draw rows uniformly, so they agree only roughly. `expert_states` treats the expert's
    states as initial states.
    """
    if name == "initial":
        return (1.0 - gamma) * jnp.mean(initial_v)
    if name == "expert_states":
        return (1.0 - gamma) * jnp.mean(expert.v)
    of_expert = jnp.mean(expert.v - expert.discounted_next_v)
    return of_expert if name == "expert" else 0.5 * (of_expert + jnp.mean(visited.v - visited.discounted_next_v))


def iq_loss(expert: SoftValues, visited: SoftValues, divergence: Divergence, value: Scalar) -> Scalar:
    """Return −J(Q). Minimising it raises rewards on expert transitions and lowers V(s0). `value` is from `value_term`.

    >>> ones, zeros = jnp.ones(2), jnp.zeros(2)
    >>> expert = SoftValues(q=ones, v=ones, discounted_next_v=zeros)
    >>> float(iq_loss(expert, expert, lambda reward, _: jnp.mean(reward), jnp.mean(expert.v)))
    0.0
    """
    return value - divergence(implied_reward(expert), implied_reward(visited))


def least_squares_loss(expert: SoftValues, visited: SoftValues, reward_bound: float) -> Scalar:
    """χ² on the mixture with the visited action in place of the sampled one (LS-IQ, equation 12).

    It is a squared soft Bellman error with fixed rewards, +r_max on expert and −r_max on visited transitions. The
    caller passes `discounted_next_v` without a gradient.
    """
    fit = jnp.mean((implied_reward(expert) - reward_bound) ** 2)
    return 0.5 * (fit + jnp.mean((implied_reward(visited) + reward_bound) ** 2))


def steepness(gradient: Float[Array, "*members n inputs"], lipschitz: float = 1.0) -> Scalar:
    """E[max(‖∇Q‖ − L, 0)²]: a one-sided penalty that keeps Q near L-Lipschitz (WGAN-GP, one-sided)."""
    norm = jnp.sqrt(jnp.sum(gradient**2, axis=-1) + 1e-12)
    return jnp.mean(jnp.maximum(norm - lipschitz, 0.0) ** 2)
