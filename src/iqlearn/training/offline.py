"""Learning from demonstrations alone: chunks of updates, each one compiled loop."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, Shaped

from iqlearn.algorithms import Imitator, TrainState
from iqlearn.data import Buffer
from iqlearn.types import Batch, Metrics, PRNGKey, Transitions


class Demonstrations(NamedTuple):
    """What offline learning draws from: expert transitions and the states their episodes began in."""

    transitions: Buffer[Transitions]
    initial_obs: Buffer[Shaped[Array, "m *obs"]]


@partial(jax.jit, static_argnames="algorithm")
def train_offline(
    algorithm: Imitator, state: TrainState, demos: Demonstrations, key: PRNGKey, steps: Int[Array, ""] | int
) -> tuple[TrainState, Metrics]:
    """`steps` updates on the device and the mean of their metrics.

    Each update folds its number into the key, so a resumed run is the same run; and `steps` is no constant of the
    program, so chunks of any length share one compilation.
    """

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        sample_key, initial_key, loss_key = jr.split(jr.fold_in(key, state.step), 3)
        expert = demos.transitions.sample(sample_key, algorithm.settings.batch_size)
        initial = demos.initial_obs.sample(initial_key, algorithm.settings.batch_size)
        return algorithm.update(state, Batch(expert, expert, initial), loss_key)

    def body(_: Int[Array, ""], carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = update(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(update, state)[1])
    state, total = jax.lax.fori_loop(0, steps, body, (state, nothing))
    return state, jax.tree.map(lambda x: x / steps, total)


@partial(jax.jit, static_argnames="algorithm")
def train_offline_seeds(
    algorithm: Imitator, states: TrainState, demos: Demonstrations, keys: PRNGKey, steps: Int[Array, ""] | int
) -> tuple[TrainState, Metrics]:
    """`train_offline` of several seeds at once: every argument but `steps` has a leading axis of seeds."""
    return jax.vmap(partial(train_offline, algorithm), in_axes=(0, 0, 0, None))(states, demos, keys, steps)
