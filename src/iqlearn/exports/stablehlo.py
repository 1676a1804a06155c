"""A function as StableHLO, by `jax.export`. `jax.export.deserialize(bytearray(CONTENT)).call(obs)` runs it."""

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
    """Write the function with a free batch size, for all `PLATFORMS`. The file does not hold `about`."""
    del about
    (batch,) = export.symbolic_shape(BATCH)
    rows = [jax.ShapeDtypeStruct((batch, *spec.shape), np.dtype(spec.dtype)) for spec in exported.inputs.values()]
    content = export.export(jax.jit(exported.function), platforms=PLATFORMS)(*rows).serialize()
    path.write_bytes(content)


def opened(path: Path) -> Callable[..., tuple[np.ndarray, ...]]:
    """Return the function in a file."""
    call = export.deserialize(bytearray(path.read_bytes())).call
    return lambda *arrays: tuple(map(np.asarray, call(*arrays)))
