"""The published part of a run folder: the files that others need, without absolute paths of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from iqlearn import files, interrupts
from iqlearn.errors import InputError
from iqlearn.hub.card import Part, card, check_names
from iqlearn.runs.folder import CURVES, JUDGED, LAST, METRICS, REPORT, RESULT, claim, runs_in, seeds_in, vacant
from iqlearn.runs.lock import locked
from iqlearn.runs.manifest import CONFIG, MANIFEST, MODEL, Manifest, content_of, enlist, listed, update
from iqlearn.runs.provenance import settings_of
from iqlearn.runs.run import Run

CARD, POLICY, VIDEO = "README.md", "policy.npz", "replay.mp4"
LISTED = (CONFIG, METRICS, RESULT, MODEL, LAST, CURVES)
"""Published files that the manifest of a run folder lists."""
BESIDE = tuple(dict.fromkeys((*JUDGED, VIDEO, REPORT)))
"""Files that are published if they exist."""
KEPT = tuple(dict.fromkeys((*LISTED, MANIFEST, CARD, POLICY, *JUDGED, VIDEO)))
"""Files that `pull` takes: no code, and no HTML page, whose scripts a browser would run."""
ROOTED = ((PurePosixPath, 2), (PureWindowsPath, 1))
"""Kinds of paths, each with the number of parts that a text must exceed to be taken for an absolute path."""
PLACE = re.compile(
    r"""(?:(?<=file://)|(?<![\w/.~-]))/(?!/)[^\s'",;:/]+/[^\s'",;]*|(?<!\w)[A-Za-z]:[\\/](?!/)[^\s'",;]*"""
)
"""Pattern of an absolute path within a text. It does not match the path of a web address."""


def write(folder: Path, out: Path, repo: str, licence: str | None = None, overwrite: bool = False) -> list[str]:
    """Write the files that `push` would publish to the folder `out`. Other arguments and errors are as in `compose`.

    Returns:
        The paths of the files within `out`.

    Raises:
        InputError: `out` is not empty (unless `overwrite`), or it is one of the folders that are published.
    """
    require_apart(folder, out)
    vacant(out, overwrite)
    with staging(out) as made:
        found = compose(folder, made, repo, licence)
        place(made, out, (*KEPT, REPORT), overwrite)
    return found


def compose(folder: Path, into: Path, repo: str, licence: str | None = None) -> list[str]:
    """Write the published files of a run folder, or of the folder of several seeds, to an empty folder.

    A file of `BESIDE` is left out, with a warning, if it contains the path of the home folder, of the current folder,
    of the run folder, or of the folder of the demonstrations or the reward.

    Args:
        folder: the run folder.
        into: the empty folder.
        repo: USER/NAME, which the card names.
        licence: identifier of the licence for the card.

    Returns:
        The paths of the files within `into`.

    Raises:
        InputError: the folder is missing or damaged, or `into` cannot be written; or as in `check_names`.
    """
    check_names(repo, licence)
    runs = {path: Run.load(path) for path in runs_in(folder)}
    places = _places(folder, runs)
    parts = []
    for path, run in runs.items():
        config = _config(path)
        parts.append(Part("" if path == folder else path.name, _shown(run, config), config))
    for part in parts:
        source, target = folder / part.name, into / part.name
        target.mkdir(exist_ok=True)
        contents = {name: content_of(source, name) for name in LISTED if (source / name).is_file()}
        update(target, contents | {CONFIG: files.json_bytes(part.config)})
        run, about = part.run, {"run": repo, "iqlearn": part.config["versions"]["iqlearn"]}
        about |= {"task": run.origin.title, "algorithm": run.settings.name, "seed": run.schedule.seed}
        run.policy.save(target / POLICY, about)
    seeds = tuple(part.name for part in parts if part.name)
    for name in dict.fromkeys(("", *seeds)):
        for file in (folder / name / beside for beside in BESIDE):
            if file.is_file():
                _copy(file, into / name / file.name, places)
        found = [file for file in (into / name).iterdir() if file.is_file() and file.name != MANIFEST]
        digests = {file.name: files.sha256(file) for file in found}
        enlist(into / name, Manifest(digests, seeds=() if name else seeds))
    pictures = [path for part in parts for path in (f"{part.name}/{CURVES}".strip("/"),) if (into / path).is_file()]
    text = card(repo, parts, pictures, (into / VIDEO).is_file(), licence)
    files.write(into / CARD, text.encode())
    return sorted(path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file())


def copy(source: Path, into: Path) -> None:
    """Copy the files `KEPT` of a folder, and of the folders of seeds in it."""
    for folder in (source, *seeds_in(source)):
        for file in (folder / name for name in KEPT):
            if file.is_file():
                target = into / file.relative_to(source)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, target)


def check(folder: Path) -> list[Run]:
    """Check the files `KEPT` of a folder against its manifests, and return its runs. No module is imported.

    Afterwards the manifests list only the files `LISTED`, as in any run folder, because `iqlearn reward` may replace
    the others.

    Raises:
        InputError: there is no run, or a file is missing or damaged.
    """
    runs = {path: Run.load(path) for path in runs_in(folder)}
    for path in dict.fromkeys((folder, *runs)):
        if (manifest := listed(path)) is None:
            content_of(path, MANIFEST)  # raises
            continue
        there = (name for name in LISTED if (path / name).is_file())
        for name in {*there, *(name for name in manifest.files if name in KEPT)}:
            content_of(path, name)
        own = {name: digest for name, digest in manifest.files.items() if name in LISTED}
        enlist(path, Manifest(own, seeds=manifest.seeds))
    return [*runs.values()]


def require_apart(folder: Path, out: Path) -> None:
    """Check that a run is not written over the one that it is made from.

    Raises:
        InputError: `folder`, or the folder of a seed in it, is also `out` or the folder of a seed in `out`.
    """
    read, replaced = ({path.resolve() for path in (place, *seeds_in(place))} for place in (folder, out))
    if read & replaced:
        raise InputError(
            f"{out} would replace {folder}, or a part of it; expected another folder, choose another --out."
        )


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Yield a new folder on the same disk as `out`. It is deleted afterwards.

    Raises:
        InputError: the folder cannot be made.
    """
    there = next(parent for parent in out.absolute().parents if parent.is_dir())
    made = files.partial_of(there / out.absolute().name)
    try:
        with files.writing(out):
            made.mkdir()
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def place(made: Path, out: Path, names: tuple[str, ...], overwrite: bool) -> None:
    """Move the files of these names from `made`, and from the folders of seeds in it, to the run folder `out`.

    Raises:
        InputError: `out` is not empty (unless `overwrite`), or it cannot be written.
        KeyboardInterrupt: a signal asked to stop, before anything was moved.
    """
    found = [path / name for name in names for path in (made, *seeds_in(made)) if (path / name).is_file()]
    interrupts.check()
    with locked(out), files.writing(out):
        claim(out, overwrite)
        for file in sorted(found, key=lambda file: file.name == MANIFEST):  # last: a folder without it is incomplete
            target = out / file.relative_to(made)
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)


def _config(folder: Path) -> dict[str, Any]:
    """Return the content of `config.json` without absolute paths of this machine.

    Only the last part of each path is kept. If a path is not that of the demonstrations or of a reward, a warning is
    issued.
    """
    config = files.read_json(folder / CONFIG, content_of(folder, CONFIG))
    origin = config["origin"]
    origin |= {name: _name_of(origin[name]) for name in ("path", "reward") if origin[name] is not None}
    if (environment := origin["environment"]) is not None:
        given = environment | ({"spec": json.loads(environment["spec"])} if "spec" in environment else {})
        kept = _without_places(given)
        if kept != given:
            told = f"{folder}: the environment's arguments name places of this machine"
            warnings.warn(
                f"{told}; the names alone are published, which are looked for in the current folder.", stacklevel=3
            )
            origin["environment"] = kept | ({"spec": json.dumps(kept["spec"])} if "spec" in kept else {})
    for part in ("settings", "origin"):
        kept = _without_places(config[part])
        kept |= {"columns": origin["columns"]} if part == "origin" else {}  # keys of an HDF5 file look like paths
        if kept != config[part]:
            told = f"{folder}: texts of the {part} name places of this machine"
            warnings.warn(f"{told}; the names alone are published.", stacklevel=3)
        config[part] = kept
    return config


def _shown(run: Run, config: dict[str, Any]) -> Run:
    """Return the run for its card, with the settings and the source of demonstrations of the published config."""
    origin = replace(run.origin, demos=config["origin"]["demos"])
    return replace(run, settings=settings_of(config["settings"]), origin=origin)


def _without_places(value: Any) -> Any:
    """Return a JSON value with each absolute path replaced by its last part."""
    if isinstance(value, dict):
        return {name: _without_places(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item) for item in value]
    if not isinstance(value, str):
        return value
    for home in _homes():
        value = re.sub(re.escape(home) + r"[\\/][^\s'\",;]*", lambda found: _name_of(found[0]), value)
    return PLACE.sub(lambda found: _name_of(found[0]), _name_of(value))


def _name_of(path: str) -> str:
    """Return the last part of an absolute path, POSIX or Windows. Return any other text unchanged (see `ROOTED`)."""
    absolute = any(kind(path).is_absolute() and len(kind(path).parts) > least for kind, least in ROOTED)
    return PureWindowsPath(path).name or path if absolute else path


def _homes() -> list[str]:
    """Return the home folder in a list, which is empty if the home folder is the root."""
    return [str(home) for home in (Path.home(),) if home != Path(home.anchor)]


def _places(folder: Path, runs: Mapping[Path, Run]) -> set[str]:
    """Return the folders that published files must not name: those of the runs, of their demonstrations and of their
    rewards, the current folder and the home folder."""
    origins = [run.origin for run in runs.values()]
    learnt_from = [Path(file).parent for it in origins for file in (it.path, it.reward) if file is not None]
    found = {kind for place in (folder, *runs, *learnt_from, Path()) for kind in (place.absolute(), place.resolve())}
    return {str(place) for place in found if place != Path(place.anchor)} | {*_homes()}


def _copy(file: Path, target: Path, places: set[str]) -> None:
    """Copy a file. If it contains one of these paths, issue a warning instead."""
    content = files.read(file)
    if any(place.encode() in content for place in places):
        warnings.warn(f"{file} names a folder of this machine; it is not published.", stacklevel=3)
        return
    files.write(target, content)
