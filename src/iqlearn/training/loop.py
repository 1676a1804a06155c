"""The compiled loop of updates. It carries the state and the sources of batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from iqlearn.algorithms.base import Algorithm, TrainState
from iqlearn.data.sources import Source
from iqlearn.networks.descent import compiled
from iqlearn.types import Metrics, PRNGKey


class Program(NamedTuple):
    """The compiled loop for one algorithm and arrays of certain shapes."""

    run: Any
    moving: tuple[bool, ...]
    """Whether an update changes each array of the source. The others are not copied."""

    def __call__(self, state: Any, source: Any, key: Any, updates: int) -> tuple[Any, Any, Any]:
        """The state and the source after so many updates, and the mean of their figures."""
        state, moved, metrics = self.run(state, source, key, jnp.int32(updates))
        leaves, structure = jax.tree.flatten(source)
        new = iter(moved)
        return (
            state,
            structure.unflatten([next(new) if m else x for m, x in zip(self.moving, leaves, strict=True)]),
            metrics,
        )


def program(algorithm: Algorithm, state: Any, source: Any, key: Any, runs: int) -> Program:
    """The loop for these arrays; with several runs they have a leading axis of runs."""
    moving: list[bool] = []

    def probe(state: TrainState, source: Source, key: PRNGKey) -> int:
        drawn = source.draw(state, key, algorithm.batch_size)[1]
        moving.extend(a is not b for a, b in zip(*map(jax.tree.leaves, (source, drawn)), strict=True))
        return 0

    jax.eval_shape(probe if runs == 1 else jax.vmap(probe), state, source, key)
    static = algorithm, tuple(moving)
    return Program(compiled(_train if runs == 1 else _train_each, static, state, source, key, jnp.int32(1)), static[1])


def _train(
    algorithm: Algorithm,
    moving: tuple[bool, ...],
    state: TrainState,
    source: Source,
    key: PRNGKey,
    steps: Int[Array, ""],
) -> tuple[TrainState, list[Array], Metrics]:
    """`steps` updates. Each folds its number into the key. `steps` is no constant, so that chunks share a program."""
    leaves, structure = jax.tree.flatten(source)

    def update(state: TrainState, moved: list[Array]) -> tuple[TrainState, list[Array], Metrics]:
        new = iter(moved)
        source = structure.unflatten([next(new) if m else x for m, x in zip(moving, leaves, strict=True)])
        sample_key, loss_key = jr.split(jr.fold_in(key, state.step))
        batch, source = source.draw(state, sample_key, algorithm.batch_size)
        state, metrics = algorithm.update(state, batch, loss_key)
        return state, [x for m, x in zip(moving, jax.tree.leaves(source), strict=True) if m], metrics

    def body(
        _: Int[Array, ""], carry: tuple[TrainState, list[Array], Metrics]
    ) -> tuple[TrainState, list[Array], Metrics]:
        state, moved, metrics = update(*carry[:2])
        return state, moved, jax.tree.map(jnp.add, carry[2], metrics)

    moved = [x for m, x in zip(moving, leaves, strict=True) if m]
    nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(update, state, moved)[2])
    state, moved, total = jax.lax.fori_loop(0, steps, body, (state, moved, nothing))
    return state, moved, jax.tree.map(lambda x: x / steps, total)


def _train_each(
    algorithm: Algorithm, moving: tuple[bool, ...], states: Any, sources: Any, keys: Any, steps: Any
) -> Any:
    """`_train` for several runs."""
    return jax.vmap(partial(_train, algorithm, moving), in_axes=(0, 0, 0, None))(states, sources, keys, steps)


def join(trees: Sequence[Any]) -> Any:
    """One tree with a leading axis of runs; a single run has none."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def split(tree: Any, n: int) -> list[Any]:
    """The tree of each of `n` joined runs."""
    return [tree] if n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(n)]
