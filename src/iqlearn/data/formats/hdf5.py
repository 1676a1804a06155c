"""HDF5 files in the layouts of robomimic, Minari and D4RL, which are distinguished by their groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.formats.base import Episode, Opened, Reading, Section, only, opened_as, parsing, selected
from iqlearn.errors import InputError, missing

MAGIC = b"\x89HDF\r\n\x1a\n"
ROBOMIMIC_ENDS = "robomimic's `dones` mark success, after which an episode may go on; a time limit is assumed"
D4RL_ENDS = "no field says where time limits are (timeouts); episodes end at true ends (terminals) and at the last row"


def matches(path: Path) -> bool:
    """Return whether `path` is an HDF5 file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """Open the episodes of an HDF5 file.

    Raises:
        InputError: h5py is not installed, the file is damaged, or its groups match none of the layouts.
    """
    with file_at(path) as file:
        check_links(path, file)
        keys = {name: set(file[name]) if hasattr(file[name], "keys") else None for name in file}
        if any(name.startswith("demo_") for name in keys.get("data") or ()):
            yield robomimic(path, file, reading)
        elif "episode_0" in keys and {"observations", "actions"} <= (keys["episode_0"] or set()):
            yield minari(path, file, reading)
        elif {"observations", "actions"} <= keys.keys():
            if reading.columns:
                raise InputError(f"--columns has no effect on {path}, whose fields have names; leave it out.")
            yield d4rl(path, file)
        else:
            has = ", ".join(sorted(keys)[:20]) or "nothing"
            raise InputError(
                f"{path} holds {has}; expected data/demo_N (robomimic), episode_N (Minari), or observations and "
                "actions (D4RL)."
            )


@contextmanager
def file_at(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading. Every error of h5py becomes an `InputError` of one sentence.

    Raises:
        InputError: h5py is not installed, or an error occurred.
    """
    try:
        import h5py
    except ImportError as error:
        raise missing("h5py, which reads HDF5 files,", "hdf5") from error
    with parsing(path, "HDF5 file"), h5py.File(path, "r") as file:
        yield file


def check_links(path: Path, group: Any) -> None:
    """Refuse external links and data stored in other files, which could name any file on this machine.

    Raises:
        InputError: there is such a link or such data.
    """
    import h5py

    for name in group:
        member = group.get(name, getlink=True)
        inner = None if isinstance(member, h5py.ExternalLink) else group[name]
        if inner is None or getattr(inner, "external", None):
            raise InputError(f"{path}: {name!r} lies in another file; expected all data in this one.")
        if isinstance(inner, h5py.Group):
            check_links(path, inner)


def robomimic(path: Path, file: Any, reading: Reading) -> Opened:
    """Return the episodes of robomimic's layout: `data/demo_N` with `obs/KEY`, `actions`, and optionally
    `next_obs/KEY`, `rewards` and `dones`.

    The column map can name keys of an observation, `obs` = object, robot0_eef_pos, … (by default all keys), and one of
    the file's filter keys, `ep` = mask/train (by default all episodes are read).
    """
    only(reading, str(path), obs="its keys", ep="a filter key, mask/NAME")
    names, assumed = chosen(path, file, reading)
    groups = [file["data"][name] for name in names]
    episodes = []
    for group in groups:
        for name in sorted({"obs", "actions"} - set(group))[:1]:
            raise InputError(f"{path}: {group.name} lacks {name!r}; it has {', '.join(sorted(group))}.")
        seen, after = (
            selected(f"{path}: {group.name}/{name}", tree(group[name]), reading) if name in group else None
            for name in ("obs", "next_obs")
        )
        steps = group["actions"].shape[0]
        episodes.append(Episode(steps, seen, group["actions"], after, group.get("rewards"), trunc=True))
    done = any("dones" in group and np.any(group["dones"]) for group in groups)
    return opened_as(str(path), episodes, [*assumed, *([ROBOMIMIC_ENDS] if done else ())])


def chosen(path: Path, file: Any, reading: Reading) -> tuple[list[str], list[str]]:
    """Return the names of the episodes to read, in the order of their numbers, and remarks.

    The episodes are those of the filter key in the column map, else all. In the latter case a remark lists the keys.

    Raises:
        InputError: the filter key does not exist, or it names an episode that the file lacks.
    """
    there = numbered(file["data"], "demo_")
    masks = {f"mask/{name}": names for name, names in file.get("mask", {}).items()}
    wanted = next((names for field, names in reading.columns if field == "ep"), None)
    if wanted is None:
        counts = ", ".join(f"{key} ({len(names)})" for key, names in masks.items())
        told = f"all episodes are read; filter keys choose some of them, --columns ep=KEY: {counts}"
        return there, [told] if masks else []
    key, *more = wanted
    if more or key not in masks:
        has = ", ".join(masks) or "none"
        raise InputError(f"{path} has no filter key {','.join(wanted)!r} (--columns ep=…); it has {has}.")
    names = masks[key].asstr()[:].tolist()
    for name in sorted(set(names) - set(there))[:1]:
        raise InputError(f"{path}: filter key {key!r} names {name!r}; expected episodes of the file.")
    return [name for name in there if name in set(names)], []


def minari(path: Path, file: Any, reading: Reading) -> Opened:
    """Return the episodes of a Minari dataset's file: `episode_N` with T + 1 `observations`, T `actions`, and ends."""
    only(reading, str(path), obs="keys of a dictionary")
    episodes = []
    for name in numbered(file, "episode_"):
        group = file[name]
        ends = [bool(np.any(group[end][-1:])) if end in group else False for end in ("terminations", "truncations")]
        steps = group["actions"].shape[0]
        seen = selected(f"{path}: {group.name}/observations", tree(group["observations"]), reading)
        episodes.append(Episode(steps, seen, group["actions"], None, group.get("rewards"), *ends))
    return opened_as(str(path), episodes)


def d4rl(path: Path, file: Any) -> Opened:
    """Return the episodes of D4RL's layout: `observations`, `actions`, `terminals` and `timeouts` of all steps, one
    after another, and optionally `rewards` and `next_observations`."""
    steps = file["actions"].shape[0]
    arrays = [file["observations"], *(file[name] for name in ("next_observations", "rewards") if name in file)]
    ends: dict[str, np.ndarray] = {}
    for name in ("terminals", "timeouts"):
        ends[name] = np.asarray(file[name][:], bool).reshape(-1) if name in file else np.zeros(steps, bool)
        arrays.append(ends[name])
    for array in arrays:
        if array.shape[0] != steps:
            raise InputError(
                f"{path} has arrays of {array.shape[0]} and of {steps} rows; expected one row for each step."
            )
    assumed = [] if "timeouts" in file else [D4RL_ENDS]
    last = np.flatnonzero((ends["terminals"] | ends["timeouts"]) | (np.arange(steps) == steps - 1))
    first = np.append(0, last[:-1] + 1)

    def section(name: str, start: int, stop: int) -> Any:
        return Section(file[name], start, stop) if name in file else None

    episodes = [
        Episode(
            stop - start,
            section("observations", start, stop),
            section("actions", start, stop),
            section("next_observations", start, stop),
            section("rewards", start, stop),
            term=bool(ends["terminals"][stop - 1]),
            trunc=bool(ends["timeouts"][stop - 1]),
        )
        for start, stop in zip(first.tolist(), (last + 1).tolist(), strict=True)
    ]
    return opened_as(str(path), episodes, assumed)


def numbered(group: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the members named `prefix` plus a number, in the order of their numbers."""
    found = [(int(name.removeprefix(prefix)), name) for name in group if name.removeprefix(prefix).isdecimal()]
    return [name for _, name in sorted(found)]


def tree(group: Any) -> Any:
    """Return a group as a dictionary of datasets, a dataset as itself. Parts of a Minari tuple are named 0, 1 etc."""
    if not hasattr(group, "keys"):
        return group
    return {re.sub(r"^_index_(?=\d+$)", "", name): tree(group[name]) for name in sorted(group)}
