"""Readers of demonstrations, one module per format. Each returns the arrays that `iqlearn.data.fields` describes,
unchecked, and its assumptions.

To add a format, write a module with `matches(path)` and `opened(path, reading)`, and add one line to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from iqlearn.data.fields import Arrays
from iqlearn.data.formats import hdf5, huggingface, lerobot, minari, npz, tables
from iqlearn.data.formats.base import Opened, Reading
from iqlearn.errors import InputError
from iqlearn.files import PARTIAL


class Format(NamedTuple):
    """A format of demonstrations."""

    name: str
    """Its name in messages."""
    matches: Callable[[Path], bool]
    """Whether a file or folder has the format, judged by its content where possible."""
    opened: Callable[[Path, Reading], AbstractContextManager[Opened]]
    mapped: bool = True
    """Whether a column map has an effect."""


FORMATS = (
    Format("Minari dataset", minari.matches, minari.opened),
    Format("LeRobot dataset", lerobot.matches, lerobot.opened),
    Format("Hugging Face dataset", huggingface.matches, huggingface.opened),
    Format("HDF5 file (robomimic, D4RL)", hdf5.matches, hdf5.opened),
    Format("Parquet, Arrow or CSV table", tables.matches, tables.opened),
    Format(".npz file", npz.matches, npz.opened, mapped=False),
)
"""The formats, in the order in which they are tried."""
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth")
UNPICKLE = (
    "Pickles are never read, because reading one can run any code in it. Where you trust the file, load it with the "
    "tool that wrote it and save its arrays: numpy.savez('demos.npz', obs=…, act=…, next_obs=…, term=…, trunc=…, ep=…)."
)


def named(source: str) -> bool:
    """Return whether a source is the name of a dataset rather than a path."""
    return source.startswith(minari.PREFIX)


@contextmanager
def opened(source: str | Path, reading: Reading) -> Iterator[Opened]:
    """Open a source of demonstrations.

    Args:
        source: a file, the folder of a dataset, or `minari:ID`.
        reading: column map and size limit.

    Raises:
        InputError: the source is missing, damaged, too large or of no known format, the column map has no effect on it,
            or a package that reads it is not installed.
    """
    if named(str(source)):
        with minari.opened(str(source), reading) as it:
            yield it
        return
    path = Path(source)
    if not path.exists():
        raise InputError(f"No demonstrations at {path}; expected a file or the folder of a dataset, check the path.")
    found = next((form for form in FORMATS if form.matches(path)), None)
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{path} is a pickle. {UNPICKLE}")
    if found is None:
        what = "a folder without a dataset" if path.is_dir() else "of no known format"
        raise InputError(f"{path} is {what}; expected one of: {', '.join(form.name for form in FORMATS)}.")
    if reading.columns and not found.mapped:
        raise InputError(f"--columns has no effect on {path}, whose fields have names; leave it out.")
    with found.opened(path, reading) as it:
        yield it


def size(source: str | Path, reading: Reading) -> float:
    """Return the number of bytes that the arrays of a source take.

    Raises:
        InputError: as for `opened`.
    """
    with opened(source, reading) as it:
        return it.size


def write(target: str | Path, arrays: Arrays) -> None:
    """Write the fields of the documented format to a target, in the format that its name gives.

    Raises:
        InputError: the format is unknown or cannot hold them, a package is not installed, or the file cannot be
            written.
    """
    check_target(target)
    if named(str(target)):
        return minari.write(str(target), arrays)
    path = Path(target)
    return npz.write(path, arrays) if path.suffix.lower() == npz.SUFFIX else tables.write(path, arrays)


def files_in(folder: Path) -> list[Path]:
    """Return the files and datasets in a folder, in the order of their names. A folder that is a dataset has none."""
    if not folder.is_dir() or any(form.matches(folder) for form in FORMATS):
        return []
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and PARTIAL not in path.name]
    return [path for path in shown if of_data(path)]


def of_data(path: Path) -> bool:
    """Return whether a member of a folder is a dataset. Zip archives without the suffix `.npz` are not."""
    found = next((form for form in FORMATS if form.matches(path)), None)
    return found is not None and (found.opened is not npz.opened or path.suffix.lower() == npz.SUFFIX)


def mapped(path: Path) -> bool:
    """Return whether a column map has an effect on a file or dataset."""
    return any(form.mapped for form in FORMATS if form.matches(path))


def check_target(target: str | Path) -> None:
    """Check that a target can be written, as far as its name shows.

    Raises:
        InputError: its format is unknown, a package is not installed, its Minari id is invalid, or the Minari dataset
            exists already.
    """
    if named(str(target)):
        return minari.check_target(str(target))
    kind = Path(target).suffix.lower()
    if kind not in (npz.SUFFIX, *tables.WRITTEN):
        wanted = ", ".join((npz.SUFFIX, *tables.WRITTEN))
        raise InputError(f"{target} has the suffix {kind!r}; expected one of {wanted}, or {minari.PREFIX}ID.")
