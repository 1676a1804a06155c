"""Run folders: free to be written or not, emptied of what old runs left, with the runs of several seeds inside."""

import tempfile
from pathlib import Path

from iqlearn.errors import InputError
from iqlearn.records import (
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    DISTILLED,
    METRICS,
    MODEL,
    REFIT,
    RESULT,
    REWARD,
    read_json,
)


def claim(folder: Path, overwrite: bool) -> None:
    """Make the folder for a run; what old ones wrote goes, those of several seeds too, other files stay.

    Raises:
        InputError: it exists and is not empty (unless `overwrite`), it is no folder, or it cannot be written.
    """
    vacant(folder, overwrite)
    stems = (REWARD, *(stem.format(kind) for stem in (DISTILLED, REFIT) for kind in ("state", "state-action")))
    judged = (stem + suffix for stem in stems for suffix in (".json", ".png", ".safetensors"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = (CONFIG, METRICS, RESULT, MODEL, BEST, CHECKPOINT, CURVES, *judged)
        for old in (folder / part / name for part in (".", *seeds_in(folder)) for name in names):
            old.unlink(missing_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); expected a folder for the run, choose another --out."
        ) from error


def make(folder: Path) -> None:
    """Make a folder for what is written beside a run.

    Raises:
        InputError: there is a file of that name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}); expected a folder.") from error


def vacant(folder: Path, overwrite: bool) -> None:
    """Make sure that no run would be lost there; nothing is touched.

    Raises:
        InputError: the folder exists and is not empty (unless `overwrite`), or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the run, choose another --out.")
    if overwrite or not folder.is_dir() or not any(folder.iterdir()):
        return
    raise InputError(
        f"{folder} exists and is not empty; {f'go on with iqlearn resume {folder}, ' if stopped(folder) else ''}"
        "choose another --out, or add --overwrite (in Python overwrite=True) to replace the run in it."
    )


def seeds_in(folder: Path) -> list[str]:
    """The folders in there that `train --seeds` made, in the order of their seeds."""
    found = [path.parent.name for path in folder.glob(f"seed-*/{CONFIG}")]
    return sorted(found, key=lambda name: (len(name), name))


def stopped(folder: Path) -> bool:
    """Whether there is a run, or one of several seeds, that did not come to its end."""
    for part in (".", *seeds_in(folder)):
        try:
            if read_json(folder / part / RESULT).get("status") in ("running", "interrupted"):
                return True
        except InputError:
            continue
    return False
