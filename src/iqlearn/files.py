"""Reading and atomic writing of files: JSON, CSV tables and trees of arrays. Nothing is pickled."""

import csv
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from iqlearn import interrupts
from iqlearn.errors import InputError

Tree = TypeVar("Tree")
Row = dict[str, float | int | None]
"""A row of a table: its numbers by column name. None is an empty cell."""
PARTIAL = ".partial"
"""Suffix of files that are being written. A process that was killed leaves them behind."""
SHOWN = 50
"""Number of characters of a file's name that the name of its partial file keeps."""
HEADER, DIGEST = "iqlearn", "sha256"
"""Key of the metadata in the header of a safetensors file, and key in the metadata of the digest of everything else."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial file's path to write to, and move that file to `path` afterwards. The folder of `path` is made.

    A power cut leaves either the old file or the new one.

    Raises:
        InputError: the file cannot be written.
        KeyboardInterrupt: a signal asked to stop. The old file, if there is one, is unchanged.
    """
    with writing(path):
        require_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    with writing(path, partial):
        yield partial
        interrupts.check()
        flush(partial)
        os.replace(partial, path)
        flush(path.parent)


@contextmanager
def writing(path: Path, *partials: Path) -> Iterator[None]:
    """Delete the files `partials` on exit, also after an error. An `OSError` becomes an `InputError` with `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); expected a folder to write to, with room. What was there "
            "is as it was."
        ) from error
    finally:
        for partial in partials:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def require_file(path: Path) -> None:
    """Check that no folder or file is in the way of a file at this path. Nothing is written.

    Raises:
        InputError: the path is a folder, or one of its parents is a file.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file to write.")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise InputError(f"{path} cannot be written, because {there} is a file; expected a folder to write to.")


def partial_of(path: Path) -> Path:
    """Return a new path in the folder of `path`, which no other process uses. Its name is short enough for a file."""
    return path.with_name(f"{path.name[:SHOWN]}.{secrets.token_hex(8)}{PARTIAL}")


def flush(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def read(path: Path) -> bytes:
    """Read a file.

    Raises:
        InputError: the file is missing, or cannot be read.
    """
    if not path.is_file():
        raise InputError(
            f"No {path.name} in {path.parent}: expected a run folder, written by iqlearn train or iqlearn expert."
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected a file that may be read.") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        InputError: the file is missing, or cannot be read.
    """
    return hashlib.sha256(read(path)).hexdigest()


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Encode as strict JSON. Numbers that are not finite become null."""
    return (json.dumps(_finite(content), indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON."""
    write(path, json_bytes(content))


def read_json(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read a JSON object from a file, or from its content.

    Raises:
        InputError: the file is missing, or does not hold a JSON object.
    """
    content = read(path) if content is None else content
    try:
        found = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}; expected JSON written by iqlearn train.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged; expected a JSON object written by iqlearn train.")
    return found


def rows_bytes(rows: Sequence[Row]) -> bytes:
    """Encode rows as CSV, with a column for every name that any row has. A cell is empty if its row has no number."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns)] if rows else []
    lines += [",".join("" if row.get(c) is None else f"{row[c]:.9g}" for c in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def read_rows(path: Path, content: bytes | None = None) -> list[Row]:
    """Read a table from a file, or from its content.

    Raises:
        InputError: the file is missing, or a cell is not a number.
    """
    content = read(path) if content is None else content
    try:
        lines = csv.DictReader(content.decode().splitlines(), restval="-")
        return [{k: float(v) if v else None for k, v in row.items()} for row in lines]
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged; expected a table of numbers written by iqlearn train.") from error


def tree_bytes(tree: Any, about: Mapping[str, Any] | None = None) -> bytes:
    """Encode the arrays of a tree as safetensors, each named by its path. `about` is stored in the header as JSON."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return arrays_bytes({jax.tree_util.keystr(where): np.asarray(leaf, order="C") for where, leaf in leaves}, about)


def arrays_bytes(arrays: dict[str, np.ndarray], about: Mapping[str, Any] | None = None) -> bytes:
    """Encode arrays as safetensors. `about` is stored in the header as JSON."""
    told = json.loads(json.dumps(about or {}, default=np.generic.item))  # as a reader decodes it, with all digits
    return save(arrays, {HEADER: json.dumps(told | {DIGEST: _digest(arrays, told)})})


def write_tree(path: Path, tree: Any, about: Mapping[str, Any] | None = None) -> None:
    """Write the arrays of a tree as safetensors."""
    write(path, tree_bytes(tree, about))


class Arrays(NamedTuple):
    """The content of a safetensors file."""

    path: Path
    arrays: dict[str, np.ndarray]
    """The arrays by their path in the tree that was written."""
    about: dict[str, Any]
    """The metadata that was written with the arrays."""

    def has(self, part: str) -> bool:
        """Whether a part with this path is in the tree that was written."""
        return any(name.startswith(part) for name in self.arrays)

    def tree(self, like: Tree, part: str = "", any_shape: bool = False, finite: bool = False) -> Tree:
        """Return the tree that was written, or a part of it.

        Args:
            like: a tree of the same structure, with arrays or their shapes and dtypes as leaves.
            part: path of the returned tree within the tree that was written.
            any_shape: accept arrays of any shape.
            finite: refuse numbers that are not finite.

        Raises:
            InputError: an array is missing or has another dtype or shape, because the file is of another model; or,
                with `finite`, a number is not finite.
        """
        leaves, structure = jax.tree_util.tree_flatten_with_path(like)
        found = []
        for where, leaf in leaves:
            name = part + jax.tree_util.keystr(where)
            array, expected = self.arrays.get(name), f"{leaf.dtype} of shape {leaf.shape}"
            if array is None or array.dtype != leaf.dtype or (not any_shape and array.shape != leaf.shape):
                has = "is missing" if array is None else f"is {array.dtype} of shape {array.shape}"
                raise InputError(f"{self.path} is of another model: array {name} {has}; expected {expected}.")
            if finite and not np.isfinite(array).all():
                raise InputError(f"{self.path} holds numbers in {name} that are not finite; expected a trained model.")
            found.append(jax.numpy.asarray(array))
        return jax.tree_util.tree_unflatten(structure, found)


def read_arrays(path: Path, content: bytes | None = None) -> Arrays:
    """Read a safetensors file that `write_tree` wrote, from its path or from its content.

    Raises:
        InputError: the file is missing or damaged.
    """
    content = read(path) if content is None else content
    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        about = dict(json.loads(header["__metadata__"][HEADER]))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged, or of another kind; expected safetensors written by iqlearn.") from error
    if about.pop(DIGEST, None) != _digest(arrays, about):
        raise InputError(f"{path} is damaged, or of another version; expected safetensors as iqlearn wrote them.")
    return Arrays(path, arrays, about)


def _digest(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> str:
    kinds = sorted((name, str(array.dtype), array.shape) for name, array in arrays.items())
    digest = hashlib.sha256(json.dumps([about, kinds], sort_keys=True).encode())
    for name, *_ in kinds:
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value
