"""The `.npz` format: one plain array a field. Nothing is ever unpickled."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from iqlearn.data import fields
from iqlearn.data.fields import Arrays
from iqlearn.errors import InputError
from iqlearn.files import replacing

DAMAGE = (zipfile.BadZipFile, OSError, EOFError, zlib.error, MemoryError, OverflowError, RuntimeError)
"""What `zipfile` and `numpy.load` raise where bytes are wrong."""


def read(path: Path) -> Arrays:
    """The fields of an `.npz` file, unchecked but free of objects. Other arrays are not read.

    Raises:
        InputError: the file is missing, not an `.npz` archive, or holds something other than plain arrays.
    """
    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"No demonstrations at {path}"
        raise InputError(f"{what}: expected an .npz file; check the path.")
    arrays: Arrays = {}
    name = "archive"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
        fields.require(names, str(path))
        with np.load(path, allow_pickle=False) as archive:
            for name in filter(fields.known, names):
                arrays[name] = archive[name]
    except (*DAMAGE, SyntaxError, tokenize.TokenError) as error:
        raise InputError(
            f"{path} is damaged ({name}), or no .npz archive; expected one written by numpy.savez."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: field {name!r} is no plain array (Python objects are never unpickled); "
            "expected numbers, save it with a numeric dtype."
        ) from error
    return arrays


def write(path: Path, arrays: Arrays) -> None:
    """Write an `.npz` file through a temporary one beside it, so that a stop leaves the old file or the new.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
