"""A function as ONNX: jax2onnx writes the file, and onnxruntime runs it for the comparison."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from iqlearn.errors import missing
from iqlearn.exports.base import BATCH, Exported

OPSET = 21
"""Version of the ONNX operators."""


def write(exported: Exported, about: dict[str, Any], path: Path) -> None:
    """Write the function with a free batch size. `about` becomes the metadata of the model.

    Raises:
        InputError: jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError as error:
        raise missing("jax2onnx, which writes ONNX files,", "onnx") from error
    rows = [jax.ShapeDtypeStruct((BATCH, *spec.shape), np.dtype(spec.dtype)) for spec in exported.inputs.values()]  # type: ignore[arg-type]
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    model: Any = jax2onnx.to_onnx(
        exported.function,
        rows,
        model_name=exported.part,
        opset=OPSET,
        input_names=[*exported.inputs],
        output_names=exported.outputs,
    )
    for name, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    path.write_bytes(model.SerializeToString())


def opened(path: Path) -> Callable[..., tuple[np.ndarray, ...]]:
    """Return the function in a file, run by onnxruntime.

    Raises:
        InputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime, which checks ONNX files,", "onnx") from error
    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *arrays: tuple(session.run(None, dict(zip(names, arrays, strict=True))))
