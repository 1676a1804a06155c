"""Inverse soft-Q learning for discrete actions: one Q-function, whose soft policy imitates the expert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms.base import TrainState, reward_extension
from iqlearn.algorithms.common import QLearning, descend_q, q_values, stop
from iqlearn.algorithms.objective import BOUNDED, Objective, critic_loss, next_values
from iqlearn.errors import require
from iqlearn.networks.descent import between
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import DiscreteSoftQ, of_action
from iqlearn.objectives import SoftValues, soft_value, steepness
from iqlearn.objectives.divergences import DivergenceName
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar, Transitions


@dataclass(frozen=True)
class IQLearn(Objective, QLearning):
    """Inverse soft-Q learning (Garg et al., NeurIPS 2021) for discrete actions, where V is exact (section 4.1).

    The defaults are the paper's method: χ² with α = 0.5 (section 5), the expert's transitions as value term offline and
    half expert, half replay online (section 5.1), no target network, no scaling, no extension. The paper's text does
    not specify the layers, the learning rate and the temperature; their defaults are common values of the field.
    """

    divergence: DivergenceName = "chi2"
    learning_rate: float = 1e-4
    next_value_gradient: bool = True
    """Differentiate V(s') too, as in the objective. It has an effect only without a target network."""

    name: ClassVar[str] = "iq"

    def __post_init__(self) -> None:
        super().__post_init__()
        fixed = self.target_rate > 0.0 or self.squared
        expected = "True with a target network or least_squares, where V(s') has no gradient"
        require(self.next_value_gradient or not fixed, "next_value_gradient", False, expected)

    @classmethod
    def recommended(cls, learner_rows: bool, given_reward: bool, **changes: Any) -> IQLearn:
        """Return the settings that worked best, with the given changes.

        They have whitened observations, tanh layers, the weight decay of behavioural cloning, and a small temperature.
        The weight of the Bellman residual relative to the likelihood, τ/(4α), is then small. With transitions of the
        learner they have the default temperature, less weight decay, a target network, absorbing states, and, with
        `chi2_mixture` and no given reward, LS-IQ's squared error.
        """
        values: dict[str, Any] = {
            "divergence": "chi2_mixture",
            "learning_rate": 1e-3,
            "temperature": cls.temperature if learner_rows else 1e-3,
            "weight_decay": 0.1 if learner_rows else 1.0,
            "scaling": "whiten",
            "network": Network((64, 64), "tanh"),
        }
        if learner_rows:
            divergence = changes.get("divergence", "chi2_mixture")
            values |= {
                "target_rate": 0.01,
                "absorbing": True,
                "clip_value": divergence in BOUNDED,
                "form": "least_squares" if divergence == "chi2_mixture" and not given_reward else "inverse",
            }
        found = cls(**(values | changes))
        scale = 1.0 if found.spectral_norm else found.value_bound if learner_rows else found.temperature
        return replace(found, output_scale=changes.get("output_scale", scale))

    @classmethod
    def ls_iq(cls, **changes: Any) -> IQLearn:
        """Return the settings of LS-IQ, with network outputs in units of r_max/(1−γ).

        LS-IQ was published for continuous actions.
        """
        found = super().ls_iq(**changes)
        return replace(found, output_scale=changes.get("output_scale", found.value_bound))

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step on −J(Q)."""
        act_key, loss_key = jr.split(key)
        if self.state_only:  # a ~ π(·|s) takes the place of the expert's action
            action = state.model.act(batch.expert.obs, act_key)
            batch = batch._replace(expert=batch.expert._replace(action=action))
        return descend_q(self, state, lambda model: self.loss(model, state, batch, loss_key))

    def loss(self, model: DiscreteSoftQ, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[Scalar, Metrics]:
        """Return the mean of −J(Q) over the members, and figures.

        The members read the same batch and differ in their initial weights.
        """
        n = len(batch.expert.terminal)
        parts = [self.values(model, state, batch.expert, 1.0)]
        if batch.visited is not None:
            parts.append(self.values(model, state, batch.visited, -1.0))
        values = SoftValues(*(jnp.concatenate(x, axis=1) for x in zip(*parts, strict=True)))
        initial_v = None
        if self.value_term == "initial":
            initial_v = soft_value(model.member_q(batch.initial_obs), self.temperature)
        given, extension = None, reward_extension(self.extensions)
        if extension is not None:
            sides = [batch.expert] if batch.visited is None else [batch.expert, batch.visited]
            given = jnp.concatenate([extension.reward(state.aux[extension.name], side) for side in sides])
        loss, metrics = critic_loss(self, values, n, initial_v, given)
        if self.penalty > 0.0:
            loss += self.penalty * self.roughness(model, batch, key)
        chosen = jnp.mean(values.q[:, :n] - values.v[:, :n]) / self.temperature
        return loss, metrics | ({"entropy": -chosen} if self.state_only else {"log_likelihood": chosen})

    def values(self, model: DiscreteSoftQ, state: TrainState, rows: Transitions, ends: float) -> SoftValues:
        """Return Q(s,a), V(s) and γV(s') of every member, (members, n) each. `ends` is that of `next_values`."""
        q, next_q = q_values(model, state.target, rows)
        next_v = soft_value(next_q if self.next_value_gradient else stop(next_q), self.temperature)
        chosen = jax.vmap(of_action, in_axes=(0, None))(q, rows.action)
        return SoftValues(chosen, soft_value(q, self.temperature), next_values(self, next_v, rows.terminal, ends))

    def roughness(self, model: DiscreteSoftQ, batch: Batch, key: PRNGKey) -> Scalar:
        """E[max(‖∇Q‖ − 1, 0)²] at random points between expert and learner rows (offline: between expert rows).

        The action is that of the nearer row.
        """
        sides = batch.expert, batch.expert if batch.visited is None else batch.visited
        expert, visited = ((model.encoder(side.obs), side.action) for side in sides)
        points, action = between(expert, visited, key)

        def member_sums(x: Float[Array, "n inputs"]) -> Float[Array, " members"]:
            return jnp.sum(jax.vmap(of_action, in_axes=(0, None))(model.inputs_q(x), action), axis=1)

        return steepness(jax.jacrev(member_sums)(points))
