"""ValueDICE: imitation by off-policy distribution matching (Kostrikov, Nachum and Tompson, ICLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Algorithm, Extension, TrainState
from iqlearn.errors import require_discount, require_not_negative, require_positive, require_share
from iqlearn.networks.descent import between, optimizer, step_down
from iqlearn.networks.distributions import Squash
from iqlearn.networks.encoders import FlatEncoder, Scaling
from iqlearn.networks.mlp import MLP, Network
from iqlearn.networks.soft_q import ContinuousSoftQ
from iqlearn.objectives import discounted
from iqlearn.objectives.adversarial import slope_loss
from iqlearn.types import Batch, Metrics, PRNGKey, Scalar, TaskSpec, Transitions


class Values(NamedTuple):
    """The parts of the method that are differentiated, or their optimiser states."""

    critic: Any
    actor: Any
    end: Scalar
    """ν of the absorbing state that a true end leads to."""


@dataclass(frozen=True)
class ValueDICE(Algorithm):
    """ValueDICE, for continuous actions: max over π, min over ν of the Donsker-Varadhan form of KL(π‖expert).

    J(π, ν) = log E_μ[exp(ν(s,a) − γν(s',a'))] − (1−α)(1−γ)·E_{s0}[ν(s0,a0)] − α·E_ρ[ν(s,a) − γν(s',a')] with a' ~ π
    and μ = (1−α)·expert + α·replay (the objective with replay regularisation). Offline α is 0.
    """

    batch_size: int = 256
    """Number of expert transitions in a minibatch; the number of learner transitions is the same."""
    learning_rate: float = 1e-3
    actor_learning_rate: float = 1e-5
    """Learning rate of Adam for the actor."""
    gamma: float = 0.99
    """Discount, in [0, 1)."""
    replay_share: float = 0.1
    """α: share of the learner's transitions in the objective."""
    slope_penalty: float = 10.0
    """Weight of the gradient penalty on ν, at random points between rows of expert and learner."""
    orthogonality: float = 1e-4
    """Weight of the penalty on the actor's weights that makes their columns orthogonal."""
    scaling: Scaling = "standard"
    critic: Network = Network()
    """Layers of ν."""
    actor: Network = Network()
    """Layers of the actor."""
    squash: Squash = "tanh"
    """How the actor's Gaussian is brought into the bounds of the actions: tanh or clip."""
    extensions: tuple[Extension, ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]
    """Optional parts of the method: `cloning` with `weight` 0 and `regularisation` 0 begins with a clone."""

    name: ClassVar[str] = "valuedice-continuous"
    family: ClassVar[str] = "valuedice"
    discrete: ClassVar[bool] = False
    hooks: ClassVar[tuple[str, ...]] = ("actor",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "actor_learning_rate")
        require_not_negative(self, "slope_penalty", "orthogonality")
        require_discount(self.gamma)
        require_share(self, "replay_share")

    def init(self, task: TaskSpec, encoder: FlatEncoder, key: PRNGKey) -> TrainState:
        """Return the state before the first update."""
        model = ContinuousSoftQ(task, self.critic, 1, self.actor, encoder, key, squash=self.squash)
        end = jnp.zeros(())
        optimisers = zip(self.optimisers(), Values(model.critic, model.actor, end), strict=True)
        opt_state = Values(*(optimiser.init(part) for optimiser, part in optimisers))
        return TrainState(model, Slow(), opt_state, jnp.zeros((), jnp.int32), {}, end)

    def optimisers(self) -> tuple[Any, Any, Any]:
        """Return the optimisers of ν, of the actor, and of ν of the absorbing state."""
        fast = optimizer(self.learning_rate, self.weight_decay)
        return fast, optimizer(self.actor_learning_rate, self.weight_decay), optimizer(self.learning_rate)

    def update(self, state: TrainState, batch: Batch, key: PRNGKey) -> tuple[TrainState, Metrics]:
        """Do one gradient step of ν and the actor."""
        parts = Values(state.model.critic, state.model.actor, state.beside)

        def loss(values: Values) -> tuple[Scalar, Metrics]:
            return self.loss(replaced(state.model, values), values.end, batch, key)

        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(parts)
        steps = zip(self.optimisers(), gradient, parts, state.opt_state, strict=True)
        moved = [step_down(optimiser, grad, part, opt, state.rate) for optimiser, grad, part, opt in steps]
        parts, opt_state = Values(*(part for part, _ in moved)), Values(*(opt for _, opt in moved))
        norms = {f"{name}_gradient_norm": optax.tree.norm(getattr(gradient, name)) for name in ("critic", "actor")}
        model = replaced(state.model, parts)
        state = replace(state, model=model, opt_state=opt_state, beside=parts.end, step=state.step + 1)
        return state, {"loss": value, **metrics, **norms}

    def loss(self, model: ContinuousSoftQ, end: Scalar, batch: Batch, key: PRNGKey) -> tuple[Scalar, Metrics]:
        """Return J plus the penalties, and figures. Minimising it minimises J in ν and maximises J in the actor.

        The gradients of the actor's actions change sign where the actions enter ν. All states of the expert serve as
        initial states s0.
        """
        start_key, expert_key, visited_key, slope_key = jr.split(key, 4)
        share = self.replay_share if batch.visited is not None else 0.0
        inputs = model.encoder(batch.expert.obs)
        initial = model.unit_q(inputs, reversed_gradient(model.draw(inputs, start_key).unit))[0]
        of_expert = self.differences(model, end, batch.expert, expert_key)
        exponent = log_mean_exp(*of_expert)
        value = -(1.0 - share) * (1.0 - self.gamma) * jnp.mean(initial)
        other = batch.expert if batch.visited is None else batch.visited
        if share > 0.0:
            of_visited = self.differences(model, end, other, visited_key)
            sides = jnp.stack([exponent + jnp.log1p(-share), log_mean_exp(*of_visited) + jnp.log(share)])
            exponent = jax.nn.logsumexp(sides)
            value -= share * jnp.average(of_visited[0], weights=of_visited[1])
        objective = exponent + value
        points = between(
            jnp.concatenate([inputs, model.actions.to_unit(batch.expert.action)], axis=1),
            jnp.concatenate([model.encoder(other.obs), model.actions.to_unit(other.action)], axis=1),
            slope_key,
        )
        split = inputs.shape[1]
        slope = jax.grad(lambda x: jnp.sum(model.unit_q(x[:, :split], x[:, split:])))(points)
        penalty = self.slope_penalty * slope_loss(slope) + self.orthogonality * skewness(model.actor)
        return objective + penalty, {"objective": objective, "value": jnp.mean(initial)}

    def differences(
        self, model: ContinuousSoftQ, end: Scalar, rows: Transitions, key: PRNGKey
    ) -> tuple[Float[Array, " both"], Float[Array, " both"]]:
        """Return ν(s,a) − γν(s',a') of each row, and the weights of the rows, both (2n,).

        The last n rows are transitions within the absorbing state. They have weight 1 for a true end, otherwise 0.
        """
        inputs = model.encoder(rows.next_obs)
        after = model.unit_q(inputs, reversed_gradient(model.draw(inputs, key).unit))[0]
        here = model.unit_q(model.encoder(rows.obs), model.actions.to_unit(rows.action))[0]
        steps = here - discounted(after, rows.terminal, self.gamma, end)
        absorbed = jnp.full_like(steps, 1.0) * (1.0 - self.gamma) * end
        weights = jnp.concatenate([jnp.ones_like(steps), rows.terminal.astype(steps.dtype)])
        return jnp.concatenate([steps, absorbed]), weights


class Slow(NamedTuple):
    """The slow copies, of which ValueDICE has none. Extensions read from it that there is no averaged actor."""

    actor: MLP | None = None


def replaced(model: ContinuousSoftQ, values: Values) -> ContinuousSoftQ:
    """Return the model with the critic and the actor of `values`."""
    return eqx.tree_at(lambda m: (m.critic, m.actor), model, (values.critic, values.actor))


def reversed_gradient(x: Array) -> Array:
    """Return x, with its gradient multiplied by −1."""
    return 2.0 * jax.lax.stop_gradient(x) - x


def log_mean_exp(x: Float[Array, " n"], weights: Float[Array, " n"]) -> Scalar:
    """Return the logarithm of the weighted mean of exp(x)."""
    return jax.nn.logsumexp(x, b=weights) - jnp.log(jnp.sum(weights))


def skewness(net: MLP) -> Scalar:
    """Return the sum over all weight matrices of the squared dot products of different columns."""

    def of(weight: Float[Array, "inputs outputs"]) -> Scalar:
        products = weight.T @ weight
        return jnp.sum((products - jnp.diag(jnp.diag(products))) ** 2)

    return sum((of(layer.weight) for layer in net.layers), start=jnp.zeros(()))
