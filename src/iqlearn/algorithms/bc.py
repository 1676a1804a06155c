"""Behavioural cloning: regression of the expert's actions. The baseline beside every result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import Learning
from iqlearn.errors import require_not_negative
from iqlearn.networks import distributions
from iqlearn.networks.descent import fit, hyperbolic, norm, optimizer, rate_left, step_down
from iqlearn.networks.distributions import Squash
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ, of_action
from iqlearn.objectives import soft_log_policy
from iqlearn.types import Batch, Metrics, Obs, PRNGKey, Scalar, TaskSpec

NO_CRITIC = Network(hidden=())
CLONING_BATCH = 128
CLONING_DECAY = 1e-2
"""Minibatch and weight decay of `clone`."""


@dataclass(frozen=True)
class BC(Learning):
    """Behavioural cloning of discrete actions: maximum likelihood of the expert's actions."""

    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1.0
    """Decoupled decay of the weight matrices in each update, times the learning rate."""
    scaling: Scaling = "whiten"
    """Scaling of observations: none, standard (mean 0 and standard deviation 1 of each coordinate) or whiten (without
    correlations too). Statistics are those of the demonstrations; of experts, those of 2,000 random steps."""
    network: Network = Network((64, 64), "tanh")
    """Layers of the policy network, whose outputs are logits."""

    name: ClassVar[str] = "bc"
    family: ClassVar[str] = "bc"
    discrete: ClassVar[bool] = True
    acts: ClassVar[str] = "never"

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """The state before the first update. The network is a soft Q-function at temperature 1."""
        model = DiscreteSoftQ(task, self.network, 1, encoder, key)
        opt_state = optimizer(self.learning_rate, self.weight_decay).init(model.net)
        return TrainState(model, None, opt_state, jnp.zeros((), jnp.int32), {})

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step on −E[log π(a|s)]."""
        return _descend(self, state, lambda m: m.net, 1.0, lambda model: self.loss(model, batch))

    def loss(self, model: DiscreteSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """−E_{ρ_E}[log π(a|s)]"""
        log_policy = soft_log_policy(model.all_q(batch.expert.obs), 1.0)
        log_prob = jnp.mean(of_action(log_policy, batch.expert.action))
        return -log_prob, {"log_likelihood": log_prob}

    def policy(self, state: TrainState) -> DiscreteSoftQ:
        """The model as it is."""
        return state.model


@dataclass(frozen=True)
class BCContinuous(Learning):
    """Behavioural cloning of continuous actions: least squares by the mode of the policy.

    Recorded actions often lie at a bound. With `squash` clip the error there is 0 once the mean is at or beyond it. The
    standard deviation is not trained: a likelihood would spoil the layers that both share.
    """

    batch_size: int = 128
    """Expert transitions of an update."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 1e-2
    """Decoupled decay of the weight matrices in each update, times the learning rate."""
    scaling: Scaling = "standard"
    """Scaling of observations: none, standard (mean 0 and standard deviation 1 of each coordinate) or whiten (without
    correlations too). Statistics are those of the demonstrations; of experts, those of 2,000 random steps."""
    saturation: float = 10.0
    """Clip scaled observations to this many standard deviations on either side; 0 does not clip."""
    decay_after: int = 1_000
    """Updates after which the learning rate decays as 1/updates; 0 never decays."""
    actor: Network = Network((256, 256), "silu")
    """Layers of the policy network."""
    squash: Squash = "clip"
    """How the policy's Gaussian is brought into the bounds of the actions: tanh or clip."""

    name: ClassVar[str] = "bc-continuous"
    family: ClassVar[str] = "bc"
    discrete: ClassVar[bool] = False
    acts: ClassVar[str] = "never"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "decay_after")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """The state before the first update. The critic is linear and never trained."""
        model = ContinuousSoftQ(task, NO_CRITIC, 1, self.actor, encoder, key, squash=self.squash)
        opt_state = optimizer(self.learning_rate, self.weight_decay).init(model.actor)
        return TrainState(model, None, opt_state, jnp.zeros((), jnp.int32), {})

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """One gradient step on E|a − mode of π(·|s)|²."""
        share = rate_left(self.decay_after, state.step)
        return _descend(self, state, lambda m: m.actor, share, lambda model: self.loss(model, batch))

    def loss(self, model: ContinuousSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """E_{ρ_E}|a − mode of π(·|s)|², a in [−1, 1]"""
        policy = model.policy(model.encoder(batch.expert.obs))
        error = jnp.mean(policy.distance(model.actions.to_unit(batch.expert.action)))
        return error, {"squared_error": error}

    def policy(self, state: TrainState) -> ContinuousSoftQ:
        """The model as it is."""
        return state.model


def _descend(s: Learning, state: TrainState, part, share: Scalar | float, loss) -> tuple[TrainState, Metrics]:
    """The state after one step of that part of the model."""

    def of_part(net: eqx.Module) -> tuple[Scalar, Metrics]:
        return loss(eqx.tree_at(part, state.model, net))

    (value, metrics), gradient = jax.value_and_grad(of_part, has_aux=True)(part(state.model))
    optimiser = optimizer(s.learning_rate, s.weight_decay)
    net, opt_state = step_down(optimiser, gradient, part(state.model), state.opt_state, share)
    state = replace(state, model=eqx.tree_at(part, state.model, net), opt_state=opt_state, step=state.step + 1)
    return state, {"loss": value, **metrics, "gradient_norm": norm(gradient)}


def clone(
    model: ContinuousSoftQ, obs: Obs, action: Float[Array | np.ndarray, "n act"], key: PRNGKey, updates: int
) -> tuple[MLP, float]:
    """The model's actor after behavioural cloning of these rows, and the squared error of its last minibatch.

    The learning rate decays as 1/updates after a fifth of the updates, so that the fit becomes exact.
    """
    data = model.encoder(jax.tree.map(jnp.asarray, obs)), model.actions.to_unit(jnp.asarray(action))
    return fit(LOSSES[model.squash], model.actor, data, key, updates, hyperbolic, weight_decay=CLONING_DECAY)


def _cloning_loss(squash: Squash, actor: MLP, data: tuple[Array, Array], key: PRNGKey) -> Scalar:
    inputs, unit = data
    row = jr.randint(key, (CLONING_BATCH,), 0, len(inputs))
    return jnp.mean(distributions.policy(actor(inputs[row]), squash).distance(unit[row]))


LOSSES = {squash: partial(_cloning_loss, squash) for squash in distributions.KINDS}
