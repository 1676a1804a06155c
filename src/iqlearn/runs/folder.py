"""Run folders: their files, and how a folder is claimed, written and read. Files are whole, nothing is pickled.

config.json            every setting, seed and version, SHA-256 of demonstrations or reward
metrics.csv            one row for each evaluation
result.json            returns of the final policy, counts and times
model.safetensors      the model that acts and judges
best.safetensors       the same, at the evaluation with the least occupancy distance
checkpoint.safetensors the whole state of training, to resume from
curves.png             the metrics as pictures
reward.json, reward.png, reward-KIND.safetensors   written by `iqlearn reward`
refit-KIND.json, .png, .safetensors                the same with --refit
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from iqlearn.errors import InputError
from iqlearn.files import read_json
from iqlearn.rewards.base import DISTILLED, REFIT, REWARD

CONFIG, METRICS, RESULT, CURVES = "config.json", "metrics.csv", "result.json", "curves.png"
MODEL, BEST, CHECKPOINT = "model.safetensors", "best.safetensors", "checkpoint.safetensors"
JUDGED = tuple(
    stem.format(kind) + suffix
    for stem in (REWARD, DISTILLED, REFIT)
    for kind in ("state", "state-action")
    for suffix in (".json", ".png", ".safetensors")
)
"""What `iqlearn reward` writes."""


def claim(folder: Path, overwrite: bool) -> None:
    """Make the folder for a run and delete the files of old runs in it, those of several seeds too.

    Raises:
        InputError: it exists and is not empty (unless `overwrite`), it is a file, or it cannot be written.
    """
    vacant(folder, overwrite)
    names = (CONFIG, METRICS, RESULT, MODEL, BEST, CHECKPOINT, CURVES, *JUDGED)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (part / name for part in (folder, *seeds_in(folder)) for name in names):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); expected a folder for the run, choose another --out."
        ) from error


def vacant(folder: Path, overwrite: bool) -> None:
    """Make sure that no run would be lost in the folder. Nothing is touched.

    Raises:
        InputError: the folder exists and is not empty (unless `overwrite`), or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the run, choose another --out.")
    if overwrite or not folder.is_dir() or not any(folder.iterdir()):
        return
    raise InputError(
        f"{folder} exists and is not empty; {f'go on with iqlearn resume {folder}, ' if unfinished(folder) else ''}"
        "choose another --out, or add --overwrite (in Python overwrite=True) to replace the run in it."
    )


def fresh(parent: Path, stem: str) -> Path:
    """A folder that does not exist yet: stem, stem-2, stem-3, …"""
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, 1_000_000))
    return next(parent / name for name in names if not (parent / name).exists())


def seeds_in(folder: Path) -> list[Path]:
    """The run folders of several seeds in a folder, in the order of the seeds."""
    return sorted((path.parent for path in folder.glob(f"seed-*/{CONFIG}")), key=lambda p: (len(p.name), p.name))


def runs_in(folder: Path) -> list[Path]:
    """The folder itself, or the run folders of several seeds in it.

    Raises:
        InputError: there is no run.
    """
    if not (folder / CONFIG).is_file() and (inside := seeds_in(folder)):
        return inside
    read_json(folder / CONFIG)
    return [folder]


def unfinished(folder: Path) -> bool:
    """Whether a run in the folder, or one of several seeds, was not completed."""
    for part in (folder, *seeds_in(folder)):
        with suppress(InputError):
            status = read_json(part / RESULT).get("status")
            if status not in ("completed", "diverged") and (part / CHECKPOINT).is_file():
                return True
    return False
