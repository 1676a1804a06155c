"""Readers of demonstrations, one file a format. Each gives the arrays that `iqlearn.data.fields` describes, unchecked,
and what it assumed.

To add a format: a file with `matches(path)` and `read(path, reading)`, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from iqlearn.data.fields import Arrays
from iqlearn.data.formats import hdf5, huggingface, lerobot, minari, npz, tables
from iqlearn.data.formats.base import Found, Reading
from iqlearn.errors import InputError


class Format(NamedTuple):
    """A format of demonstrations."""

    name: str
    """What messages call it."""
    matches: Callable[[Path], bool]
    """Whether a file or folder is of the format, by its content where that is possible."""
    read: Callable[[Path, Reading], Found]


FORMATS = (
    Format("Minari dataset", minari.matches, minari.read),
    Format("LeRobot dataset", lerobot.matches, lerobot.read),
    Format("Hugging Face dataset", huggingface.matches, huggingface.read),
    Format("HDF5 file (robomimic, D4RL)", hdf5.matches, hdf5.read),
    Format("Parquet, Arrow or CSV table", tables.matches, tables.read),
    Format(".npz file", npz.matches, npz.read),
)
"""In the order in which they are tried."""
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
UNPICKLE = (
    "Pickles are never read, because reading one can run any code in it. Where you trust the file, load it with the "
    "tool that wrote it and save its arrays: numpy.savez('demos.npz', obs=…, act=…, next_obs=…, term=…, trunc=…, ep=…)."
)


def named(source: str) -> bool:
    """Whether a source is the name of a dataset rather than a path."""
    return source.startswith(minari.PREFIX)


def read(source: str | Path, reading: Reading) -> Found:
    """The arrays of demonstrations.

    Args:
        source: a file, the folder of a dataset, or `minari:ID`.
        reading: how it is read.

    Raises:
        InputError: the source is missing, damaged, too large or of no format, or a package that reads it is not
            installed.
    """
    if named(str(source)):
        return minari.read(str(source), reading)
    path = Path(source)
    if not path.exists():
        raise InputError(f"No demonstrations at {path}; expected a file or the folder of a dataset, check the path.")
    found = next((form for form in FORMATS if form.matches(path)), None)
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{path} is a pickle. {UNPICKLE}")
    if found is None:
        what = "a folder without a dataset" if path.is_dir() else "of no known format"
        raise InputError(f"{path} is {what}; expected one of: {', '.join(form.name for form in FORMATS)}.")
    if reading.columns and found.read is npz.read:
        raise InputError(f"--columns has no effect on {path}, because an .npz file names its fields; leave it out.")
    return found.read(path, reading)


def write(target: str | Path, arrays: Arrays) -> None:
    """Write the fields of the documented format, in the format that the target names.

    Raises:
        InputError: the format is unknown or cannot hold them, a package is not installed, or the file cannot be
            written.
    """
    if named(str(target)):
        return minari.write(str(target), arrays)
    path = Path(target)
    kind = path.suffix.lower()
    if kind not in (npz.SUFFIX, *tables.WRITTEN):
        wanted = ", ".join((npz.SUFFIX, *tables.WRITTEN))
        raise InputError(f"{path} has the suffix {kind!r}; expected one of {wanted}, or {minari.PREFIX}ID.")
    return npz.write(path, arrays) if kind == npz.SUFFIX else tables.write(path, arrays)


def files_in(folder: Path) -> list[Path]:
    """The files and datasets of a folder that is no dataset itself, in the order of their names."""
    if not folder.is_dir() or any(form.matches(folder) for form in FORMATS):
        return []
    return sorted(path for path in folder.iterdir() if any(form.matches(path) for form in FORMATS))
