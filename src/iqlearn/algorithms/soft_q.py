"""Soft Q-learning for discrete actions. It trains experts on the true reward, or agents on a recovered reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import QLearning, descend_q, q_values
from iqlearn.networks.encoders import Scaling
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import DiscreteSoftQ, of_action
from iqlearn.objectives import discounted, soft_td_loss, soft_value
from iqlearn.types import Metrics, PRNGKey, Rewarded, Scalar, Transitions


@dataclass(frozen=True)
class SoftQLearning(QLearning):
    """Soft Q-learning (Haarnoja et al., ICML 2017): soft value iteration by temporal differences."""

    temperature: float = 0.05
    batch_size: int = 128
    """Number of transitions in a minibatch."""
    learning_rate: float = 1e-3
    target_rate: float = 0.01
    scaling: Scaling = "standard"
    network: Network = Network((64, 64), "tanh")

    name: ClassVar[str] = "softq"
    family: ClassVar[str] = "expert"
    acts: ClassVar[str] = "must"

    def update(self, state: TrainState, batch: Rewarded, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step on the soft Bellman error."""
        return descend_q(self, state, lambda model: td_loss(self, model, state, batch.transitions, batch.reward))


def td_loss(
    s: QLearning,
    model: DiscreteSoftQ,
    state: TrainState,
    rows: Transitions,
    reward: Float[Array, " n"],
    end_value: Scalar | float = 0.0,
) -> tuple[Scalar, Metrics]:
    """½·E[(Q(s,a) − r − γV(s'))²], each member against its own target.

    `end_value` is V(s') after a true end.
    """
    q, next_q = q_values(model, state.target, rows)
    next_v = discounted(soft_value(next_q, s.temperature), rows.terminal, s.gamma, end_value)
    chosen = jax.vmap(of_action, in_axes=(0, None))(q, rows.action)
    return jnp.mean(jax.vmap(soft_td_loss, in_axes=(0, None, 0))(chosen, reward, next_v)), {"q": jnp.mean(chosen)}
