"""Export of policies and rewards to files that other programs run. Each file is compared with the original.

To add a format, add a module with `write` and `opened`, and one line to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iqlearn.errors import InputError
from iqlearn.exports import npz, onnx, stablehlo
from iqlearn.exports.base import Exported, largest_error, policy, reward
from iqlearn.files import replacing

__all__ = ["FORMATS", "Exported", "Format", "export", "policy", "reward"]

SHARE = 1e-4
"""Largest error that is accepted (see `largest_error`)."""
ROWS = 257
"""Number of random rows that an export is compared on. It is not a power of two, to detect ties to a batch size."""


class Format(NamedTuple):
    """An export format: the function that writes a file, and the one that opens a file as a function."""

    write: Callable[[Exported, dict[str, Any], Path], None]
    opened: Callable[[Path], Callable[..., tuple[np.ndarray, ...]]]


FORMATS = {
    "onnx": Format(onnx.write, onnx.opened),
    "stablehlo": Format(stablehlo.write, stablehlo.opened),
    "npz": Format(npz.write, npz.opened),
}


def export(
    exported: Exported, form: str, path: Path, about: dict[str, Any], recorded: list[np.ndarray] | None = None
) -> dict[str, float]:
    """Write a file, and compare its outputs with those of the original.

    Args:
        exported: the policy or reward.
        form: one of `FORMATS`.
        path: the file to write.
        about: facts about the origin, which the file holds if its format can.
        recorded: inputs from demonstrations to compare on as well, if there are any.

    Returns:
        The largest error on each kind of inputs, `random` and `demonstrations` (see `largest_error`).

    Raises:
        InputError: there is no such format, a package is not installed, the outputs of the file differ from those of
            the original, or the file cannot be written.
    """
    if form not in FORMATS:
        raise InputError(f"format is {form!r}; expected one of {', '.join(FORMATS)}.")
    with replacing(path) as partial:  # the file is moved to `path` after the comparison
        FORMATS[form].write(exported, about, partial)
        function = FORMATS[form].opened(partial)
        kinds = {"random": random_inputs(exported)} | ({} if recorded is None else {"demonstrations": recorded})
        errors = {kind: largest_error(exported(*arrays), function(*arrays)) for kind, arrays in kinds.items()}
        if max(errors.values()) > SHARE:
            told = ", ".join(f"{error:.2g} on {kind} inputs" for kind, error in errors.items())
            raise InputError(f"{path} gives other numbers than the run: errors of {told}; it is not written.")
    return errors


def random_inputs(exported: Exported) -> list[np.ndarray]:
    """Return random inputs: normal numbers of standard deviations from 0.1 to 10, categories, and else 0 or 1."""
    rng = np.random.default_rng(0)
    found = []
    for spec in exported.inputs.values():
        shape, dtype = (ROWS, *spec.shape), np.dtype(spec.dtype)
        if dtype.kind == "f":
            scale = 10.0 ** rng.uniform(-1.0, 1.0, (ROWS, *[1] * len(spec.shape)))
            found.append((scale * rng.standard_normal(shape)).astype(dtype))
        else:
            found.append(rng.integers(0, spec.choices or 2, shape).astype(dtype))
    return found
