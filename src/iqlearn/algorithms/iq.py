"""Inverse soft-Q learning: one Q-function, whose soft policy imitates and whose inverse Bellman image is the reward."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms.descent import begin, between, descend, refresh
from iqlearn.algorithms.state import TrainState
from iqlearn.models import DiscreteSoftQ
from iqlearn.models.discrete import of_action
from iqlearn.objectives import (
    SoftValues,
    discounted,
    divergence,
    implied_reward,
    iq_loss,
    least_squares_loss,
    soft_value,
    steepness,
    value_term,
)
from iqlearn.settings import IQLearn, TargetUpdate
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec, Transitions

State = TrainState[DiscreteSoftQ]


@dataclass(frozen=True)
class InverseSoftQ:
    """Garg et al., NeurIPS 2021, for discrete actions, where V is exact and no actor is needed."""

    settings: IQLearn
    learner_acts: bool = False
    """Whether the visited batch holds transitions of the learner; offline without a model it is the expert batch."""

    @property
    def least_squares(self) -> bool:
        s = self.settings
        return self.learner_acts and s.form == "least_squares" and s.divergence == "chi2_mixture"

    @property
    def end_value(self) -> float:
        """|V| of the absorbing states that true ends lead to: r_max/(1−γ), where there is a learner to fail."""
        return self.settings.value_bound if self.learner_acts else 0.0

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        # Without the learner's transitions the loss is a likelihood, whose logits Q/τ are of order 1.
        unit = s.value_bound if self.learner_acts else s.temperature
        unit = s.lipschitz if s.network.spectral_norm else unit
        model = DiscreteSoftQ(spec, s.network, scale, key, s.temperature, unit)
        target = None if self.target_update == "none" else model
        return TrainState(model, target, begin(s, model), jnp.zeros((), jnp.int32))

    @property
    def target_update(self) -> TargetUpdate:
        chosen = self.settings.target_update
        return chosen if chosen != "auto" else ("polyak" if self.learner_acts else "none")

    def answer(self, state: State) -> DiscreteSoftQ:
        """What acts and judges: the model as it is."""
        return state.model

    def update(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        s = self.settings
        act_key, loss_key = jr.split(key)
        if s.state_only:
            batch = without_expert_actions(state.model, batch, act_key)
        model, opt_state, metrics = descend(
            s, lambda model: self.loss(model, state.target, batch, loss_key), state.model, state.opt_state
        )
        step, target = state.step + 1, state.target
        if target is not None:
            target = refresh(target, model, self.target_update, s.target_rate, s.target_period, step)
        return TrainState(model, target, opt_state, step, state.particles), metrics

    def loss(
        self, model: DiscreteSoftQ, target: DiscreteSoftQ | None, batch: Batch, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        """Mean over the ensemble of −J(Q); members see the same batch and differ by their start."""
        s = self.settings
        ends = self.end_value
        expert = self.soft_values(model, target, batch.expert, ends)
        visited = expert
        if batch.visited is not batch.expert:
            visited = self.soft_values(model, target, batch.visited, -ends)
        initial_v = expert.v
        if s.value_term == "initial":
            initial_v = soft_value(model.member_q(batch.initial_obs), s.temperature)
        loss = jnp.mean(jax.vmap(self.member_loss)(expert, visited, initial_v))
        penalty = s.penalty(s.network)
        if penalty > 0.0:
            loss += penalty * self.roughness(model, batch, key)
        reward = implied_reward(expert)
        chosen = jnp.mean(expert.q - expert.v) / s.temperature
        return loss, {
            "expert_reward": jnp.mean(reward),
            "visited_reward": jnp.mean(implied_reward(visited)),
            "reward_bound": jnp.max(jnp.abs(reward)),
            "value": jnp.mean(expert.v),
            **({"entropy": -chosen} if s.state_only else {"log_likelihood": chosen}),
        }

    def member_loss(self, expert: SoftValues, visited: SoftValues, initial_v: Float[Array, " m"]) -> Scalar:
        """−J(Q) of one network, in units of r_max² or r_max."""
        s = self.settings
        if self.least_squares:
            return least_squares_loss(expert, visited, s.reward_limit) / s.reward_limit**2
        value = value_term(s.value_term, expert, visited, initial_v, s.gamma)
        return iq_loss(expert, visited, divergence(s.divergence, s.chi2_alpha, s.reward_bound), value)

    def soft_values(
        self, model: DiscreteSoftQ, target: DiscreteSoftQ | None, batch: Transitions, end_value: float
    ) -> SoftValues:
        """Q(s,a), V(s) and γV(s') of every member, (members, n) each; without a target in one forward pass."""
        s, n = self.settings, batch.terminal.shape[0]
        if target is None:
            both = model.member_q(jnp.concatenate([batch.obs, batch.next_obs]))
            q, next_q = both[:, :n], both[:, n:]
            next_q = next_q if s.next_value_gradient else jax.lax.stop_gradient(next_q)
        else:
            q, next_q = model.member_q(batch.obs), jax.lax.stop_gradient(target.member_q(batch.next_obs))
        next_v = soft_value(next_q, s.temperature)
        if self.least_squares:
            next_v = jnp.clip(jax.lax.stop_gradient(next_v), -s.value_bound, s.value_bound)
        next_v = discounted(next_v, batch.terminal, s.gamma, end_value)
        chosen = jax.vmap(of_action, in_axes=(0, None))(q, batch.action)
        return SoftValues(chosen, soft_value(q, s.temperature), next_v)

    def roughness(self, model: DiscreteSoftQ, batch: Batch, key: PRNGKey) -> Scalar:
        """E[max(‖∇Q‖ − L, 0)²] in the networks' inputs, for the action of the nearer row (see `descent.between`)."""
        expert, visited = ((model.inputs(part.obs), part.action) for part in (batch.expert, batch.visited))
        points, action = between(expert, visited, key)

        def member_sums(x: Float[Array, "n inputs"]) -> Float[Array, " members"]:
            return jnp.sum(jax.vmap(of_action, in_axes=(0, None))(model.inputs_q(x), action), axis=1)

        return steepness(jax.jacrev(member_sums)(points), self.settings.lipschitz)


def without_expert_actions(model: DiscreteSoftQ, batch: Batch, key: PRNGKey) -> Batch:
    """The batch with a ~ π(·|s) in place of what the expert did: imitation from observations only."""
    expert = batch.expert._replace(action=model.act(batch.expert.obs, key))
    return batch._replace(expert=expert, visited=expert if batch.visited is batch.expert else batch.visited)
