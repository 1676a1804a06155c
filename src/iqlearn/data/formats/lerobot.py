"""LeRobot datasets, version 2 and 3: Parquet files of all episodes, and their description in `meta/info.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.formats import tables
from iqlearn.data.formats.base import Opened, Reading, parsing
from iqlearn.errors import InputError, missing

INFO = "meta/info.json"
EPISODE, STEP, REWARD, ACTION = "episode_index", "frame_index", "next.reward", "action"
OBSERVATION = "observation."


def matches(path: Path) -> bool:
    """Whether a folder holds a dataset."""
    return (path / INFO).is_file()


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """The episodes of a dataset. An observation is `observation.state` with all other numeric `observation.*` columns;
    the column map chooses others.

    Raises:
        InputError: pyarrow is not installed, or the dataset is damaged.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise missing("pyarrow, which reads LeRobot datasets,", "tables") from error
    with parsing(path / INFO, "description of a LeRobot dataset"):
        features = json.loads((path / INFO).read_text(encoding="utf-8"))["features"]
        columns = {"ep": (EPISODE,)} | (dict(reading.columns) or chosen(path, features))
    files = sorted((path / "data").rglob("*.parquet"), key=in_order)
    if not files:
        raise InputError(f"{path / 'data'} holds no Parquet file; expected those of a LeRobot dataset.")
    with parsing(path, "LeRobot dataset"):
        table = tables.parquet_of(str(path), files)
        check_order(table)
        yield tables.episodes_of(table, replace(reading, columns=tuple(columns.items())))


def in_order(path: Path) -> tuple[int, ...]:
    """The numbers in the last two names of a path: of the chunk, and of the file or episode."""
    return tuple(int(number) for name in path.parts[-2:] for number in re.findall(r"\d+", name))


def check_order(table: tables.Table) -> None:
    """Refuse frames that are not in order of time.

    Raises:
        InputError: a frame stands after a later one of its episode.
    """
    before = (-1, -1)
    for first, batch in table.numbered([EPISODE, STEP] if STEP in table.names else []):
        if STEP not in table.names:
            return
        ep, step = (tables.numbers(table.source, batch.column(name), name) for name in (EPISODE, STEP))
        ep, step = np.append(before[0], ep), np.append(before[1], step)
        for row in np.flatnonzero((np.diff(ep) == 0) & (np.diff(step) <= 0))[:1]:
            told = f"{table.source}: row {first + row} is frame {step[row + 1]} of its episode, after frame {step[row]}"
            raise InputError(f"{told}; expected the frames of an episode in order of time.")
        before = (ep[-1], step[-1])


def chosen(path: Path, features: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The columns of each field, from the description of the dataset."""
    numeric = {name for name, f in features.items() if f.get("dtype", "").startswith(("float", "int", "bool"))}
    seen = sorted(name for name in numeric if name.startswith(OBSERVATION) and len(features[name]["shape"]) == 1)
    if not seen or ACTION not in numeric:
        has = ", ".join(sorted(features))
        raise InputError(f"{path} has the features {has}; expected action and numeric observation.* ones (--columns).")
    rew = {"rew": (REWARD,)} if REWARD in numeric else {}  # `next.done` marks the last frame, whatever ended there
    return {"obs": tuple(seen), "act": (ACTION,), "ep": (EPISODE,)} | rew
