"""Experience on the device: a fixed block of rows, of which the first `size` are filled.

Demonstrations and replay are the same record, so a batch is drawn from both in the same way, and demonstrations of
several seeds, unequal in length, can be padded and stacked for `vmap`.
"""

from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int, Shaped

from iqlearn.types import PRNGKey

Rows = TypeVar("Rows")
"""Any tree of arrays with one row an item."""


class Buffer(eqx.Module, Generic[Rows]):
    """Rows, their number, and where the next one goes (the oldest is overwritten when the block is full)."""

    rows: Rows
    size: Int[Array, ""]
    head: Int[Array, ""]

    @property
    def capacity(self) -> int:
        return jax.tree.leaves(self.rows)[0].shape[0]

    def sample(self, key: PRNGKey, n: int) -> Rows:
        """n rows, drawn uniformly with replacement from the filled ones."""
        index = jr.randint(key, (n,), 0, self.size)
        return jax.tree.map(lambda x: x[index], self.rows)

    def extend(self, rows: Rows) -> "Buffer[Rows]":
        """With these rows written after the newest. Their number must not exceed the capacity."""
        n = jax.tree.leaves(rows)[0].shape[0]
        index = (self.head + jnp.arange(n)) % self.capacity
        stored = jax.tree.map(lambda old, new: old.at[index].set(new), self.rows, rows)
        size = jnp.minimum(self.size + n, self.capacity)
        return Buffer(stored, size, (self.head + n) % self.capacity)


def filled(rows: Rows, capacity: int | None = None) -> Buffer[Rows]:
    """A buffer that holds these rows, with room for `capacity` in all (their number unless given)."""
    n = jax.tree.leaves(rows)[0].shape[0]
    room = n if capacity is None else capacity

    def pad(x: Shaped[Array, "n *shape"]) -> Shaped[Array, "room *shape"]:
        x = jnp.asarray(x)
        return jnp.concatenate([x, jnp.zeros((room - n, *x.shape[1:]), x.dtype)]) if room > n else x

    return Buffer(jax.tree.map(pad, rows), jnp.int32(n), jnp.int32(n % room))


def empty(row: Rows, capacity: int) -> Buffer[Rows]:
    """A buffer of `capacity` rows shaped like `row` (a tree of arrays without the leading axis)."""
    rows = jax.tree.map(lambda x: jnp.zeros((capacity, *jnp.shape(x)), jnp.asarray(x).dtype), row)
    return Buffer(rows, jnp.int32(0), jnp.int32(0))
