"""Divergences between expert and learner occupancy, each given by its concave φ (IQ-Learn, table 1 and appendix B).

The objective's first term is E_{ρ_E}[φ(r)]. Every φ here is finite with finite gradients on all of ℝ: beyond the edge
of its domain it continues along its tangent. It stays concave, and its gradient leads a reward back into the domain.

A `Divergence` maps the implied rewards of expert and visited transitions to the scalar that is *maximised*. Most
divergences read the expert's rewards only. To add one, write its φ and name it in `divergence`.

An integral metric has φ(x) = x over a bounded class of functions. TV bounds the reward here. W1 bounds the slope of
Q: `steepness` in `iq.py` is its penalty.
"""

# jax leaves some of its own types partly unknown:
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.types import Scalar

DivergenceName = Literal[
    "chi2",
    "chi2_mixture",
    "tv",
    "forward_kl",
    "unbiased_kl",
    "donsker_varadhan",
    "reverse_kl",
    "hellinger",
    "jensen_shannon",
    "w1",
]

Rewards = Float[Array, " n"]
Phi = Callable[[Rewards], Rewards]
Visited = Float[Array, " m"]
Divergence = Callable[[Rewards, Visited], Scalar]

STEEPEST_EXPONENT = 10.0
"""Exponentials continue linearly where their argument exceeds this, with a slope of e¹⁰, so that none overflows."""


def tangent_below(phi: Callable[[Scalar], Scalar], edge: float) -> Phi:
    """Return φ with its tangent at `edge` in place of φ below `edge`: concave, continuously differentiable, finite.

    >>> log = tangent_below(jnp.log, 0.5)
    >>> float(log(jnp.array([-1.0]))[0])  # log(0.5) + 2·(−1.5)
    -3.693147...
    """
    tangent: Callable[[Scalar], tuple[Scalar, Scalar]] = jax.value_and_grad(phi)

    def extended(x: Rewards) -> Rewards:
        anchor: Scalar = jnp.full((), edge, x.dtype)
        value, slope = tangent(anchor)
        return jnp.where(x < edge, value + slope * (x - edge), phi(jnp.maximum(x, edge)))

    return extended


def chi2(alpha: float) -> Phi:
    """χ²: φ(x) = x − x²/(4α)."""
    return lambda x: x - x**2 / (4.0 * alpha)


def total_variation(bound: float) -> Phi:
    """TV: φ(x) = x within ±bound, with a quadratic penalty outside."""
    return lambda x: x - jnp.maximum(jnp.abs(x) - bound, 0.0) ** 2


def wasserstein(x: Rewards) -> Rewards:
    """W1: φ(x) = x, with a Lipschitz Q."""
    return x


forward_kl: Phi = tangent_below(lambda x: -jnp.exp(-x - 1.0), -STEEPEST_EXPONENT - 1.0)
"""Forward KL, original dual: φ(x) = −exp(−x − 1). Poor in practice; kept for comparison."""

unbiased_kl: Phi = tangent_below(lambda x: 1.0 - jnp.exp(-x), -STEEPEST_EXPONENT)
"""Forward KL in the paper's corrected form: φ(x) = 1 − exp(−x)."""

reverse_kl: Phi = tangent_below(lambda x: 1.0 + jnp.log(x), 0.01)
"""Reverse KL: φ(x) = 1 + log x on x > 0."""

squared_hellinger: Phi = tangent_below(lambda x: x / (1.0 + x), -0.9)
"""Squared Hellinger: φ(x) = x / (1 + x) on x > −1."""

jensen_shannon: Phi = tangent_below(lambda x: jnp.log(2.0 - jnp.exp(-x)), -0.68)
"""Jensen–Shannon: φ(x) = log(2 − exp(−x)) on x > −log 2 ≈ −0.693."""


def expected(phi: Phi) -> Divergence:
    """Return the divergence E_{ρ_E}[φ(r)], which reads the expert's rewards only."""
    return lambda expert, _visited: jnp.mean(phi(expert))


def chi2_mixture(alpha: float) -> Divergence:
    """χ² with its penalty over expert *and* visited transitions (LS-IQ, section 4). It bounds reward and divergence.

    Expert and visited transitions have the same total weight, whatever their numbers.
    """

    def fit(expert: Rewards, visited: Visited) -> Scalar:
        penalty = 0.5 * (jnp.mean(expert**2) + jnp.mean(visited**2))
        return jnp.mean(expert) - penalty / (4.0 * alpha)

    return fit


def donsker_varadhan(expert: Rewards, _visited: Visited) -> Scalar:
    """Forward KL after Donsker and Varadhan: −log E[exp(−r)]. Biased over minibatches; kept for comparison."""
    return jnp.log(expert.shape[0]) - jax.nn.logsumexp(-expert)


def tv_mixture(bound: float) -> Divergence:
    """TV with the quadratic penalty on expert and visited transitions: the bound holds for both."""

    def fit(expert: Rewards, visited: Visited) -> Scalar:
        beyond = jnp.maximum(jnp.abs(visited) - bound, 0.0) ** 2
        return jnp.mean(total_variation(bound)(expert)) - jnp.mean(beyond)

    return fit


def divergence(name: DivergenceName, chi2_alpha: float, reward_bound: float) -> Divergence:
    """Return the divergence named `name`. χ² reads `chi2_alpha` > 0, TV reads `reward_bound` > 0."""
    table: dict[DivergenceName, Divergence] = {
        "chi2": expected(chi2(chi2_alpha)),
        "chi2_mixture": chi2_mixture(chi2_alpha),
        "tv": tv_mixture(reward_bound),
        "forward_kl": expected(forward_kl),
        "unbiased_kl": expected(unbiased_kl),
        "donsker_varadhan": donsker_varadhan,
        "reverse_kl": expected(reverse_kl),
        "hellinger": expected(squared_hellinger),
        "jensen_shannon": expected(jensen_shannon),
        "w1": expected(wasserstein),
    }
    return table[name]
