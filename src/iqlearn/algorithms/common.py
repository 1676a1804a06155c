"""Settings and update steps of soft Q-learners: one Q-network for discrete actions, critics and an actor otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Algorithm, TrainState
from iqlearn.errors import (
    require,
    require_discount,
    require_not_negative,
    require_positive,
    require_share,
)
from iqlearn.networks.descent import optimizer, polyak, rate_left, step_down
from iqlearn.networks.distributions import Squash
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.networks.mlp import MLP, Ensemble, Network
from iqlearn.networks.soft_q import ContinuousSoftQ, DiscreteSoftQ, Drawn
from iqlearn.types import Metrics, PRNGKey, Scalar, TaskSpec, Transitions

stop = jax.lax.stop_gradient
Inputs = Float[Array, "n inputs"]
Loss = Callable[[Any], tuple[Scalar, Metrics]]
"""A function from a model to its loss and figures."""


@dataclass(frozen=True)
class SoftLearning(Algorithm):
    """Settings of every learner of a soft Q-function."""

    gamma: float = 0.99
    """Discount, in [0, 1)."""
    temperature: float = 0.01
    """Weight of the entropy in the soft value."""
    target_rate: float = 0.0
    """Share of the new weights in each update of the target network for V(s') (Stable-Baselines3: tau); 0 for none."""

    spectral_norm: ClassVar[bool] = False
    judge: ClassVar[str]
    """Name of the setting that holds the layers of Q."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_discount(self.gamma)
        require_positive(self, "temperature")
        require_share(self, "target_rate")


@dataclass(frozen=True)
class QLearning(SoftLearning):
    """Settings of a soft Q-network of discrete actions."""

    target_period: int = 1
    """Number of updates between two updates of the target network. With `target_rate` 1, each of these copies the
    weights."""
    output_scale: float = 1.0
    """Factor that multiplies the network's output."""
    members: int = 1
    """Number of networks trained side by side from different initial weights. Their mean is the Q-function."""
    network: Network = Network(hidden=(64, 64))
    """Layers of the Q-network."""

    discrete: ClassVar[bool] = True
    judge: ClassVar[str] = "network"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "target_period", "output_scale", "members")
        used = self.target_rate > 0.0 or self.target_period == 1
        require(used, "target_period", self.target_period, "1 without a target network (target_rate 0)")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        shape = self.temperature, self.output_scale, self.spectral_norm
        model = DiscreteSoftQ(task, self.network, self.members, encoder, key, *shape)
        return begin(self, model, model.net, model.net if self.target_rate > 0.0 else None)


def begin(s: Algorithm, model: Any, part: Any, target: Any = None) -> TrainState:
    """Return the state before the first update. Only `part` of the model is optimised."""
    return TrainState(
        model, target, optimizer(s.learning_rate, s.weight_decay).init(part), jnp.zeros((), jnp.int32), {}
    )


def descend(
    s: Algorithm, state: TrainState, part: Callable[[Any], Any], loss: Loss, share: Scalar | float = 1.0
) -> tuple[TrainState, Metrics]:
    """Return the state after one gradient step of `part` of the model, and figures. `share` scales the step."""

    def of_part(net: Any) -> tuple[Scalar, Metrics]:
        return loss(eqx.tree_at(part, state.model, net))

    (value, metrics), gradient = jax.value_and_grad(of_part, has_aux=True)(part(state.model))
    optimiser = optimizer(s.learning_rate, s.weight_decay)
    net, opt_state = step_down(optimiser, gradient, part(state.model), state.opt_state, share * state.rate)
    state = replace(state, model=eqx.tree_at(part, state.model, net), opt_state=opt_state, step=state.step + 1)
    return state, {"loss": value, **metrics, "gradient_norm": optax.tree.norm(gradient)}


def q_values(model: DiscreteSoftQ, target: Ensemble | None, rows: Transitions) -> tuple[Array, Array]:
    """Return Q(s, ·) and Q(s', ·) of every member, (members, n, choices) each.

    With a target network, Q(s', ·) is its output, without a gradient. Otherwise one forward pass computes both.
    """
    if target is None:
        both = model.inputs_q(jnp.concatenate([model.encoder(rows.obs), model.encoder(rows.next_obs)]))
        return both[:, : len(rows.terminal)], both[:, len(rows.terminal) :]
    slow = eqx.tree_at(lambda m: m.net, model, target)
    return model.member_q(rows.obs), stop(slow.member_q(rows.next_obs))


def descend_q(s: QLearning, state: TrainState, loss: Loss) -> tuple[TrainState, Metrics]:
    """Return the state after one gradient step of the Q-network and an update of the target network, and figures."""
    state, metrics = descend(s, state, lambda model: model.net, loss)
    if (target := state.target) is not None:
        moved = polyak(target, state.model.net, s.target_rate)
        due = state.step % s.target_period == 0
        target = moved if s.target_period == 1 else jax.tree.map(lambda a, b: jnp.where(due, a, b), moved, target)
    return replace(state, target=target), metrics


@dataclass(frozen=True)
class ActorCritic(SoftLearning):
    """Settings of critics and an actor for continuous actions."""

    batch_size: int = 256
    actor_learning_rate: float = 3e-4
    """Learning rate of Adam for the actor."""
    decay_after: int = 0
    """Updates after which both learning rates decay as 1/updates; 0 never decays."""
    target_rate: float = 0.005
    """Share of the new weights in each update of the target critics, which give V(s'); 0 for none."""
    average_rate: float = 1.0
    """Share of the new weights in each update of the averaged actor, which is evaluated and kept. With 1 there is no
    averaged actor, and the actor itself is evaluated and kept."""
    target_entropy: float | None = None
    """Target entropy for each dimension of an action that is scaled to [-1, 1]. The temperature is learnt so that the
    entropy reaches it; none keeps the temperature fixed."""
    critics: int = 1
    """Number of critics. The actor and the recovered reward use their minimum; so does V(s') with target critics."""
    critic: Network = Network()
    """Layers of the critics."""
    actor: Network = Network()
    """Layers of the actor."""
    squash: Squash = "tanh"
    """How the actor's Gaussian is brought into the bounds of the actions: tanh or clip."""

    discrete: ClassVar[bool] = False
    judge: ClassVar[str] = "critic"

    def __post_init__(self) -> None:
        super().__post_init__()
        finite = self.target_entropy is None or abs(self.target_entropy) < float("inf")
        require(finite, "target_entropy", self.target_entropy, "a finite number, or none")
        require_not_negative(self, "decay_after")
        require_positive(self, "actor_learning_rate", "average_rate", "critics")
        require_share(self, "average_rate")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        shape = self.temperature, self.squash, self.spectral_norm
        return begin_actor_critic(
            self, ContinuousSoftQ(task, self.critic, self.critics, self.actor, encoder, key, *shape)
        )

    def policy(self, state: TrainState) -> ContinuousSoftQ:
        """Return the model, with the averaged actor where there is one."""
        actor = state.target.actor
        return state.model if actor is None else eqx.tree_at(lambda m: m.actor, state.model, actor)


class Slow(NamedTuple):
    """Slow copies of an actor-critic."""

    critic: Ensemble | None
    """The target critics; None where there are none."""
    actor: MLP | None
    """The averaged actor; None where it is the actor itself."""


class OptStates(NamedTuple):
    """The optimiser's state of each part."""

    critic: Any
    actor: Any
    temperature: Any


def begin_actor_critic(s: ActorCritic, model: ContinuousSoftQ) -> TrainState:
    """Return the state of this model before the first update."""
    critic, actor = s.target_rate > 0.0, s.average_rate < 1.0
    slow = Slow(model.critic if critic else None, model.actor if actor else None)
    opt_states = (optimiser.init(part) for optimiser, part in zip(optimisers(s), parts(model), strict=True))
    return TrainState(model, slow, OptStates(*opt_states), jnp.zeros((), jnp.int32), {})


def parts(model: ContinuousSoftQ) -> tuple[Ensemble, MLP, Any]:
    """Return the parts of the model that are optimised: critics, actor and log τ."""
    return model.critic, model.actor, model.log_temperature


def optimisers(s: ActorCritic) -> tuple[Any, Any, Any]:
    """Return the optimisers of critics, actor and temperature."""
    actor = s.actor_learning_rate
    return optimizer(s.learning_rate, s.weight_decay), optimizer(actor, s.weight_decay), optimizer(actor)


def with_actor(state: TrainState, actor: MLP) -> TrainState:
    """Return the state with the actor, and the averaged actor where there is one, replaced by `actor`."""
    slow = state.target if state.target.actor is None else state.target._replace(actor=actor)
    return replace(state, model=eqx.tree_at(lambda m: m.actor, state.model, actor), target=slow)


def actor_loss(model: ContinuousSoftQ, drawn: Drawn, q: Float[Array, "members n"]) -> Scalar:
    """E[τ·log π(a|s) − min Q(s,a)], a ~ π (SAC, equation 7). `q` holds the values of the drawn actions, without a
    gradient in the critics."""
    return jnp.mean(stop(model.temperature) * drawn.log_prob - jnp.min(q, axis=0))


def temperature_loss(s: ActorCritic, model: ContinuousSoftQ, drawn: Drawn) -> Scalar | float:
    """−log τ·E[log π + target]: τ grows while the entropy is below its target (SAC, equation 18)."""
    if s.target_entropy is None:
        return 0.0
    target = s.target_entropy * drawn.unit.shape[1]
    return -model.log_temperature * stop(jnp.mean(drawn.log_prob) + target)


def next_value(
    model: ContinuousSoftQ, critic: Ensemble | None, actor: MLP | None, rows: Transitions, key: PRNGKey
) -> Float[Array, "members n"]:
    """Return V(s') for each critic, from one sample of the given actor, or of the model's actor where `actor` is None.

    With target critics, every critic gets the minimum of the target critics, without a gradient. Otherwise each critic
    gets its own value, with its gradient.
    """
    inputs = model.encoder(rows.next_obs)
    drawn = stop(model.draw(inputs, key, actor))
    if critic is None:
        return model.member_v(inputs, drawn)
    least = jnp.min(stop(model.member_v(inputs, drawn, critic)), axis=0)
    return jnp.broadcast_to(least, (model.critic.members.layers[0].bias.shape[0], len(inputs)))


def descend_actor_critic(s: ActorCritic, state: TrainState, loss: Loss) -> tuple[TrainState, Metrics]:
    """Return the state after one gradient step of critics, actor and temperature, and figures.

    The slow copies are updated too.
    """
    model, slow, share = state.model, state.target, rate_left(s.decay_after, state.step) * state.rate
    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(model)
    steps = zip(optimisers(s), parts(gradient), parts(model), state.opt_state, strict=True)
    moved = [step_down(optimiser, grad, part, opt, share) for optimiser, grad, part, opt in steps]
    if s.target_entropy is None:
        moved[2] = model.log_temperature, state.opt_state.temperature
    else:
        metrics = metrics | {"temperature": jnp.exp(moved[2][0])}
    model = eqx.tree_at(parts, model, tuple(part for part, _ in moved))
    slow = Slow(
        None if slow.critic is None else polyak(slow.critic, model.critic, s.target_rate),
        None if slow.actor is None else polyak(slow.actor, model.actor, s.average_rate),
    )
    norms = {f"{name}_gradient_norm": optax.tree.norm(getattr(gradient, name)) for name in ("critic", "actor")}
    opt_state = OptStates(*(opt for _, opt in moved))
    state = replace(state, model=model, target=slow, opt_state=opt_state, step=state.step + 1)
    return state, {"loss": value, **metrics, **norms}
