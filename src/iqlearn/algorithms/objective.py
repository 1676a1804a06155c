"""Settings of the objective of inverse soft-Q learning, shared by discrete and continuous actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Extension, Implied
from iqlearn.algorithms.common import SoftLearning, stop
from iqlearn.errors import require, require_not_negative, require_positive
from iqlearn.networks.soft_q import SoftQ
from iqlearn.objectives import (
    SoftValues,
    discounted,
    divergence,
    implied_reward,
    iq_loss,
    least_squares_loss,
    soft_td_loss,
    value_term,
)
from iqlearn.objectives.divergences import DivergenceName
from iqlearn.objectives.iq import Form, ValueTerm
from iqlearn.types import Metrics, Scalar

BOUNDED = ("chi2_mixture", "tv")
"""Divergences that bound the reward by r_max."""
W1_PENALTY = 10.0
"""Default weight of the gradient penalty under W1 (Gulrajani et al., 2017)."""


@dataclass(frozen=True)
class Objective(SoftLearning):
    """J(Q) = E_{ρ_E}[φ(Q(s,a) − γV(s'))] − (1−γ)·E_{s0}[V(s0)] (IQ-Learn, equation 9)."""

    divergence: DivergenceName = "chi2_mixture"
    """Divergence between expert and learner: the φ of the objective (IQ-Learn, table 1)."""
    value_term: ValueTerm = "mixture"
    """Estimate of (1-γ)·E[V(s0)]: over initial states, expert states, expert transitions, or expert and learner
    transitions half each (offline: the expert's alone). The least-squares forms have none."""
    form: Form = "inverse"
    """`inverse` is the paper's objective. `least_squares` is LS-IQ's squared Bellman error (equation 12), for
    `chi2_mixture` with transitions of the learner. `least_squares_fixed` also fixes the target of the expert's
    transitions: r_max/(1-γ), as if the expert earned r_max for ever."""
    chi2_alpha: float = 0.5
    """α of χ²: the squared reward has the weight 1/(4α). r_max = 2α is the reward of absorbing states and the bound
    of `tv`."""
    gradient_penalty: float | None = None
    """Weight of the penalty on gradients of Q with norm above 1, between expert and learner transitions. By default 10
    with `w1`, unless `spectral_norm` is set, and 0 otherwise."""
    spectral_norm: bool = False  # pyright: ignore[reportIncompatibleVariableOverride]
    """Divide each weight matrix by its largest singular value where that exceeds 1. Networks of relu, tanh or elu are
    then 1-Lipschitz in their inputs; silu adds a factor of 1.1 for each hidden layer."""
    state_only: bool = False  # pyright: ignore[reportIncompatibleVariableOverride]
    """Imitate observations only: the expert's actions are not read. The learner's own actions take their place."""
    absorbing: bool = False
    """A true end leads to an absorbing state of value +r_max/(1-γ) for the expert and -r_max/(1-γ) for the learner
    (LS-IQ, section 4). Otherwise the value after a true end is 0."""
    clip_value: bool = False
    """Clip V(s') to ±r_max/(1-γ). For divergences that bound the reward: `chi2_mixture` and `tv`."""
    extensions: tuple[Extension, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]
    """Optional parts of the method."""

    family: ClassVar[str] = "iq"
    hooks: ClassVar[tuple[str, ...]] = ("reward",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "chi2_alpha")
        if self.gradient_penalty is not None:
            require_not_negative(self, "gradient_penalty")
        bounded = self.divergence != "w1" or self.spectral_norm or self.penalty > 0.0
        require(bounded, "gradient_penalty", self.gradient_penalty, "above 0 with w1, unless spectral_norm is set")
        clipped = not self.clip_value or self.divergence in BOUNDED
        require(clipped, "clip_value", True, f"False with divergence {self.divergence}, which bounds no reward")
        normalised = self.spectral_norm and getattr(self, self.judge).layer_norm
        require(not normalised, f"{self.judge}.layer_norm", True, "False with spectral_norm, which it would undo")
        fits = not self.squared or self.divergence == "chi2_mixture"
        require(fits, "form", self.form, f"inverse with divergence {self.divergence}; least_squares is chi2_mixture")

    def check(self, learner_rows: bool) -> None:
        """Refuse the squared Bellman error where batches hold no transitions of the learner."""
        require(
            learner_rows or not self.squared,
            "form",
            self.form,
            "inverse offline, without learner transitions; or mode online",
        )

    @classmethod
    def ls_iq(cls, **changes: Any) -> Any:
        """Return the settings of LS-IQ (Al-Hafez et al., ICLR 2023), with the given changes.

        They have the squared Bellman error with a fixed target for the expert's transitions, r_max = 2 (LS-IQ's weight
        of the squared reward is 0.5), absorbing states, and clipped values of a target network. The rest is as in the
        paper of IQ-Learn.
        """
        values: dict[str, Any] = {
            "divergence": "chi2_mixture",
            "form": "least_squares_fixed",
            "chi2_alpha": 1.0,
            "absorbing": True,
            "clip_value": True,
            "target_rate": 0.005,
        }
        return cls(**(values | changes))

    @property
    def squared(self) -> bool:
        """Whether the loss is a squared Bellman error with the rewards ±r_max."""
        return self.form != "inverse"

    @property
    def penalty(self) -> float:
        """The weight of the gradient penalty."""
        if self.gradient_penalty is not None:
            return self.gradient_penalty
        return W1_PENALTY if self.divergence == "w1" and not self.spectral_norm else 0.0

    @property
    def limit(self) -> float:
        """r_max = 2α (LS-IQ, section 4)."""
        return 2.0 * self.chi2_alpha

    @property
    def value_bound(self) -> float:
        """r_max/(1−γ), the value of a state that pays r_max for ever."""
        return self.limit / (1.0 - self.gamma)

    def values_read(self, experts: int, rows: int, given_reward: bool) -> int:
        """Return the number of rows, counted from the expert's first one, whose V(s) the loss reads."""
        if given_reward or self.squared or self.value_term == "initial":
            return 0
        return rows if self.value_term == "mixture" else experts

    def reward(self, model: SoftQ) -> Implied:
        """Return the reward that the model implies."""
        target = self.value_bound if self.squared else self.limit
        return Implied(model, self.gamma, self.limit, self.absorbing, target)


def next_values(s: Objective, value: Float[Array, "members n"], terminal: Any, ends: Any) -> Float[Array, "members n"]:
    """Return γV(s'), with `clip_value` and `absorbing` applied. For the squared Bellman error it has no gradient.

    `ends` is +1 for expert rows and −1 for the learner's.
    """
    if s.squared:
        value = stop(value)
    if s.clip_value:
        value = jnp.clip(value, -s.value_bound, s.value_bound)
    return discounted(value, terminal, s.gamma, ends * s.value_bound if s.absorbing else 0.0)


def critic_loss(
    s: Objective,
    values: SoftValues,
    experts: int,
    initial_v: Float[Array, "members m"] | None,
    given: Float[Array, " n"] | None,
) -> tuple[Scalar, Metrics]:
    """Return the mean over the members of −J(Q), or with a `given` reward of ½·E[(Q(s,a) − r − γV(s'))²], and figures.

    The first `experts` columns of `values` are the expert's transitions, the others the learner's. Without transitions
    of the learner, the expert's take their place: `chi2_mixture` is then `chi2`, and the value term `mixture` is
    `expert`.
    """
    expert = SoftValues(*(x[:, :experts] for x in values))
    visited = SoftValues(*(x[:, experts:] for x in values)) if values.q.shape[1] > experts else expert

    def of_member(expert: SoftValues, visited: SoftValues, initial_v: Float[Array, " m"]) -> Scalar:
        if s.form == "least_squares_fixed":
            expert = expert._replace(discounted_next_v=jnp.full_like(expert.q, s.gamma * s.value_bound))
        if s.squared:
            return least_squares_loss(expert, visited, s.limit)
        value = value_term(s.value_term, expert, visited, initial_v, s.gamma)
        return iq_loss(expert, visited, divergence(s.divergence, s.chi2_alpha, s.limit), value)

    if given is None:
        losses = jax.vmap(of_member)(expert, visited, expert.v if initial_v is None else initial_v)
    else:
        losses = jax.vmap(soft_td_loss, in_axes=(0, None, 0))(values.q, given, values.discounted_next_v)
    reward = implied_reward(expert)
    metrics = {"expert_reward": jnp.mean(reward)}
    if values.q.shape[1] > experts:
        metrics["visited_reward"] = jnp.mean(implied_reward(visited))
    return jnp.mean(losses), metrics | {"reward_bound": jnp.max(jnp.abs(reward)), "value": jnp.mean(expert.v)}
