"""From arrays of any kind on the host to compiled functions, and back."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Shaped

from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, Obs, ObsSpec, rows

BLOCK = 16_384
"""Largest number of rows in a compiled call."""


def in_blocks(function: Callable[[Any], Shaped[Array, "n *_"]], tree: Any) -> Shaped[np.ndarray, "n *_"]:
    """A compiled function of all rows of a tree of arrays.

    It is called on blocks of a power of two rows, the last one filled up with zeros: 15 programs serve batches of every
    size. A row has the same result in each batch of the same power of two, and on a CPU in all from 128 rows on.
    """
    n = rows(tree)
    size = min(BLOCK, 1 << max(n - 1, 0).bit_length())

    def block(array: Any, start: int) -> np.ndarray:
        part = np.asarray(array)[start : start + size]
        return np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])

    starts = range(0, max(n, 1), size)
    parts = [function(jax.tree.map(lambda array, start=start: block(array, start), tree)) for start in starts]
    return np.concatenate([np.asarray(part) for part in parts])[:n]


def as_arrays(values: Any, spec: ObsSpec, what: str) -> Obs | None:
    """The arrays of a specification: of its dtypes, in rows (C order), in this machine's byte order.

    Args:
        values: arrays of any kind or lists, in a dictionary or tuple where the specification has parts.
        spec: the specification. The shapes of the arrays are not compared with it.
        what: what messages call the values.

    Returns:
        The arrays; none where the structure is another.

    Raises:
        InputError: they are no finite numbers, or a dtype of the specification cannot hold them.
    """
    if isinstance(spec, ArraySpec):
        return None if isinstance(values, dict) else _as_array(values, spec, what)
    parts = dict(zip(map(str, range(len(values))), values, strict=True)) if isinstance(values, tuple) else values
    if not isinstance(parts, dict) or parts.keys() != spec.keys():
        return None
    found = {name: as_arrays(parts[name], spec[name], what) for name in spec}
    return None if any(part is None for part in found.values()) else found


def _as_array(values: Any, spec: ArraySpec, what: str) -> np.ndarray:
    try:
        given = np.asarray(values)
        with np.errstate(over="raise", invalid="raise"):
            array = np.array(given if given.dtype.kind in "biuf" else [""], spec.dtype, order="C")
        if array.dtype.kind != "f" and not np.array_equal(array, given):
            raise ValueError
    except (ValueError, TypeError, FloatingPointError) as error:
        raise InputError(
            f"{what}: values are no {spec.dtype}; expected an array of numbers that {spec.dtype} can hold."
        ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{what}: NaN or infinite values; expected finite numbers.")
    if spec.choices and array.size and not 0 <= array.min() <= array.max() < spec.choices:
        raise InputError(f"{what}: values are {array.min()} to {array.max()}; expected 0 to {spec.choices - 1}.")
    return array
