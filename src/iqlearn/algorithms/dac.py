"""DAC: discriminator-actor-critic (Kostrikov et al., ICLR 2019), the off-policy form of GAIL (Ho and Ermon, 2016)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from iqlearn.algorithms import sac, soft_q
from iqlearn.algorithms.base import Extension, TrainState
from iqlearn.algorithms.common import ActorCritic, QLearning, SoftLearning, descend_actor_critic, descend_q
from iqlearn.errors import require_not_negative, require_positive
from iqlearn.networks.descent import between, optimizer, step_down
from iqlearn.networks.distributions import Squash
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.soft_q import SoftQ
from iqlearn.objectives.adversarial import discrimination_loss, slope_loss
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar, TaskSpec, Transitions

stop = jax.lax.stop_gradient


@dataclass(frozen=True)
class Discrimination(SoftLearning):
    """Settings of the discriminator D(s, a)."""

    discriminator: Network = Network((256, 256), "tanh")
    """Layers of the discriminator."""
    discriminator_learning_rate: float = 3e-4
    """Learning rate of Adam for the discriminator."""
    discriminator_penalty: float = 10.0
    """Weight of the gradient penalty, at random points between rows of expert and learner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "discriminator_learning_rate")
        require_not_negative(self, "discriminator_penalty")


class Judge(NamedTuple):
    """The discriminator, the state of its optimiser, and the value of the absorbing state."""

    net: MLP
    opt_state: Any
    end: Scalar
    """V of the absorbing state, learnt by temporal differences at the rate of the target networks."""


class Judged(NamedTuple):
    """The learner's rows, with the rewards that the discriminator gives them."""

    rows: Transitions
    reward: Float[Array, " n"]
    """log D − log(1 − D), the logit of the discriminator."""
    end: Scalar
    """The value of the absorbing state."""


def begin(s: Any, model: SoftQ, task: TaskSpec, key: PRNGKey) -> Judge:
    """Return a new discriminator. Its inputs are state, action, and whether the state is the absorbing one."""
    act = task.choices if task.discrete else len(task.bounds.low)
    net = MLP(model.encoder.size + act + 1, 1, s.discriminator, key)
    return Judge(net, optimizer(s.discriminator_learning_rate).init(net), jnp.zeros(()))


def seen(model: SoftQ, rows: Transitions) -> Float[Array, "rows inputs"]:
    """Return the inputs of the discriminator: those of the n rows, then those of the absorbing state n times."""
    inputs = model.encoder(rows.obs)
    if model.actions is None:
        act = jax.nn.one_hot(rows.action, model.net.members.layers[-1].bias.shape[-1])
    else:
        act = model.actions.to_unit(rows.action)
    pairs = jnp.concatenate([inputs, act, jnp.zeros((len(inputs), 1))], axis=1)
    return jnp.concatenate([pairs, jnp.zeros_like(pairs).at[:, -1].set(1.0)])


def judged(s: Any, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[Judge, Judged, Metrics]:
    """Do one gradient step of the discriminator, and one step of the value of the absorbing state.

    Each true end in a batch adds one row, that of the absorbing state that the end leads to, as in the paper. The
    gradient penalty leaves these rows out: the absorbing state is near the mean of standardised states, so a bounded
    slope would keep its reward close to the expert's, and an early end would pay.

    Returns:
        The discriminator after the step, the learner's rows with their rewards before the step, and figures.
    """
    assert batch.visited is not None
    judge: Judge = state.beside
    sides = batch.expert, batch.visited
    expert, visited = (seen(state.model, side) for side in sides)
    weights = [jnp.concatenate([jnp.ones(len(side.terminal)), side.terminal.astype(jnp.float32)]) for side in sides]
    n = len(batch.expert.terminal)

    def loss(net: MLP) -> tuple[Scalar, tuple[Array, Array]]:
        logits = net(jnp.concatenate([expert, visited]))[:, 0]
        of_expert, of_visited = logits[: 2 * n], logits[2 * n :]
        value = discrimination_loss(of_expert, of_visited, *weights)
        if s.discriminator_penalty > 0.0:
            points = between(expert[:n], visited[:n], key)
            value += s.discriminator_penalty * slope_loss(jax.grad(lambda x: jnp.sum(net(x)))(points))
        return value, (of_expert, of_visited)

    (value, (of_expert, of_visited)), gradient = jax.value_and_grad(loss, has_aux=True)(judge.net)
    optimiser = optimizer(s.discriminator_learning_rate)
    net, opt_state = step_down(optimiser, gradient, judge.net, judge.opt_state, state.rate)
    absorbing = stop(of_visited[-1])
    end = judge.end + (s.target_rate or 1.0) * (absorbing + s.gamma * judge.end - judge.end)
    figures = {
        "discriminator_loss": value,
        "expert_reward": jnp.mean(of_expert[:n]),
        "visited_reward": jnp.mean(of_visited[: len(visited) // 2]),
        "absorbing_reward": absorbing,
    }
    return Judge(net, opt_state, end), Judged(batch.visited, stop(of_visited[: len(visited) // 2]), judge.end), figures


@dataclass(frozen=True)
class DAC(Discrimination, QLearning):
    """DAC for discrete actions: soft Q-learning on the reward of a discriminator."""

    batch_size: int = 64
    """Number of expert transitions in a minibatch; the number of learner transitions is the same."""
    temperature: float = 0.1
    learning_rate: float = 1e-3
    target_rate: float = 0.01
    scaling: Scaling = "standard"
    discriminator: Network = Network((64, 64), "tanh")

    name: ClassVar[str] = "dac"
    family: ClassVar[str] = "dac"
    acts: ClassVar[str] = "must"

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        model_key, judge_key = jr.split(key)
        state = super().init(task, encoder, model_key)
        return replace(state, beside=begin(self, state.model, task, judge_key))

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of the discriminator, and one on the soft Bellman error of the learner's rows."""
        judge, found, figures = judged(self, state, batch, key)
        state, metrics = descend_q(
            self, state, lambda model: soft_q.td_loss(self, model, state, found.rows, found.reward, found.end)
        )
        return replace(state, beside=judge), metrics | figures


@dataclass(frozen=True)
class DACContinuous(Discrimination, ActorCritic):
    """DAC for continuous actions: soft actor-critic on the reward of a discriminator.

    The paper's actor-critic is TD3. This one has the networks, the averaged actor and the clipped Gaussian of
    IQ-Learn's recommended settings. The objective's own settings differ: discount, temperature, target critics, no
    learning-rate decay, no clipped values.
    """

    batch_size: int = 128
    """Number of expert transitions in a minibatch; the number of learner transitions is the same."""
    target_rate: float = 0.005
    average_rate: float = 0.005
    target_entropy: float | None = -1.0
    critics: int = 2
    """Number of critics. The actor uses their minimum; so does V(s') with target critics."""
    critic: Network = Network((256, 256), "silu", layer_norm=True)
    actor: Network = Network((256, 256), "silu")
    squash: Squash = "clip"
    scaling: Scaling = "standard"
    extensions: tuple[Extension, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]
    """Optional parts of the method: `cloning` with `weight` 0 and `regularisation` 0 begins with a clone."""

    name: ClassVar[str] = "dac-continuous"
    family: ClassVar[str] = "dac"
    acts: ClassVar[str] = "must"
    hooks: ClassVar[tuple[str, ...]] = ("actor",)

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        model_key, judge_key = jr.split(key)
        state = super().init(task, encoder, model_key)
        return replace(state, beside=begin(self, state.model, task, judge_key))

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of the discriminator, then of critics, actor and temperature on the learner's rows."""
        judge_key, learn_key = jr.split(key)
        judge, found, figures = judged(self, state, batch, judge_key)
        state, metrics = descend_actor_critic(
            self, state, lambda model: sac.td_loss(self, model, state, found.rows, found.reward, learn_key, found.end)
        )
        return replace(state, beside=judge), metrics | figures
