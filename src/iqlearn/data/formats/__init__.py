"""Readers of files of demonstrations. Each gives the arrays that `iqlearn.data.fields` describes, unchecked."""

from collections.abc import Callable
from pathlib import Path

from iqlearn.data.fields import Arrays
from iqlearn.data.formats import npz

READERS: dict[str, Callable[[Path], Arrays]] = {".npz": npz.read}
"""The reader of each kind of file, by its suffix. Another file is read as `.npz`."""


def read(path: Path) -> Arrays:
    """The arrays of a file of demonstrations.

    Raises:
        InputError: the file is missing, damaged or not of its format.
    """
    return READERS.get(path.suffix, npz.read)(path)
