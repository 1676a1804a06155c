"""Policies and rewards in files that other programs run. Each file is compared with the original after it is written.

To add a format: a file with `write` and `opened`, and one line here.
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
"""Largest error that is accepted, as a share of the outputs."""
ROWS = 257
"""Random rows that an export is compared on: no power of two, so that nothing is tied to a batch size."""


class Format(NamedTuple):
    """A format of exports."""

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
    """Write a file, and compare it with the original.

    Args:
        exported: what is written.
        form: one of `FORMATS`.
        path: the file.
        about: where it comes from.
        recorded: inputs from demonstrations, if there are any.

    Returns:
        The largest error on each kind of inputs, as a share of the outputs where these exceed 1.

    Raises:
        InputError: there is no such format, a package is not installed, or the file gives other numbers.
    """
    if form not in FORMATS:
        raise InputError(f"format is {form!r}; expected one of {', '.join(FORMATS)}.")
    with replacing(path) as partial:  # the file takes its name when it has been compared
        FORMATS[form].write(exported, about, partial)
        function = FORMATS[form].opened(partial)
        kinds = {"random": random_inputs(exported)} | ({} if recorded is None else {"demonstrations": recorded})
        errors = {kind: largest_error(exported(*arrays), function(*arrays)) for kind, arrays in kinds.items()}
        if max(errors.values()) > SHARE:
            told = ", ".join(f"{error:.2g} on {kind} inputs" for kind, error in errors.items())
            raise InputError(f"{path} gives other numbers than the run: errors of {told}; it is not written.")
    return errors


def random_inputs(exported: Exported) -> list[np.ndarray]:
    """Normal numbers of standard deviations from 0.1 to 10, whole numbers, categories and flags."""
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
