"""Conversion of arrays on the host for compiled functions, and of their results to NumPy arrays."""

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
    """Apply a compiled function to all rows of a tree of arrays. Return its result for each row.

    The function is called on blocks whose number of rows is a power of two, with the last block padded with zeros, so
    that 15 programs serve batches of every size. A row has the same result in all batches with the same block size. On
    a CPU it has the same result in all blocks of 128 rows or more.
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
    """Convert values to the arrays of a specification: with its dtypes, in C order and native byte order.

    Args:
        values: arrays of any kind or lists, in a dictionary or tuple where the specification has parts.
        spec: the specification. The shapes of the arrays are not compared with it.
        what: name of the values in error messages.

    Returns:
        The arrays. None where the values have another structure than the specification.

    Raises:
        InputError: values are not finite numbers, do not fit into a dtype of the specification, or are not
            categories of a discrete observation.
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
