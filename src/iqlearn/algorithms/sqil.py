"""SQIL: soft Q imitation learning (Reddy, Dragan and Levine, ICLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from iqlearn.algorithms import sac, soft_q
from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import ActorCritic, QLearning, begin_actor_critic, begin_q, descend_q, finish
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import Network
from iqlearn.networks.soft_q import ContinuousSoftQ
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar, TaskSpec, Transitions


def labelled(batch: Batch) -> tuple[Transitions, Float[Array, " n"]]:
    """Expert and learner rows with their rewards: 1 on expert transitions, 0 on the learner's (algorithm 1)."""
    assert batch.visited is not None
    rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch.expert, batch.visited)
    return rows, jnp.repeat(jnp.array([1.0, 0.0]), len(batch.visited.terminal), total_repeat_length=len(rows.terminal))


@dataclass(frozen=True)
class SQIL(QLearning):
    """SQIL for discrete actions: soft Q-learning on half expert, half learner transitions (equation 1, λ_samp = 1)."""

    temperature: float = 1.0
    """Weight of the entropy in the soft value."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    target_rate: float = 0.01
    """Share of the new weights in each update of the target network for V(s') (Stable-Baselines3: tau); 0 has none."""
    scaling: Scaling = "standard"
    """Scaling of observations: none, standard (mean 0 and standard deviation 1 of each coordinate) or whiten (without
    correlations too). Statistics are those of the demonstrations; of experts, those of 2,000 random steps."""

    name: ClassVar[str] = "sqil"
    family: ClassVar[str] = "sqil"
    acts: ClassVar[str] = "must"

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """The state before the first update."""
        return begin_q(self, task, encoder, key)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step on the soft Bellman error."""
        return descend_q(self, state, lambda model: soft_q.td_loss(self, model, state, *labelled(batch)))


@dataclass(frozen=True)
class SQILContinuous(ActorCritic):
    """SQIL for continuous actions: soft actor-critic on half expert, half learner transitions (section 3.2)."""

    batch_size: int = 128
    """Size of a minibatch: so many expert transitions and, where the learner acts, as many of its own."""
    critics: int = 2
    """Number of critics. The actor uses their minimum; so does V(s') with target critics."""
    critic: Network = Network((256, 256), "relu", layer_norm=True)
    """Layers of the critics."""
    scaling: Scaling = "standard"
    """Scaling of observations: none, standard (mean 0 and standard deviation 1 of each coordinate) or whiten (without
    correlations too). Statistics are those of the demonstrations; of experts, those of 2,000 random steps."""

    name: ClassVar[str] = "sqil-continuous"
    family: ClassVar[str] = "sqil"
    acts: ClassVar[str] = "must"

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """The state before the first update."""
        return begin_actor_critic(self, task, encoder, key)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step of critics, actor and temperature."""

        def loss(model: ContinuousSoftQ) -> tuple[Scalar, Metrics]:
            return sac.td_loss(self, model, state, *labelled(batch), key)

        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.model)
        return finish(self, state, value, metrics, gradient)
