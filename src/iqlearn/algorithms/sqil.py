"""SQIL: soft Q imitation learning (Reddy, Dragan and Levine, ICLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.algorithms import sac, soft_q
from iqlearn.algorithms.base import Extension, TrainState
from iqlearn.algorithms.common import ActorCritic, QLearning, descend_actor_critic, descend_q
from iqlearn.networks.distributions import Squash
from iqlearn.networks.encoders import Scaling
from iqlearn.networks.mlp import Network
from iqlearn.types import Batch, Metrics, PRNGKey, Transitions


def labelled(batch: Batch) -> tuple[Transitions, Float[Array, " n"]]:
    """Return expert and learner rows with their rewards: 1 on expert transitions, 0 on the learner's (algorithm 1)."""
    assert batch.visited is not None
    rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch.expert, batch.visited)
    return rows, jnp.repeat(jnp.array([1.0, 0.0]), len(batch.visited.terminal), total_repeat_length=len(rows.terminal))


@dataclass(frozen=True)
class SQIL(QLearning):
    """SQIL for discrete actions: soft Q-learning on half expert, half learner transitions (equation 1, λ_samp = 1)."""

    temperature: float = 1.0
    learning_rate: float = 1e-3
    target_rate: float = 0.01
    scaling: Scaling = "standard"

    name: ClassVar[str] = "sqil"
    family: ClassVar[str] = "sqil"
    acts: ClassVar[str] = "must"

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step on the soft Bellman error."""
        return descend_q(self, state, lambda model: soft_q.td_loss(self, model, state, *labelled(batch)))


@dataclass(frozen=True)
class SQILContinuous(ActorCritic):
    """SQIL for continuous actions: soft actor-critic on half expert, half learner transitions (section 3.2)."""

    batch_size: int = 128
    average_rate: float = 0.005
    critics: int = 2
    """Number of critics. The actor uses their minimum; so does V(s') with target critics."""
    critic: Network = Network((256, 256), "silu", layer_norm=True)
    actor: Network = Network((256, 256), "silu")
    squash: Squash = "clip"
    scaling: Scaling = "standard"
    extensions: tuple[Extension, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]
    """Optional parts of the method: `cloning` with `weight` 0 and `regularisation` 0 begins with a clone."""

    name: ClassVar[str] = "sqil-continuous"
    family: ClassVar[str] = "sqil"
    acts: ClassVar[str] = "must"
    hooks: ClassVar[tuple[str, ...]] = ("actor",)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of critics, actor and temperature."""
        rows, reward = labelled(batch)
        return descend_actor_critic(self, state, lambda model: sac.td_loss(self, model, state, rows, reward, key))
