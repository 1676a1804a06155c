"""Inverse soft-Q learning: one Q-function whose soft policy imitates and whose inverse Bellman image is the reward."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.algorithms.descent import begin, descend, refresh
from iqlearn.algorithms.state import TrainState
from iqlearn.models import DiscreteSoftQ
from iqlearn.models.discrete import of_action
from iqlearn.objectives import (
    SoftValues,
    discounted,
    divergence,
    implied_reward,
    iq_loss,
    soft_value,
    value_term,
)
from iqlearn.settings import IQLearn
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec, Transitions


@dataclass(frozen=True)
class InverseSoftQ:
    """Garg et al., NeurIPS 2021, for discrete actions, where V is exact and no actor is needed."""

    settings: IQLearn

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> TrainState:
        s = self.settings
        model = DiscreteSoftQ(spec, s.network, s.temperature, scale, key)
        target = None if s.target_update == "none" else model
        opt_state = begin(s, model)
        return TrainState(model, target, opt_state, jnp.zeros((), jnp.int32))

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        s = self.settings
        model, opt_state, metrics = descend(
            s,
            lambda model: self.loss(model, state.target, batch),
            state.model,
            state.opt_state,
        )
        step = state.step + 1
        target = state.target
        if target is not None:
            target = refresh(target, model, s.target_update, s.target_rate, s.target_period, step)
        return TrainState(model, target, opt_state, step), metrics

    def loss(self, model: DiscreteSoftQ, target: DiscreteSoftQ | None, batch: Batch) -> tuple[Scalar, Metrics]:
        """Mean over the ensemble of −J(Q); members see the same batch and differ by their start."""
        s = self.settings
        fit = divergence(s.divergence, s.chi2_alpha, s.reward_bound)
        expert = self.soft_values(model, target, batch.expert)
        visited = expert if batch.visited is batch.expert else self.soft_values(model, target, batch.visited)
        initial_v = expert.v
        if s.value_term == "initial":
            initial_v = soft_value(model.member_q(batch.initial_obs), s.temperature)

        def of_member(expert: SoftValues, visited: SoftValues, initial_v: Float[Array, " m"]) -> Float[Array, ""]:
            value = value_term(s.value_term, expert, visited, initial_v, s.gamma)
            return iq_loss(expert, visited, fit, value)

        loss = jnp.mean(jax.vmap(of_member)(expert, visited, initial_v))
        reward = implied_reward(expert)
        return loss, {
            "expert_reward": jnp.mean(reward),
            "reward_bound": jnp.max(jnp.abs(reward)),
            "value": jnp.mean(expert.v),
            "log_likelihood": jnp.mean(expert.q - expert.v) / s.temperature,
        }

    def soft_values(self, model: DiscreteSoftQ, target: DiscreteSoftQ | None, batch: Transitions) -> SoftValues:
        """Q(s,a), V(s) and γV(s') of every member, (members, n) each, s and s' in one forward pass."""
        s = self.settings
        n = batch.terminal.shape[0]
        if target is None:
            both = model.member_q(jnp.concatenate([batch.obs, batch.next_obs]))
            q, next_q = both[:, :n], both[:, n:]
            next_q = next_q if s.next_value_gradient else jax.lax.stop_gradient(next_q)
        else:
            q, next_q = model.member_q(batch.obs), jax.lax.stop_gradient(target.member_q(batch.next_obs))
        next_v = discounted(soft_value(next_q, s.temperature), batch.terminal, s.gamma)
        chosen = jax.vmap(of_action, in_axes=(0, None))(q, batch.action)
        return SoftValues(chosen, soft_value(q, s.temperature), next_v)
