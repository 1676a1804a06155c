"""Run folders: their files, and functions to claim and inspect a folder. Files are written whole, nothing is pickled.

config.json            every setting, seed and version, SHA-256 of demonstrations or reward
metrics.csv            one row for each evaluation
result.json            returns of the final policy, counts and times
model.safetensors      policy and critics of the evaluation with the smallest occupancy distance
last.safetensors       the model of the last evaluation
checkpoint.safetensors the state of training and all of the above, to resume from
checkpoint.previous.safetensors   the checkpoint before it
curves.png             the metrics as curves
manifest.json          SHA-256 of every file above; for several seeds, the names of their folders
.lock                  locked by the process that trains
reward.json, reward.png, reward-KIND.safetensors   written by `iqlearn reward`
refit-KIND.json, .png, .safetensors                the same with --refit
report.html            written by `iqlearn report`

Resuming reads only a checkpoint, and writes the files listed above it again.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from iqlearn.errors import InputError
from iqlearn.files import PARTIAL, read, read_json
from iqlearn.rewards.base import DISTILLED, REFIT, REWARD
from iqlearn.runs.lock import LOCK
from iqlearn.runs.manifest import CHECKPOINT, CONFIG, MANIFEST, MODEL, PREVIOUS, Manifest, enlist, listed

METRICS, RESULT, CURVES, LAST = "metrics.csv", "result.json", "curves.png", "last.safetensors"
REPORT = "report.html"
JUDGED = tuple(
    stem.format(kind) + suffix
    for stem in (REWARD, DISTILLED, REFIT)
    for kind in ("state", "state-action")
    for suffix in (".json", ".png", ".safetensors")
)
"""The files that `iqlearn reward` writes."""
OWN = (MANIFEST, CONFIG, METRICS, RESULT, MODEL, LAST, CHECKPOINT, PREVIOUS, CURVES, REPORT, *JUDGED)
"""The files of a run."""


def claim(folder: Path, overwrite: bool, seeds: tuple[str, ...] = ()) -> None:
    """Prepare a locked folder for a run: delete the files of old runs in it, including those of several seeds.

    Args:
        folder: the folder.
        overwrite: also delete runs that have learnt something.
        seeds: names of the seed folders that it will hold; empty for a single run.

    Raises:
        InputError: as `vacant`, or the folder cannot be written.
    """
    vacant(folder, overwrite)
    try:
        for old in (part / name for part in (folder, *seeds_in(folder)) for name in OWN):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); expected a folder for the run, choose another --out."
        ) from error
    if seeds:
        enlist(folder, Manifest(seeds=seeds))


def vacant(folder: Path, overwrite: bool) -> None:
    """Check that no run in the folder would be lost. Nothing is changed.

    Raises:
        InputError: the folder is a file, or (unless `overwrite`) it holds a run that has learnt something, or files
            that are not of a run.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder for the run, choose another --out.")
    if overwrite or not folder.is_dir() or _blank(folder):
        return
    raise InputError(
        f"{folder} exists and is not empty; {f'go on with iqlearn resume {folder}, ' if unfinished(folder) else ''}"
        "choose another --out, or add --overwrite (in Python overwrite=True) to replace the run in it."
    )


def _blank(folder: Path) -> bool:
    """Whether the folder is empty, or holds only a run that has learnt nothing yet."""
    found = [path for path in folder.iterdir() if path.suffix != PARTIAL]
    own = (LOCK, MANIFEST, CONFIG)
    return not found or (
        (folder / LOCK).is_file()
        and all(
            path.name in own or (path.name.startswith("seed-") and path.is_dir() and _blank(path)) for path in found
        )
    )


def fresh(parent: Path, stem: str) -> Path:
    """Return the first path in `parent` that does not exist yet: stem, stem-2, stem-3, …"""
    names = (stem if i == 1 else f"{stem}-{i}" for i in range(1, 1_000_000))
    return next(parent / name for name in names if not (parent / name).exists())


def begun(folder: Path) -> bool:
    """Whether there is a run in the folder, even a damaged one."""
    return any((folder / name).is_file() for name in (CONFIG, CHECKPOINT, PREVIOUS))


def seeds_in(folder: Path) -> list[Path]:
    """Return the run folders of several seeds in a folder, in the order of the seeds."""
    return sorted(filter(begun, folder.glob("seed-*")), key=lambda path: (len(path.name), path.name))


def runs_in(folder: Path) -> list[Path]:
    """Return the folder itself if it holds a run, else the run folders of several seeds in it.

    Raises:
        InputError: there is no run, or the run of a listed seed is missing.
    """
    inside, manifest = seeds_in(folder), listed(folder)
    seeds = inside if manifest is None else [folder / name for name in manifest.seeds]
    if begun(folder) or not seeds:
        if not begun(folder):
            read(folder / CONFIG)
        return [folder]
    if manifest is None and (folder / MANIFEST).is_file():
        warnings.warn(f"{folder / MANIFEST} is damaged; going on with the {len(seeds)} seeds there.", stacklevel=2)
    for lost in sorted({*seeds} - {*inside}):
        raise InputError(f"No run in {lost}; expected one of each seed that {folder / MANIFEST} lists.")
    return seeds


def unfinished(folder: Path) -> bool:
    """Whether a run in the folder, or one of several seeds, can be resumed: it has a checkpoint and has not ended.

    A run has ended if it was completed or diverged.
    """
    for part in (folder, *seeds_in(folder)):
        with suppress(InputError):
            status = read_json(part / RESULT).get("status")
            if status not in ("completed", "diverged") and (part / CHECKPOINT).is_file():
                return True
    return False
