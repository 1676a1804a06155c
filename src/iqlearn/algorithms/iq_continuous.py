"""Inverse soft-Q learning for continuous actions: critics, and the actor that follows their soft policy."""

from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms.actor_critic import (
    actor_loss,
    averaged,
    begin,
    finish,
    temperature_loss,
)
from iqlearn.algorithms.descent import between
from iqlearn.algorithms.state import TrainState
from iqlearn.models import distributions
from iqlearn.models.continuous import ContinuousSoftQ, Drawn
from iqlearn.models.distributions import Policy
from iqlearn.models.networks import MLP
from iqlearn.models.reward import NETWORK, RewardNet
from iqlearn.objectives import (
    SoftValues,
    discounted,
    divergence,
    implied_reward,
    iq_loss,
    least_squares_loss,
    soft_td_loss,
    steepness,
    value_term,
)
from iqlearn.settings import Form, Imitation, IQLearnContinuous
from iqlearn.types import Batch, Metrics, ObservationScale, PRNGKey, Scalar, TaskSpec, Transitions

stop = jax.lax.stop_gradient
State = TrainState[ContinuousSoftQ]
Inputs = Float[Array, "n inputs"]
Unit = Float[Array, "n act"]


@dataclass(frozen=True)
class InverseSoftActorCritic:
    """Garg et al., NeurIPS 2021, section 4.2, with the bounded targets and absorbing states of LS-IQ."""

    settings: IQLearnContinuous
    learner_acts: bool = True
    """Whether the visited batch holds transitions of the learner; offline it is the expert batch."""

    @property
    def least_squares(self) -> bool:
        return self._has_form("least_squares")

    @property
    def regressed(self) -> bool:
        """Whether the reward is found first, and Q follows from it."""
        return self._has_form("regressed")

    def _has_form(self, form: Form) -> bool:
        s = self.settings
        return self.learner_acts and s.form == form and s.divergence == "chi2_mixture"

    @property
    def end_value(self) -> float:
        """|V| of the absorbing states that true ends lead to: r_max/(1−γ), or 0 without such states."""
        return self.settings.value_bound if self.settings.absorbing else 0.0

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        unit = s.lipschitz if s.network.spectral_norm else 1.0
        model = ContinuousSoftQ(spec, s.network, s.actor, scale, key, s.temperature, s.squash, unit)
        state = TrainState(model, model, begin(s, model), jnp.zeros((), jnp.int32))
        if self.regressed:
            state = replace(state, reward=RewardNet(spec, NETWORK, scale, False, s.reward_limit, key))
        anchored = self.imitation.anchor > 0.0 and self.imitation.warm_start > 0
        return replace(state, clone=model.actor) if anchored else state

    def answer(self, state: State) -> ContinuousSoftQ:
        """What acts and judges: the averaged actor and the critics."""
        return averaged(state)

    def update(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        assert state.target is not None
        objective = jax.value_and_grad(self.loss, has_aux=True)
        (loss, metrics), gradient = objective(state.model, state.target, batch, key, state.clone, state.reward)
        return finish(self.settings, state, loss, metrics, gradient)

    @property
    def unlabelled(self) -> bool:
        """Whether the expert's actions are unknown; online they are inferred first (`training.watching`)."""
        return self.settings.state_only and not self.learner_acts

    @property
    def imitation(self) -> Imitation:
        """What the actor is told of the expert's actions."""
        return self.settings.online if self.learner_acts else self.settings.offline

    def loss(
        self,
        model: ContinuousSoftQ,
        target: ContinuousSoftQ,
        batch: Batch,
        key: PRNGKey,
        clone: MLP | None = None,
        reward: RewardNet | None = None,
    ) -> tuple[Scalar, Metrics]:
        """Critics' and actor's loss, each differentiable in its own part only, from one sample of the policy.

        Expert and visited rows go through the networks together, the expert's first.
        """
        s, n = self.settings, len(batch.expert.obs)
        draw_key, next_key, initial_key, penalty_key = jr.split(key, 4)
        sources = [batch.expert] if batch.visited is batch.expert else [batch.expert, batch.visited]
        rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), *sources)
        inputs, unit = model.inputs(rows.obs), model.to_unit(rows.action)
        drawn = model.draw(inputs, draw_key)
        if self.unlabelled:  # a ~ π(·|s) in place of what the expert did
            unit = jnp.concatenate([stop(drawn.unit[:n]), unit[n:]])
        values = SoftValues(
            q=model.unit_q(inputs, unit),
            v=model.member_v(inputs, stop(drawn)),
            next_v=self.next_value(model, target, rows, n, next_key),
        )
        initial_v = self.initial_value(model, batch, initial_key) if s.value_term == "initial" else values.v[:, :n]
        told = None if reward is None else reward(rows.obs, rows.action)
        critic, metrics = self.critic_loss(values, n, initial_v, told)
        penalty = s.penalty(s.network)
        if penalty > 0.0:
            critic += penalty * self.roughness(model, inputs, unit, n, penalty_key)
        judged = stop(jnp.mean(implied_reward(values), axis=0)) if told is None else told
        guide, distances = self.guidance(drawn.policy, inputs, unit, n, clone, judged)
        actor = self.actor_loss(model, inputs, drawn)
        metrics |= {"critic_loss": critic, "actor_loss": actor + guide, "entropy": -jnp.mean(drawn.log_prob)}
        loss = critic + actor + guide
        if s.learn_temperature:
            loss += temperature_loss(model.log_temperature, drawn.log_prob, s.target_entropy * unit.shape[1])
        return loss, metrics | distances

    def actor_loss(self, model: ContinuousSoftQ, inputs: Inputs, drawn: Drawn) -> Scalar:
        """The actor's distance to exp(Q/τ), the critics held."""
        frozen = eqx.tree_at(lambda m: m.critic, model, stop(model.critic))
        return actor_loss(frozen.unit_q(inputs, drawn.unit), drawn.log_prob, model.temperature)

    def initial_value(self, model: ContinuousSoftQ, batch: Batch, key: PRNGKey) -> Float[Array, "members m"]:
        """V(s0) of each critic."""
        inputs = model.inputs(batch.initial_obs)
        return model.member_v(inputs, stop(model.draw(inputs, key)))

    def guidance(
        self, policy: Policy, inputs: Inputs, unit: Unit, n: int, clone: MLP | None, reward: Float[Array, " n"]
    ) -> tuple[Scalar | float, Metrics]:
        """What the actor hears beside the critics: the expert's actions, and what its clone would do in visited rows.

        There the clone counts as far as the reward says that all is well: 1 + r/r_max, within [0, 1].
        """
        if self.unlabelled:
            return 0.0, {}
        error = jnp.mean(policy.distance(unit)[:n])
        loss, distances = self.imitation.cloning * error, {"squared_error": error}
        if clone is not None and len(inputs) > n:
            held = distributions.policy(stop(clone)(inputs[n:]), self.settings.squash).mode
            away = jax.tree.map(lambda x: x[n:], policy).distance(held)
            trust = jnp.clip(1.0 + reward[n:] / self.settings.reward_limit, 0.0, 1.0)
            loss += self.imitation.anchor * jnp.mean(trust * away)
            distances["clone_distance"] = jnp.mean(away)
        return loss, distances

    def next_value(
        self, model: ContinuousSoftQ, slow: ContinuousSoftQ, rows: Transitions, n: int, key: PRNGKey
    ) -> Float[Array, "members n"]:
        """γV(s') of each critic under the averaged actor; after a true end the absorbing value.

        Where rewards are bounded V(s') keeps to ±r_max/(1−γ). Without a target copy it is differentiated with the rest
        of −J(Q), which is convex in Q for a given policy. Else it is fixed: the least of the slow critics' for all.
        """
        s = self.settings
        inputs = slow.inputs(rows.next_obs)
        drawn = stop(slow.draw(inputs, key))
        if s.target_update == "polyak" or self.least_squares or self.regressed:
            least = jnp.min(stop(slow.member_v(inputs, drawn)), axis=0)
            value = jnp.broadcast_to(least, (s.network.ensemble, len(inputs)))
        else:
            value = model.member_v(inputs, drawn)
        if s.bounded:
            value = jnp.clip(value, -s.value_bound, s.value_bound)
        expert = jnp.arange(len(inputs)) < n
        ends = jnp.where(expert, self.end_value, -self.end_value)
        return discounted(value, rows.terminal, s.gamma, ends)

    def critic_loss(
        self, values: SoftValues, n: int, initial_v: Float[Array, "members m"], told: Float[Array, " n"] | None = None
    ) -> tuple[Scalar, Metrics]:
        """Mean over the critics of −J(Q), or where the reward is `told` of ½·E[(Q(s,a) − r − γV(s'))²].

        The first `n` rows are the expert's, the others, if any, visited.
        """
        expert = SoftValues(values.q[:, :n], values.v[:, :n], values.next_v[:, :n])
        visited = expert
        if values.q.shape[1] > n:
            visited = SoftValues(values.q[:, n:], values.v[:, n:], values.next_v[:, n:])
        if told is None:
            losses = jax.vmap(self.member_loss)(expert, visited, initial_v)
        else:
            losses = jax.vmap(soft_td_loss, in_axes=(0, None, 0))(values.q, told, values.next_v)
        reward = implied_reward(expert)
        return jnp.mean(losses), {
            "expert_reward": jnp.mean(reward),
            "visited_reward": jnp.mean(implied_reward(visited)),
            "reward_bound": jnp.max(jnp.abs(reward)),
            "value": jnp.mean(expert.v),
        }

    def member_loss(self, expert: SoftValues, visited: SoftValues, initial_v: Float[Array, " m"]) -> Scalar:
        """−J(Q) of one critic."""
        s = self.settings
        if self.least_squares:
            return least_squares_loss(expert, visited, s.reward_limit)
        value = value_term(s.value_term, expert, visited, initial_v, s.gamma)
        return iq_loss(expert, visited, divergence(s.divergence, s.chi2_alpha, s.reward_bound), value)

    def roughness(self, model: ContinuousSoftQ, inputs: Inputs, unit: Unit, n: int, key: PRNGKey) -> Scalar:
        """E[max(‖∇Q‖ − L, 0)²] at random points between expert and visited rows (offline: between expert rows)."""
        rows = jnp.concatenate([inputs, unit], axis=1)
        points = between(rows[:n], rows[n:] if len(rows) > n else rows, key)
        split = inputs.shape[1]

        def member_sums(x: Float[Array, "n both"]) -> Float[Array, " members"]:
            return jnp.sum(model.unit_q(x[:, :split], x[:, split:]), axis=1)

        return steepness(jax.jacrev(member_sums)(points), self.settings.lipschitz)
