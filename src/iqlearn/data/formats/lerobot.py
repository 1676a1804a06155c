"""LeRobot datasets, version 2 and 3: Parquet files of all episodes, and their description in `meta/info.json`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from iqlearn.data.formats import tables
from iqlearn.data.formats.base import Found, Reading, parsing
from iqlearn.errors import InputError, missing

INFO = "meta/info.json"
EPISODE, STEP, REWARD, ACTION = "episode_index", "frame_index", "next.reward", "action"
OBSERVATION = "observation."


def matches(path: Path) -> bool:
    """Whether a folder holds a dataset."""
    return (path / INFO).is_file()


def read(path: Path, reading: Reading) -> Found:
    """The episodes of a dataset. An observation is `observation.state` with all other numeric `observation.*` columns;
    the column map chooses others. Video frames are not read.

    Raises:
        InputError: pyarrow is not installed, or the dataset is damaged.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise missing("pyarrow, which reads LeRobot datasets,", "tables") from error
    with parsing(path / INFO, "description of a LeRobot dataset"):
        features = json.loads((path / INFO).read_text(encoding="utf-8"))["features"]
        columns = {"ep": (EPISODE,)} | (dict(reading.columns) or chosen(path, features))
    files = sorted((path / "data").rglob("*.parquet"))
    if not files:
        raise InputError(f"{path / 'data'} holds no Parquet file; expected those of a LeRobot dataset.")
    wanted = sorted({name for names in columns.values() for name in names} | {EPISODE, STEP} & features.keys())
    with parsing(path, "LeRobot dataset"):
        table: Any = pa.concat_tables([parquet.read_table(file, columns=wanted, memory_map=True) for file in files])
        table = table.sort_by([(EPISODE, "ascending"), (STEP, "ascending")])
        return tables.episodes_of(str(path), table, replace(reading, columns=tuple(columns.items())))


def chosen(path: Path, features: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The columns of each field, from the description of the dataset."""
    numeric = {name for name, f in features.items() if f.get("dtype", "").startswith(("float", "int", "bool"))}
    seen = sorted(name for name in numeric if name.startswith(OBSERVATION) and len(features[name]["shape"]) == 1)
    if not seen or ACTION not in numeric:
        has = ", ".join(sorted(features))
        raise InputError(f"{path} has the features {has}; expected action and numeric observation.* ones (--columns).")
    rew = {"rew": (REWARD,)} if REWARD in numeric else {}  # `next.done` marks the last frame, whatever ended there
    return {"obs": tuple(seen), "act": (ACTION,), "ep": (EPISODE,)} | rew
