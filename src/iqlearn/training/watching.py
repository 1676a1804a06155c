"""Imitation from states alone: what the expert did, inferred from what the learner's own actions led to."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int

from iqlearn.algorithms import TrainState
from iqlearn.algorithms.descent import begin, descend, stride
from iqlearn.data.replay import Replay
from iqlearn.models import ContinuousSoftQ
from iqlearn.models.inverse import InverseModel
from iqlearn.models.networks import MLP
from iqlearn.settings import BCContinuous, IQLearnContinuous
from iqlearn.training.offline import Demonstrations
from iqlearn.training.warm import warm_started
from iqlearn.types import PRNGKey, Scalar, TaskSpec

FITTING = BCContinuous(settle_after=2_000)
"""How the inverse model descends."""


@jax.jit
def fitted(
    model: InverseModel, replay: Replay, key: PRNGKey, updates: Int[Array, ""] | int
) -> tuple[InverseModel, Scalar]:
    """Least squares on the learner's own transitions, and the error of the last batch."""

    def update(step: Int[Array, ""], carry: tuple[Any, optax.OptState, Scalar]) -> tuple[Any, optax.OptState, Scalar]:
        batch = replay.sample(jr.fold_in(key, step), FITTING.batch_size)

        def loss(net: Any) -> tuple[Scalar, dict[str, Scalar]]:
            return eqx.tree_at(lambda m: m.net, model, net).squared_error(batch), {}

        net, opt_state, metrics = descend(FITTING, loss, carry[0], carry[1], stride(FITTING.settle_after, step))
        return net, opt_state, metrics["loss"]

    start = (model.net, begin(FITTING, model.net), jnp.zeros(()))
    net, _, error = jax.lax.fori_loop(0, updates, update, start)
    return eqx.tree_at(lambda m: m.net, model, net), error


def with_inferred(
    demos: Demonstrations,
    replay: Replay,
    state: TrainState[ContinuousSoftQ],
    spec: TaskSpec,
    updates: int,
    key: PRNGKey,
) -> tuple[Demonstrations, Scalar]:
    """The demonstrations with the actions that a fresh inverse model gives them, and that model's error."""
    init_key, fit_key = jr.split(key)
    expert = demos.transitions.rows
    model, error = fitted(InverseModel(spec, state.model.scale, expert, init_key), replay, fit_key, updates)
    return with_actions(demos, model(expert.obs, expert.next_obs)), error


def with_actions(demos: Demonstrations, action: Float[Array, "n act"]) -> Demonstrations:
    """The same transitions with these actions."""
    return eqx.tree_at(lambda d: d.transitions.rows.action, demos, action)


def watched(
    settings: IQLearnContinuous,
    demos: Demonstrations,
    replay: Replay,
    state: TrainState[ContinuousSoftQ],
    spec: TaskSpec,
    key: PRNGKey,
) -> tuple[Demonstrations, MLP, Scalar]:
    """Infer the expert's actions and clone them: demonstrations, actor, error of the inverse model."""
    infer_key, clone_key = jr.split(key)
    demos, error = with_inferred(demos, replay, state, spec, settings.inference.updates, infer_key)
    cloned, _ = warm_started(settings, settings.online, state, demos, clone_key)
    return demos, cloned.model.actor, error
