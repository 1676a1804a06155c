"""A function as StableHLO, through `jax.export`: `jax.export.deserialize(bytearray(FILE)).call(obs)` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from iqlearn.exports.base import BATCH, Exported

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(exported: Exported, about: dict[str, Any], path: Path) -> None:
    """Write the function with a free batch size, for processors and accelerators."""
    del about
    (batch,) = export.symbolic_shape(BATCH)
    rows = [jax.ShapeDtypeStruct((batch, *spec.shape), np.dtype(spec.dtype)) for spec in exported.inputs.values()]
    content = export.export(jax.jit(exported.function), platforms=PLATFORMS)(*rows).serialize()
    path.write_bytes(content)


def opened(path: Path) -> Callable[..., tuple[np.ndarray, ...]]:
    """The function of a file."""
    call = export.deserialize(bytearray(path.read_bytes())).call
    return lambda *arrays: tuple(map(np.asarray, call(*arrays)))
