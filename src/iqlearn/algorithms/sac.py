"""Soft actor-critic on the true reward: the experts that imitators of continuous actions learn from."""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from iqlearn.algorithms.actor_critic import actor_loss, averaged, begin, finish, temperature_loss
from iqlearn.algorithms.state import TrainState
from iqlearn.models.continuous import ContinuousSoftQ
from iqlearn.objectives import discounted, soft_td_loss
from iqlearn.settings import SAC
from iqlearn.types import Metrics, ObservationScale, PRNGKey, Rewarded, Scalar, TaskSpec

stop = jax.lax.stop_gradient
State = TrainState[ContinuousSoftQ]


@dataclass(frozen=True)
class SoftActorCritic:
    """Haarnoja et al., 2018 (arXiv 1812.05905), with a learnt temperature."""

    settings: SAC

    def init(self, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> State:
        s = self.settings
        model = ContinuousSoftQ(spec, s.network, s.actor, scale, key, s.temperature, s.squash)
        return TrainState(model, model, begin(s, model), jnp.zeros((), jnp.int32))

    def answer(self, state: State) -> ContinuousSoftQ:
        """What acts and judges: the averaged actor and the critics."""
        return averaged(state)

    def update(self, state: State, batch: Rewarded, key: PRNGKey) -> tuple[State, Metrics]:
        assert state.target is not None
        (loss, metrics), gradient = jax.value_and_grad(self.loss, has_aux=True)(state.model, state.target, batch, key)
        return finish(self.settings, state, loss, metrics, gradient)

    def loss(
        self, model: ContinuousSoftQ, target: ContinuousSoftQ, batch: Rewarded, key: PRNGKey
    ) -> tuple[Scalar, Metrics]:
        """Critics' ½·E[(Q(s,a) − r − γV(s'))²], the actor's and the temperature's loss, each for its own part."""
        s, rows = self.settings, batch.transitions
        draw_key, next_key = jr.split(key)
        inputs, unit = model.inputs(rows.obs), model.to_unit(rows.action)
        slow = eqx.tree_at(lambda m: (m.actor, m.log_temperature), target, (model.actor, model.log_temperature))
        next_inputs = model.inputs(rows.next_obs)
        next_v = jnp.min(stop(slow.member_v(next_inputs, slow.draw(next_inputs, next_key))), axis=0)
        next_v = discounted(next_v, rows.terminal, s.gamma)
        q = model.unit_q(inputs, unit)
        critic = jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, None))(q, batch.reward, next_v))

        drawn = model.draw(inputs, draw_key)
        frozen = eqx.tree_at(lambda m: m.critic, model, stop(model.critic))
        actor = actor_loss(frozen.unit_q(inputs, drawn.unit), drawn.log_prob, model.temperature)
        loss = critic + actor
        if s.learn_temperature:
            loss += temperature_loss(model.log_temperature, drawn.log_prob, s.target_entropy * unit.shape[1])
        return loss, {
            "critic_loss": critic,
            "actor_loss": actor,
            "q": jnp.mean(q),
            "entropy": -jnp.mean(drawn.log_prob),
        }
