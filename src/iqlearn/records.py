"""The files of a run folder: what is in it, how it is written and read. Whole files only, no pickles.

config.json            every setting, seed and version, the SHA-256 of demonstrations or reward
metrics.csv            one row an evaluation
result.json            returns of the final policy, counts and times
model.safetensors      what acts and judges
best.safetensors       the same, where the states it visits were closest to the expert's
checkpoint.safetensors the whole state of training, online with what was experienced, to go on from
curves.png             the metrics as pictures
reward.json, reward.png, reward-KIND.safetensors   what `iqlearn reward` found of this run
refit-KIND.json, .png, .safetensors                the same with --refit
"""

import csv
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from iqlearn.errors import InputError
from iqlearn.files import replacing
from iqlearn.types import Bounds, TaskSpec

Tree = TypeVar("Tree")
Row = dict[str, float | int | None]

CONFIG, METRICS, RESULT = "config.json", "metrics.csv", "result.json"
REWARD, DISTILLED, REFIT = "reward", "reward-{}", "refit-{}"
"""Stems: figures in .json, a picture in .png, a reward of its own in .safetensors."""
MODEL, BEST, CHECKPOINT, CURVES = "model.safetensors", "best.safetensors", "checkpoint.safetensors", "curves.png"


def versions() -> dict[str, str]:
    """Versions of everything a result depends on."""
    packages = ("iqlearn", "jax", "jaxlib", "equinox", "optax", "gymnasium", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found, "device": jax.devices()[0].device_kind}


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
    """One line a row; a column a name that any row has, empty where a row lacks it."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns)] if rows else []
    lines += [",".join("" if row.get(c) is None else f"{row[c]:.9g}" for c in columns) for row in rows]
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


def write_tree(
    path: Path, tree: Any, parts: Mapping[str, Any] | None = None, about: Mapping[str, str] | None = None
) -> None:
    """The arrays of a tree, each named by its path in it; `parts` are further trees, their names put before.

    `about` stands in the file's header.
    """
    arrays = _named(tree)
    for part, content in (parts or {}).items():
        arrays |= {part + name: array for name, array in _named(content).items()}
    _replace(path, save(arrays, None if about is None else dict(about)))


def read_tree(path: Path, like: Tree) -> Tree:
    """The tree that `write_tree` wrote; `like` tells its structure (arrays or their shapes).

    Raises:
        InputError: the file is missing, damaged, or of another model.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(where) for where, _ in leaves]
    found = []
    for name, (_, leaf), array in zip(names, leaves, _read(path, names), strict=True):
        if array is None or array.shape != leaf.shape:
            has = "nothing" if array is None else array.shape
            raise InputError(f"{path}: {name} is {has}; expected {leaf.shape} as {CONFIG} says.")
        found.append(jax.numpy.asarray(array, leaf.dtype))
    return jax.tree_util.tree_unflatten(structure, found)


def read_part(path: Path, part: str, like: Tree) -> Tree:
    """One of the further trees that `write_tree` wrote, in whatever shapes it has.

    Raises:
        InputError: the file is missing or damaged, or has no such part.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [part + jax.tree_util.keystr(where) for where, _ in leaves]
    found = _read(path, names)
    if any(array is None for array in found):
        raise InputError(f"{path} lacks {part!r}; expected a checkpoint of a run that acts.")
    return jax.tree_util.tree_unflatten(structure, [jax.numpy.asarray(array) for array in found])


def read_number(path: Path, part: str) -> int | None:
    """A whole number that `write_tree` wrote as a further part; none where there is none."""
    found = _read(path, [part])[0]
    return None if found is None else int(found)


def read_about(path: Path) -> dict[str, str]:
    """What stands in the header of a file that `write_tree` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"No file {path}; expected one written by iqlearn.")
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged, or of another kind; expected safetensors written by iqlearn.") from error


def sha256(path: Path) -> str:
    """Fingerprint of a file.

    Raises:
        InputError: it is missing.
    """
    if not path.is_file():
        raise InputError(f"No {path.name} in {path.parent}: expected a run folder written by iqlearn train.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, names: Sequence[str]) -> list[np.ndarray | None]:
    """The arrays of these names, none where there is none."""
    if not path.is_file():
        raise InputError(f"No {path.name} in {path.parent}: expected a run folder written by iqlearn train.")
    try:
        with safe_open(path, framework="numpy") as file:
            there = set(file.keys())
            return [file.get_tensor(name) if name in there else None for name in names]
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged; expected safetensors written by iqlearn train.") from error


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf, order="C") for path, leaf in leaves}


def _replace(path: Path, content: str | bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def spec_to_dict(spec: TaskSpec) -> dict[str, Any]:
    """As `config.json` holds it."""
    actions = spec.actions._asdict() if isinstance(spec.actions, Bounds) else spec.actions
    return {"obs_shape": spec.obs_shape, "actions": actions}


def spec_from_dict(plain: dict[str, Any]) -> TaskSpec:
    """What `spec_to_dict` gave, from JSON."""
    actions = plain["actions"]
    if isinstance(actions, dict):
        actions = Bounds(tuple(actions["low"]), tuple(actions["high"]))
    return TaskSpec(tuple(plain["obs_shape"]), actions)
