"""Behavioural cloning: regression of the expert's actions. It is the baseline of every result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Algorithm, TrainState
from iqlearn.algorithms.common import begin, descend
from iqlearn.errors import require_not_negative
from iqlearn.networks import distributions
from iqlearn.networks.descent import Report, fit, hyperbolic, rate_left
from iqlearn.networks.distributions import Limits, Squash
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ, of_action
from iqlearn.objectives import soft_log_policy
from iqlearn.types import Batch, Metrics, Obs, PRNGKey, Scalar, TaskSpec

NO_CRITIC = Network(hidden=())
CLONING_BATCH = 128
CLONING_DECAY = 1e-2
"""Minibatch and weight decay of `clone`."""
HELD, MANY = 16, 16_384
"""With 16,384 rows or more, `clone` holds out every 16th row, to end when the error on these rows stops falling."""

Examples = tuple[Float[Array, "n inputs"], Float[Array, "n act"], Limits]
"""Encoded observations, scaled actions, and the bounds of scaled actions."""


@dataclass(frozen=True)
class BC(Algorithm):
    """Behavioural cloning of discrete actions: maximum likelihood of the expert's actions."""

    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    scaling: Scaling = "whiten"
    network: Network = Network((64, 64), "tanh")
    """Layers of the policy network, whose outputs are logits."""

    name: ClassVar[str] = "bc"
    family: ClassVar[str] = "bc"
    discrete: ClassVar[bool] = True
    acts: ClassVar[str] = "never"

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update. The network is a soft Q-function at temperature 1."""
        model = DiscreteSoftQ(task, self.network, 1, encoder, key)
        return begin(self, model, model.net)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step on −E[log π(a|s)]."""
        return descend(self, state, lambda model: model.net, lambda model: self.loss(model, batch))

    def loss(self, model: DiscreteSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """−E_{ρ_E}[log π(a|s)]"""
        log_policy = soft_log_policy(model.all_q(batch.expert.obs), 1.0)
        log_prob = jnp.mean(of_action(log_policy, batch.expert.action))
        return -log_prob, {"log_likelihood": log_prob}


@dataclass(frozen=True)
class BCContinuous(Algorithm):
    """Behavioural cloning of continuous actions: least squares between the mode of the policy and the expert's actions.

    Recorded actions often lie at a bound. With `squash` clip, the error of such an action is 0 once the mean is at or
    beyond the bound. The standard deviation is not trained: a likelihood loss would spoil the layers that it shares
    with the mean.
    """

    batch_size: int = 128
    """Number of expert transitions in a minibatch."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    scaling: Scaling = "standard"
    saturation: float = 10.0
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
        """Return the state before the first update. The critic is linear and never trained."""
        model = ContinuousSoftQ(task, NO_CRITIC, 1, self.actor, encoder, key, squash=self.squash)
        return begin(self, model, model.actor)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step on E|a − mode of π(·|s)|²."""
        share = rate_left(self.decay_after, state.step)
        return descend(self, state, lambda model: model.actor, lambda model: self.loss(model, batch), share)

    def loss(self, model: ContinuousSoftQ, batch: Batch) -> tuple[Scalar, Metrics]:
        """E_{ρ_E}|a − mode of π(·|s)|² of scaled actions"""
        policy = model.policy(model.encoder(batch.expert.obs))
        error = jnp.mean(policy.distance(model.actions.to_unit(batch.expert.action)))
        return error, {"squared_error": error}


def clone(
    model: ContinuousSoftQ,
    obs: Obs,
    action: Float[Array | np.ndarray, "n act"],
    key: PRNGKey,
    updates: int,
    report: Report = lambda share: None,
) -> tuple[MLP, float]:
    """Fit the model's actor to these rows by behavioural cloning.

    The learning rate decays as 1/updates after a fifth of the updates, so that the fit becomes exact. With 16,384 rows
    or more, training ends early when the error on held-out rows stops falling.

    Returns:
        The actor, and the squared error of the last minibatch.
    """
    data = model.encoder(jax.tree.map(jnp.asarray, obs)), model.actions.to_unit(jnp.asarray(action))
    judge, limits = None, model.actions.unit_limits
    if len(data[0]) >= MANY:
        held = np.arange(len(data[0])) % HELD == 0
        judge = partial(_error_of, model.squash, (*(part[held] for part in data), limits))
        data = tuple(part[~held] for part in data)
    loss = LOSSES[model.squash]
    return fit(loss, model.actor, (*data, limits), key, updates, hyperbolic, 1e-3, CLONING_DECAY, judge, report)


def _cloning_loss(squash: Squash, actor: MLP, data: Examples, key: PRNGKey) -> Scalar:
    inputs, unit, limits = data
    row = jr.randint(key, (CLONING_BATCH,), 0, len(inputs))
    return _error_of(squash, (inputs[row], unit[row], limits), actor)


@partial(jax.jit, static_argnames="squash")
def _error_of(squash: Squash, data: Examples, actor: MLP) -> Scalar:
    """Return the mean squared error of an actor."""
    inputs, unit, limits = data
    return jnp.mean(distributions.policy(actor(inputs), squash, limits).distance(unit))


LOSSES = {squash: partial(_cloning_loss, squash) for squash in distributions.KINDS}
