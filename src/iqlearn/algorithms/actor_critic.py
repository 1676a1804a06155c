"""Steps that the actor-critics share: two optimisers, a slow copy, the actor's and the temperature's loss."""

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from iqlearn.algorithms.descent import norm, optimizer, polyak, stride
from iqlearn.algorithms.state import TrainState
from iqlearn.models.continuous import ContinuousSoftQ
from iqlearn.settings import ActorCritic
from iqlearn.types import Metrics, Scalar

State = TrainState[ContinuousSoftQ]


class OptStates(NamedTuple):
    """One optimiser's state a part of the model."""

    critic: optax.OptState
    actor: optax.OptState
    temperature: optax.OptState


class Rate(NamedTuple):
    """What an optimiser reads (see `descent.Descent`)."""

    learning_rate: float
    weight_decay: float


def begin(s: ActorCritic, model: ContinuousSoftQ) -> OptStates:
    """The optimisers' state before the first step."""
    return OptStates(*(optimizer(rate).init(part) for rate, part in zip(rates(s), parts(model), strict=True)))


def rates(s: ActorCritic) -> tuple[Rate, Rate, Rate]:
    """Of critic, actor and temperature."""
    actor = s.actor_learning_rate
    return Rate(s.learning_rate, s.weight_decay), Rate(actor, s.weight_decay), Rate(actor, 0.0)


def parts(model: ContinuousSoftQ) -> tuple[Any, Any, Any]:
    return model.critic, model.actor, model.log_temperature


def descend(s: ActorCritic, gradient: ContinuousSoftQ, state: State) -> tuple[ContinuousSoftQ, OptStates]:
    """One step of each part down its own gradient. A fixed temperature stays."""
    model, opt_state = state.model, state.opt_state
    moved, states = [], []
    assert isinstance(opt_state, OptStates)
    share = stride(s.settle_after, state.step)
    for rate, grad, part, opt in zip(rates(s), parts(gradient), parts(model), opt_state, strict=True):
        updates, opt = optimizer(rate).update(grad, opt, part)
        moved.append(eqx.apply_updates(part, jax.tree.map(lambda update: share * update, updates)))
        states.append(opt)
    if not s.learn_temperature:
        moved[2] = model.log_temperature
    return eqx.tree_at(parts, model, tuple(moved)), OptStates(*states)


def follow(s: ActorCritic, target: ContinuousSoftQ, model: ContinuousSoftQ) -> ContinuousSoftQ:
    """The slow copy after an update: its critics give V(s'), its actor is the averaged policy."""
    critic = polyak(target.critic, model.critic, s.target_rate)
    actor = polyak(target.actor, model.actor, s.average_rate)
    return eqx.tree_at(parts, target, (critic, actor, model.log_temperature))


def averaged(state: State) -> ContinuousSoftQ:
    """What acts and judges after training: the critics as they are, the actor averaged."""
    assert state.target is not None
    return eqx.tree_at(lambda m: m.actor, state.model, state.target.actor)


def actor_loss(q: Float[Array, "members n"], log_prob: Float[Array, " n"], temperature: Scalar) -> Scalar:
    """E[τ·log π(a|s) − min Q(s,a)], a ~ π: the actor's distance to exp(Q/τ) (SAC, equation 7)."""
    return jnp.mean(jax.lax.stop_gradient(temperature) * log_prob - jnp.min(q, axis=0))


def temperature_loss(log_temperature: Scalar, log_prob: Float[Array, " n"], target_entropy: float) -> Scalar:
    """−log τ·E[log π + target]: τ grows while the entropy is below its target (SAC, equation 18)."""
    return -log_temperature * jax.lax.stop_gradient(jnp.mean(log_prob) + target_entropy)


def finish(
    s: ActorCritic, state: State, loss: Scalar, metrics: Metrics, gradient: ContinuousSoftQ
) -> tuple[State, Metrics]:
    """The state after one step down `gradient`, and its metrics."""
    assert state.target is not None
    model, opt_state = descend(s, gradient, state)
    target = follow(s, state.target, model)
    metrics = {
        "loss": loss,
        **metrics,
        "critic_gradient_norm": norm(gradient.critic),
        "actor_gradient_norm": norm(gradient.actor),
    }
    if s.learn_temperature:
        metrics["temperature"] = model.temperature
    return replace(state, model=model, target=target, opt_state=opt_state, step=state.step + 1), metrics
