"""The compiled loop of updates that every way of learning shares."""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, Key

from iqlearn.algorithms import Algorithm, TrainState
from iqlearn.types import Metrics, PRNGKey

KEPT = 32
"""Programs that stay compiled. Each takes some 600 mapped regions of the 65,530 that Linux gives a process, and XLA
ends the process where none is left: a process that trains again and again must let go of old ones."""


@runtime_checkable
class Data(Protocol):
    """What an update draws its batch from: a tree of arrays that knows how to sample itself."""

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Any, TrainState]:
        """What the algorithm's `update` takes, n rows of each kind; what drawing it changes stands in the state."""
        ...


def compiled(
    algorithm: Algorithm, state: TrainState, data: Data, key: Key[Array, "*seeds"], seeds: bool = False
) -> Callable[[TrainState, Data, Key[Array, "*seeds"], int], tuple[TrainState, Metrics]]:
    """`train` with this algorithm, or `train_seeds`, as one program for arrays of these shapes."""
    leaves, structure = jax.tree.flatten((state, data, key))
    loop = loop_of(algorithm, seeds, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
    return loop.lower(state, data, key, 1).compile()


@lru_cache(KEPT)
def loop_of(algorithm: Algorithm, seeds: bool, *_shapes: Hashable) -> Any:
    """A function of its own for each of the shapes: with the function JAX lets go of what it compiled for it."""
    return jax.jit(partial(train_seeds if seeds else train, algorithm))


def train(
    algorithm: Algorithm, state: TrainState, data: Data, key: PRNGKey, steps: Int[Array, ""] | int
) -> tuple[TrainState, Metrics]:
    """`steps` updates on the device and the mean of their metrics.

    Each update folds its number into the key, so a resumed run is the same run; and `steps` is no constant of the
    program (see `compiled`), so chunks of any length share one compilation.
    """

    def update(state: TrainState) -> tuple[TrainState, Metrics]:
        sample_key, loss_key = jr.split(jr.fold_in(key, state.step))
        batch, state = data.draw(state, sample_key, algorithm.settings.batch_size)
        return algorithm.update(state, batch, loss_key)

    def body(_: Int[Array, ""], carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = update(carry[0])
        return state, jax.tree.map(jnp.add, carry[1], metrics)

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(update, state)[1])
    state, total = jax.lax.fori_loop(0, steps, body, (state, nothing))
    return state, jax.tree.map(lambda x: x / steps, total)


def train_seeds(
    algorithm: Algorithm, states: TrainState, data: Data, keys: Key[Array, " seeds"], steps: Int[Array, ""] | int
) -> tuple[TrainState, dict[str, Float[Array, " seeds"]]]:
    """`train` for several seeds at once: every argument but `steps` has a leading axis of seeds."""
    return jax.vmap(partial(train, algorithm), in_axes=(0, 0, 0, None))(states, data, keys, steps)


def join(trees: Sequence[Any]) -> Any:
    """One tree with a leading axis of runs; a single run goes without."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def split(tree: Any, n: int) -> list[Any]:
    """The tree of each of `n` runs that were joined."""
    return [tree] if n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(n)]
