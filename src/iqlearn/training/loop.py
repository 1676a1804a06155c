"""The compiled loop of updates. It carries the state and the sources of batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from iqlearn.algorithms.base import Algorithm, TrainState
from iqlearn.data.sources import Source
from iqlearn.networks.descent import compiled
from iqlearn.types import Metrics, PRNGKey

Program = Callable[[Any, Any, Any, int], tuple[Any, Any, Any]]
"""A function of state, source, key and number of updates. It returns the state and the source after these updates, and
the mean of their figures."""


def program(algorithm: Algorithm, state: Any, source: Any, key: Any, runs: int) -> Program:
    """Return the compiled loop for arrays of these shapes; with several runs they have a leading axis of runs.

    Arrays of the source that no update changes are not in the loop's carry, because the loop would copy them.
    """
    fixed: list[Any] = []

    def probe(state: TrainState, source: Source, key: PRNGKey) -> int:
        drawn = source.draw(state, key, algorithm.batch_size)[1]
        fixed.append(jax.tree.map(lambda before, after: before is after, source, drawn))
        return 0

    jax.eval_shape(probe if runs == 1 else jax.vmap(probe), state, source, key)
    train = _train if runs == 1 else _train_each
    begun = state, *eqx.partition(source, fixed[0]), key, jnp.int32(1)
    loop = compiled(train, (algorithm,), *begun)

    def run(state: Any, source: Any, key: Any, updates: int) -> tuple[Any, Any, Any]:
        kept, moved = eqx.partition(source, fixed[0])
        state, moved, metrics = loop(state, kept, moved, key, jnp.int32(updates))
        return state, eqx.combine(kept, moved), metrics

    return run


def _train(
    algorithm: Algorithm, state: TrainState, kept: Any, moved: Any, key: PRNGKey, steps: Int[Array, ""]
) -> tuple[TrainState, Any, Metrics]:
    """Run `steps` updates. Return the state, the changed arrays of the source, and the mean figures.

    Each update folds its number into the key. `steps` is not static, so that loops of any length share one program.
    """
    moves = jax.tree.map(lambda x: x is not None, moved, is_leaf=lambda x: x is None)

    def update(state: TrainState, moved: Any) -> tuple[TrainState, Any, Metrics]:
        sample_key, loss_key = jr.split(jr.fold_in(key, state.step))
        batch, source = eqx.combine(kept, moved).draw(state, sample_key, algorithm.batch_size)
        state, metrics = algorithm.update(state, batch, loss_key)
        return state, eqx.filter(source, moves), metrics

    def body(_: Int[Array, ""], carry: tuple[TrainState, Any, Metrics]) -> tuple[TrainState, Any, Metrics]:
        state, moved, metrics = update(*carry[:2])
        return state, moved, jax.tree.map(jnp.add, carry[2], metrics)

    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(update, state, moved)[2])
    state, moved, total = jax.lax.fori_loop(0, steps, body, (state, moved, nothing))
    return state, moved, jax.tree.map(lambda x: x / steps, total)


def _train_each(algorithm: Algorithm, states: Any, kept: Any, moved: Any, keys: Any, steps: Any) -> Any:
    """Run `_train` for several runs."""
    return jax.vmap(partial(_train, algorithm), in_axes=(0, 0, 0, 0, None))(states, kept, moved, keys, steps)


def join(trees: Sequence[Any]) -> Any:
    """Stack the trees of several runs along a leading axis. The tree of a single run is returned as it is."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def split(tree: Any, n: int) -> list[Any]:
    """Return the tree of each of `n` runs that `join` stacked."""
    return [tree] if n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(n)]
