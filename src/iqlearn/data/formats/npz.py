"""The `.npz` format: one plain array per field. Sizes are checked before unpacking, and nothing is unpickled."""

import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from iqlearn.data import fields
from iqlearn.data.fields import Arrays
from iqlearn.data.formats.base import GIB, Found, Opened, Reading
from iqlearn.errors import InputError
from iqlearn.files import replacing

PLAIN = Reading()
SUFFIX, MAGIC = ".npz", b"PK\x03\x04"
ROOM, RATIO = 0.25, 100
"""An archive may unpack to `ROOM` GiB, or to `RATIO` times its own size where that is more."""
MEMBERS = 1_000
"""Largest number of arrays in an archive."""
HEADER = 2**17
"""Number of bytes at the beginning of an array that are read to parse its header."""
DIRECTORY = 2**20
"""Largest number of bytes in one read of the file. `zipfile` reads the directory of an archive in one read."""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""The functions that read the header of an array, by its version. Plain arrays have no other versions."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compression methods of `numpy.savez` and `numpy.savez_compressed`. Others unpack whole blocks of any size."""


def matches(path: Path) -> bool:
    """Return whether `path` is a zip archive or has the suffix `.npz`. Damage is reported when the file is read."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == SUFFIX or file.read(len(MAGIC)) == MAGIC


def read(path: Path, reading: Reading = PLAIN) -> Arrays:
    """Read the fields of an `.npz` file. Arguments and errors are those of `opened`."""
    with opened(path, reading) as file:
        return file.read(1).arrays


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """Open the fields of an `.npz` file, unchecked but without Python objects. Other arrays are not read.

    Args:
        path: the file.
        reading: the size in GiB to which it may unpack; by default 0.25, or 100 times its own size where that is more.

    Raises:
        InputError: the file is not an `.npz` archive, unpacks to more, or holds something other than plain arrays.
    """
    with ExitStack() as stack:
        with parsing(path, "archive"):
            archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(Guarded(path))))
        members = archive.infolist()
        found = {member.filename.removesuffix(".npy"): member for member in members}
        if len(members) > MEMBERS or len(found) < len(members):
            what = f"{len(members)} arrays" if len(members) > MEMBERS else "two arrays of one name"
            raise InputError(f"{path} holds {what}; expected at most {MEMBERS}, one for each field.")
        fields.require(found, str(path))
        read = {name: member for name, member in found.items() if fields.known(name)}
        size = float(sum(member.file_size for member in read.values()))
        limit = max(ROOM, RATIO * path.stat().st_size / GIB) if reading.max_gib is None else reading.max_gib
        if size / GIB > limit:
            raise InputError(
                f"{path} unpacks to {size / GIB:.3g} GiB; expected at most {limit:.3g}, allow more with "
                "--max-demos-gib (in Python max_gib=...) if you trust the file."
            )

        def whole(every: int) -> Found:
            del every
            return Found({name: array(path, name, archive, member) for name, member in read.items()})

        yield Opened(size, whole, thins=False)


def array(path: Path, name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array of an archive. Its header is checked first, for its size and for Python objects.

    Raises:
        InputError: the member is damaged, or not a plain array.
    """
    with parsing(path, name):
        if member.compress_type not in METHODS:
            raise ValueError("packed by a method that NumPy does not use")
        with archive.open(member) as file:
            head = io.BytesIO(file.read(HEADER))
        shape, _, dtype = HEADERS[npy.read_magic(head)](head)
        if dtype.kind in "US" and dtype.itemsize > fields.LONGEST:
            length = dtype.itemsize // (4 if dtype.kind == "U" else 1)
            told = f"{path}: field {name!r} is a text of {length:,} characters"
            raise InputError(f"{told}; expected at most {fields.LONGEST // 4:,}.")
        if dtype.hasobject or dtype.itemsize > fields.LONGEST:
            raise InputError(
                f"{path}: field {name!r} is no plain array (Python objects are never unpickled); "
                "expected numbers, save it with a numeric dtype."
            )
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != member.file_size - head.tell():
            raise ValueError("the array is of another size than its header says")
        with archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)


@contextmanager
def parsing(path: Path, name: str) -> Iterator[None]:
    """Turn every error of `zipfile` and NumPy into an `InputError` of one sentence. They raise about ten types.

    Raises:
        InputError: an error occurred.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns of headers that are nearly valid
            yield
    except InputError:
        raise
    except Exception as error:
        short = "takes more memory than there is, " if isinstance(error, MemoryError) else ""
        raise InputError(
            f"{path} {short}is damaged ({name}), or no .npz archive; expected one written by numpy.savez."
        ) from error


class Guarded(io.FileIO):
    """A file that refuses reads of more than `DIRECTORY` bytes, so that a forged directory cannot exhaust memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > DIRECTORY:
            raise zipfile.BadZipFile("more than a directory can have")
        return super().read(size)


def write(path: Path, arrays: Arrays) -> None:
    """Write an `.npz` file through a temporary file beside it, so that a stop leaves the old or the new file intact.

    Raises:
        InputError: the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
