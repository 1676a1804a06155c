"""LeRobot datasets, versions 2 and 3: Parquet files with all episodes, described in `meta/info.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from iqlearn.data.formats import tables, videos
from iqlearn.data.formats.base import Opened, Reading, parsing
from iqlearn.data.formats.columns import OBSERVATION, Pictures, Table, episodes_of, numbers
from iqlearn.errors import InputError, missing

INFO = "meta/info.json"
EPISODE, STEP, TIME, REWARD, ACTION = "episode_index", "frame_index", "timestamp", "next.reward", "action"


def matches(path: Path) -> bool:
    """Return whether a folder holds a LeRobot dataset."""
    return (path / INFO).is_file()


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """Open the episodes of a dataset. An observation consists of `observation.state` and all other numeric vectors
    `observation.*`. The column map can choose other columns, including images and videos.

    Raises:
        InputError: a package is not installed, or the dataset is damaged.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise missing("pyarrow, which reads LeRobot datasets,", "lerobot") from error
    with parsing(path / INFO, "description of a LeRobot dataset"):
        info = json.loads((path / INFO).read_text(encoding="utf-8"))
        features: dict[str, Any] = info["features"]
        given = dict(reading.columns)
        columns = {"ep": (EPISODE,)} | chosen(path, features, given) | given
    files = sorted((path / "data").rglob("*.parquet"), key=in_order)
    if not files:
        raise InputError(f"{path / 'data'} holds no Parquet file; expected those of a LeRobot dataset.")
    with parsing(path, "LeRobot dataset"):
        seen = {name: f for name, f in features.items() if f.get("dtype") in ("video", "image")}
        size = sum(math.prod(seen[name]["shape"]) for name in columns["obs"] if name in seen)
        table = tables.parquet_of(str(path), files, max(1, min(tables.ROWS, tables.BYTES // max(1, size))))
        where = rows_of(table)
        films = [name for name in columns["obs"] if name in seen and seen[name]["dtype"] == "video"]
        table = table._replace(pictures={name: film(path, info, name, where) for name in films})
        told = [] if "obs" in given else left_out([*seen], columns["obs"])
        yield episodes_of(table, replace(reading, columns=tuple(columns.items())), told)


def left_out(images: list[str], obs: tuple[str, ...]) -> list[str]:
    """Return the remarks on images that are left out of observations."""
    if not images:
        return []
    more = f"take them with --columns obs={','.join([*obs, *images])}"
    lacking = [str(missing("PyAV, which reads videos,", "lerobot"))] if find_spec("av") is None else []
    return [f"images are left out ({', '.join(images)}); {more}", *lacking]


class Rows(NamedTuple):
    """The episode of each row of a dataset, and the time of the row in its episode, in seconds."""

    episode: Int[np.ndarray, " n"]
    time: Float[np.ndarray, " n"] | None


def rows_of(table: Table) -> Rows:
    """Return the episode and the time of each row.

    Raises:
        InputError: the frames of an episode are not in order of time.
    """
    names = [name for name in (EPISODE, STEP, TIME) if name in table.names]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for _, batch in table.numbered(names):
        for name in names:
            parts[name].append(numbers(table.source, batch.column(name), name))
    columns = {name: np.concatenate(each or [np.zeros(0)]) for name, each in parts.items()}
    ep = columns[EPISODE]
    step = columns.get(STEP, np.arange(len(ep)))
    for row in np.flatnonzero((np.diff(ep) == 0) & (np.diff(step) <= 0))[:1]:
        told = f"{table.source}: row {row + 1} is frame {step[row + 1]} of its episode, after frame {step[row]}"
        raise InputError(f"{told}; expected the frames of an episode in order of time.")
    return Rows(ep, columns.get(TIME))


def film(path: Path, info: dict[str, Any], name: str, where: Rows) -> Pictures:
    """Return a function that reads the frames of a video feature. In version 3 a file holds several episodes, and the
    dataset states when each begins. In version 2 each episode has its own file.

    Raises:
        InputError: PyAV is not installed, the dataset has no times of the frames, or a row has no frame.
    """
    from pyarrow import parquet

    fps = float(info["fps"])
    numbers, episode = np.unique(where.episode, return_inverse=True)
    begin = np.zeros(len(numbers))
    if where.time is None or Path(name).name != name:
        raise InputError(f"{path} does not say when the frames of {name!r} are; expected a column {TIME!r}.")
    about = sorted((path / "meta" / "episodes").rglob("*.parquet"), key=in_order)
    if about:
        keys = [f"videos/{name}/{key}" for key in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
        table = [parquet.read_table(file, columns=[EPISODE, *keys]).to_pydict() for file in about]
        told = {row[0]: row[1:] for each in table for row in zip(*(each[key] for key in (EPISODE, *keys)), strict=True)}
        places = [told[number] for number in numbers.tolist()]
        begin, end = np.array([times for _, _, *times in places]).T
        for row in np.flatnonzero(begin[episode] + where.time > end[episode] - 0.25 / fps)[:1]:
            told = f"{path}: row {row} is at {where.time[row]:g} s of its episode, whose frames of {name!r} last"
            raise InputError(f"{told} {(end - begin)[episode[row]]:g} s; expected a frame for each row.")
        files = [path / "videos" / name / f"chunk-{c:03d}" / f"file-{n:03d}.mp4" for c, n, *_ in places]
    else:
        size = int(info["chunks_size"])
        files = [
            path / "videos" / f"chunk-{number // size:03d}" / name / f"episode_{number:06d}.mp4"
            for number in numbers.tolist()
        ]
    return videos.frames_of(files, episode, begin[episode] + where.time, fps)


def in_order(path: Path) -> tuple[int, ...]:
    """Return the numbers in the last two parts of a path as a sort key: the chunk, and the file or episode."""
    return tuple(int(number) for name in path.parts[-2:] for number in re.findall(r"\d+", name))


def chosen(path: Path, features: dict[str, Any], given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the default columns of each field, from the description of the dataset.

    Raises:
        InputError: neither the dataset nor the column map names observations and actions.
    """
    numeric = {name for name, f in features.items() if f.get("dtype", "").startswith(("float", "int", "bool"))}
    seen = sorted(name for name in numeric if name.startswith(OBSERVATION) and len(features[name]["shape"]) == 1)
    if (not seen and "obs" not in given) or (ACTION not in numeric and not given):
        has = ", ".join(sorted(features))
        raise InputError(f"{path} has the features {has}; expected action and numeric observation.* ones (--columns).")
    rest = {"act": ACTION, "rew": REWARD}  # `next.done` is not read: it marks the last frame for any kind of end
    return {"obs": tuple(seen)} | {field: (name,) for field, name in rest.items() if name in numeric}
