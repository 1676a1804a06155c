"""The run folder: what is in it and how it is written. Whole files only, no pickles.

config.json            every setting, seed and version, the demonstrations' SHA-256
metrics.csv            one row an evaluation
result.json            returns of the final policy, counts and times
model.safetensors      what acts and judges
checkpoint.safetensors the whole state of training, to go on from
curves.png             the metrics as pictures
"""

import csv
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from iqlearn.errors import InputError

Tree = TypeVar("Tree")
Row = dict[str, float | int | None]

CONFIG, METRICS, RESULT = "config.json", "metrics.csv", "result.json"
MODEL, CHECKPOINT, CURVES = "model.safetensors", "checkpoint.safetensors", "curves.png"


def versions() -> dict[str, str]:
    """Versions of everything a result depends on."""
    packages = ("iqlearn", "jax", "jaxlib", "equinox", "optax", "gymnasium", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found, "device": jax.devices()[0].device_kind}


def claim(folder: Path, overwrite: bool) -> None:
    """Make sure that a run may be written to `folder`.

    Raises:
        InputError: it exists and is not empty (unless `overwrite`), or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the run, choose another --out.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(
            f"{folder} exists and is not empty; choose another --out, or add --overwrite to replace the run in it."
        )
    for name in (CONFIG, METRICS, RESULT, MODEL, CHECKPOINT, CURVES):
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON; what is not finite becomes null."""
    _replace(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Raises InputError where the file is missing or no JSON object."""
    if not path.is_file():
        raise InputError(f"No {path.name} in {path.parent}: expected a run folder written by iqlearn train.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; expected JSON written by iqlearn train.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged; expected a JSON object written by iqlearn train.")
    return content


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """One line a row; the columns are those of the first."""
    lines = [",".join(rows[0])] if rows else []
    lines += [",".join("" if value is None else f"{value:.9g}" for value in row.values()) for row in rows]
    _replace(path, "\n".join(lines) + "\n")


def read_rows(path: Path) -> list[Row]:
    """The rows that `write_rows` wrote."""
    if not path.is_file():
        raise InputError(f"No {path.name} in {path.parent}: expected a run folder written by iqlearn train.")
    try:
        with path.open(newline="") as file:
            return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file, restval="-")]
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged; expected a table of numbers written by iqlearn train.") from error


def write_tree(path: Path, tree: Any) -> None:
    """The arrays of a tree, each named by its path in it."""
    _replace(path, save(_named(tree)))


def read_tree(path: Path, like: Tree) -> Tree:
    """The tree that `write_tree` wrote; `like` tells its structure (arrays or their shapes).

    Raises:
        InputError: the file is missing, damaged, or of another model.
    """
    if not path.is_file():
        raise InputError(f"No {path.name} in {path.parent}: expected a run folder written by iqlearn train.")
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged; expected safetensors written by iqlearn train.") from error
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = []
    for where, leaf in leaves:
        name = jax.tree_util.keystr(where)
        if name not in arrays or arrays[name].shape != leaf.shape:
            has = arrays[name].shape if name in arrays else "nothing"
            raise InputError(f"{path}: {name} is {has}; expected {leaf.shape} as {CONFIG} says.")
        found.append(jax.numpy.asarray(arrays[name], leaf.dtype))
    return jax.tree_util.tree_unflatten(structure, found)


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}


def _replace(path: Path, content: str | bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
