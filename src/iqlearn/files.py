"""Files that are written whole or not at all: JSON, tables, trees of arrays. Nothing is pickled."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from iqlearn.errors import InputError

Tree = TypeVar("Tree")
Row = dict[str, float | int | None]
"""A row of a table: column names to numbers."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to. Afterwards it takes the place of `path`, so that a stop leaves the old file or the new one.

    Raises:
        InputError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(
            f"{path} cannot be written ({error.strerror}); expected a folder to write to, with room. What was there "
            "is as it was."
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON. Numbers that are not finite become null."""
    _write(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    _require(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; expected JSON written by iqlearn train.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged; expected a JSON object written by iqlearn train.")
    return content


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table with a column for every name that any row has. A cell is empty where a row lacks the name."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns)] if rows else []
    lines += [",".join("" if row.get(c) is None else f"{row[c]:.9g}" for c in columns) for row in rows]
    _write(path, "\n".join(lines) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote.

    Raises:
        InputError: the file is missing, or a cell is no number.
    """
    _require(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file, restval="-")]
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged; expected a table of numbers written by iqlearn train.") from error


def write_tree(path: Path, tree: Any, about: Mapping[str, str] | None = None) -> None:
    """Write the arrays of a tree as safetensors, each named by its path in the tree. `about` goes to the header."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays = {jax.tree_util.keystr(where): np.asarray(leaf, order="C") for where, leaf in leaves}
    _write(path, save(arrays, None if about is None else dict(about)))


def read_tree(path: Path, like: Tree, part: str = "", any_shape: bool = False) -> Tree:
    """Read what `write_tree` wrote.

    Args:
        path: the file.
        like: a tree of the same structure, of arrays or their shapes.
        part: path of the tree within the tree that was written.
        any_shape: take arrays in whatever shapes they have.

    Raises:
        InputError: the file is missing, damaged, or of another model.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [part + jax.tree_util.keystr(where) for where, _ in leaves]
    _require(path)
    with _tensors(path) as file:
        there = set(file.keys())
        arrays = [file.get_tensor(name) if name in there else None for name in names]
    found = []
    for name, (_, leaf), array in zip(names, leaves, arrays, strict=True):
        if array is None or (not any_shape and array.shape != leaf.shape):
            has = "is missing" if array is None else f"has shape {array.shape}"
            raise InputError(f"{path} is of another model: array {name} {has}; expected shape {leaf.shape}.")
        found.append(jax.numpy.asarray(array, leaf.dtype))
    return jax.tree_util.tree_unflatten(structure, found)


def read_about(path: Path) -> dict[str, str]:
    """Read the header that `write_tree` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"No file {path}; expected one written by iqlearn.")
    with _tensors(path) as file:
        return dict(file.metadata() or {})


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: it is missing.
    """
    _require(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _tensors(path: Path) -> Iterator[Any]:
    """An open file of safetensors.

    Raises:
        InputError: it is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged, or of another kind; expected safetensors written by iqlearn.") from error


def _require(path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"No {path.name} in {path.parent}: expected a run folder, written by iqlearn train or iqlearn expert."
        )


def _write(path: Path, content: str | bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
