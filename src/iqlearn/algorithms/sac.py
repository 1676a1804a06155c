"""Soft actor-critic for continuous actions. It trains experts on the true reward, or agents on a recovered reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import (
    ActorCritic,
    actor_loss,
    descend_actor_critic,
    next_value,
    stop,
    temperature_loss,
)
from iqlearn.networks.encoders import Scaling
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import ContinuousSoftQ
from iqlearn.objectives import discounted, soft_td_loss
from iqlearn.types import Metrics, PRNGKey, Rewarded, Scalar, Transitions


@dataclass(frozen=True)
class SAC(ActorCritic):
    """Soft actor-critic with a learnt temperature (Haarnoja et al., 2018, arXiv 1812.05905)."""

    batch_size: int = 256
    """Number of transitions in a minibatch."""
    temperature: float = 0.2
    """Weight of the entropy in the soft value; the initial value of a learnt temperature."""
    target_entropy: float | None = -1.0
    average_rate: float = 0.005
    critics: int = 2
    """Number of critics. The actor uses their minimum; so does V(s') with target critics."""
    critic: Network = Network((256, 256), "relu", layer_norm=True)
    scaling: Scaling = "standard"

    name: ClassVar[str] = "sac"
    family: ClassVar[str] = "expert"
    acts: ClassVar[str] = "must"

    def update(self, state: TrainState, batch: Rewarded, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of critics, actor and temperature."""
        rows, reward = batch.transitions, batch.reward
        return descend_actor_critic(self, state, lambda model: td_loss(self, model, state, rows, reward, key))


def td_loss(
    s: ActorCritic,
    model: ContinuousSoftQ,
    state: TrainState,
    rows: Transitions,
    reward: Float[Array, " n"],
    key: PRNGKey,
    end_value: Scalar | float = 0.0,
) -> tuple[Scalar, Metrics]:
    """Return the critics' loss ½·E[(Q(s,a) − r − γV(s'))²] plus the losses of actor and temperature, and figures.

    Each loss has a gradient in its own part only. `end_value` is V(s') after a true end.
    """
    draw_key, next_key = jr.split(key)
    inputs, unit = model.encoder(rows.obs), model.actions.to_unit(rows.action)
    next_v = next_value(model, state.target.critic, None, rows, next_key)
    next_v = discounted(next_v, rows.terminal, s.gamma, end_value)
    q = model.unit_q(inputs, unit)
    critic = jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, 0))(q, reward, next_v))
    drawn = model.draw(inputs, draw_key)
    actor = actor_loss(model, drawn, model.unit_q(inputs, drawn.unit, stop(model.critic)))
    figures = {"critic_loss": critic, "actor_loss": actor, "q": jnp.mean(q), "entropy": -jnp.mean(drawn.log_prob)}
    return critic + actor + temperature_loss(s, model, drawn), figures
