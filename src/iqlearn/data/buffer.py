"""Experience on the device: a fixed block of rows, of which the first `size` are filled.

Demonstrations of several seeds, unequal in length, can so be padded and stacked for `vmap`.
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
    """Rows, and how many of them are filled."""

    rows: Rows
    size: Int[Array, ""]

    def sample(self, key: PRNGKey, n: int) -> Rows:
        """n rows, drawn uniformly with replacement from the filled ones."""
        index = jr.randint(key, (n,), 0, self.size)
        return jax.tree.map(lambda x: x[index], self.rows)


def filled(rows: Rows, capacity: int | None = None) -> Buffer[Rows]:
    """A buffer that holds these rows, with room for `capacity` in all (their number unless given)."""
    n = jax.tree.leaves(rows)[0].shape[0]
    room = n if capacity is None else capacity

    def pad(x: Shaped[Array, "n *shape"]) -> Shaped[Array, "room *shape"]:
        x = jnp.asarray(x)
        return jnp.concatenate([x, jnp.zeros((room - n, *x.shape[1:]), x.dtype)]) if room > n else x

    return Buffer(jax.tree.map(pad, rows), jnp.int32(n))
