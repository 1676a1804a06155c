"""Readers of files of demonstrations. Each gives the arrays that `iqlearn.data.fields` describes, unchecked."""

from collections.abc import Callable
from pathlib import Path

from iqlearn.data.fields import Arrays
from iqlearn.data.formats import npz

READERS: dict[str, Callable[[Path, float | None], Arrays]] = {".npz": npz.read}
"""The reader of each kind of file, by its suffix. Another file is read as `.npz`."""


def read(path: Path, max_gib: float | None = None) -> Arrays:
    """The arrays of a file of demonstrations, which may unpack to `max_gib` GiB.

    Raises:
        InputError: the file is missing, damaged, too large or not of its format.
    """
    return READERS.get(path.suffix, npz.read)(path, max_gib)
