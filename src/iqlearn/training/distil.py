"""A reward of transitions (s, a, s') fitted by a network that sees s, or s and a, only."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import optax
from jaxtyping import Array, Float, Int

from iqlearn.data import Buffer
from iqlearn.models.reward import RewardNet, squared_error
from iqlearn.types import PRNGKey, Transitions

BATCH, LEARNING_RATE, WEIGHT_DECAY = 256, 1e-3, 1e-4


class Sample(NamedTuple):
    """Transitions and what the transition reward says of each."""

    transitions: Transitions
    reward: Float[Array, " n"]


@jax.jit
def distil(net: RewardNet, data: Buffer[Sample], key: PRNGKey, updates: Int[Array, ""] | int) -> RewardNet:
    """Least squares by Adam with a falling step size: the mean of the transition reward given what the network sees."""
    optimizer = optax.adamw(lambda step: LEARNING_RATE * (1.0 - step / updates), weight_decay=WEIGHT_DECAY)

    def update(step: Int[Array, ""], carry: tuple[RewardNet, optax.OptState]) -> tuple[RewardNet, optax.OptState]:
        net, opt_state = carry
        batch = data.sample(jr.fold_in(key, step), BATCH)
        gradient = jax.grad(squared_error)(net, batch.transitions, batch.reward)
        layers: Any = net.net
        moved, opt_state = optimizer.update(gradient.net, opt_state, layers)
        return eqx.tree_at(lambda n: n.net, net, eqx.apply_updates(net.net, moved)), opt_state

    return jax.lax.fori_loop(0, updates, update, (net, optimizer.init(net.net)))[0]  # pyright: ignore[reportArgumentType]
