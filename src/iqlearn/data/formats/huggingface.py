"""Trajectories of Hugging Face `datasets`, as the library `imitation` saves them: one row for each episode, with `obs`
of T + 1 observations, `acts` of T actions, `terminal`, and perhaps `rews`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.formats.base import Episode, Found, Reading, joined, parsing
from iqlearn.errors import InputError, missing

NEEDED = ("obs", "acts", "terminal")


def matches(path: Path) -> bool:
    """Whether a folder holds a dataset that `datasets` saved."""
    return (path / "dataset_info.json").is_file() and (path / "state.json").is_file()


def read(path: Path, reading: Reading) -> Found:
    """The episodes of a dataset.

    Raises:
        InputError: `datasets` is not installed, the dataset is damaged, or it lacks a column.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing("datasets, which reads Hugging Face datasets,", "huggingface") from error
    with parsing(path, "Hugging Face dataset"):
        rows: Any = datasets.load_from_disk(str(path))
    names = getattr(rows, "column_names", [])
    for name in NEEDED:
        if name not in names:
            has = ", ".join(map(str, names))
            raise InputError(f"{path} has the columns {has}; expected {', '.join(NEEDED)}, as imitation saves them.")
    with parsing(path, "Hugging Face dataset"):
        kept = [name for name in (*NEEDED, "rews") if name in names]  # `infos` may hold pickles, which are never read
        part = rows.select_columns(kept)
        size = 2.0 * part.data.nbytes  # at most: s' is kept beside s
        return joined(str(path), episodes(part.with_format("numpy")), size, reading)


def episodes(rows: Any) -> Iterator[Episode]:
    """The episodes of a dataset, one at a time. An episode that did not end met its time limit."""
    for row in rows:
        acts, ended = np.asarray(row["acts"]), bool(row["terminal"])
        obs = np.asarray(row["obs"])
        yield Episode(len(acts), obs, acts, rew=row.get("rews"), term=ended, trunc=not ended)
