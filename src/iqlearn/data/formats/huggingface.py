"""Trajectories of Hugging Face `datasets`, as the library `imitation` saves them: one row for each episode, with T + 1
observations in `obs`, T actions in `acts`, `terminal`, and optionally `rews`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from iqlearn.data.formats.base import Episode, Opened, Reading, joined, only, parsing, selected
from iqlearn.errors import InputError, missing

NEEDED = ("obs", "acts", "terminal")


def matches(path: Path) -> bool:
    """Return whether a folder holds a dataset that `datasets` saved."""
    return (path / "dataset_info.json").is_file() and (path / "state.json").is_file()


@contextmanager
def opened(path: Path, reading: Reading) -> Iterator[Opened]:
    """Open the episodes of a dataset. The column map names keys of dictionary observations.

    Raises:
        InputError: `datasets` is not installed, the dataset is damaged, or it lacks a column.
    """
    try:
        import datasets
    except ImportError as error:
        raise missing("datasets, which reads Hugging Face datasets,", "huggingface") from error
    only(reading, str(path), obs="keys of a dictionary")
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
        size = 2.0 * part.data.nbytes  # upper bound: s' is stored beside s
        shown = part.with_format("numpy")
        yield Opened(size, lambda every: joined(str(path), episodes(str(path), shown, reading), every))


def episodes(source: str, rows: Any, reading: Reading) -> Iterator[Episode]:
    """Yield the episodes of a dataset. An episode that is not terminal counts as truncated."""
    for row in rows:
        acts, ended = np.asarray(row["acts"]), bool(row["terminal"])
        obs = selected(f"{source}: obs", as_tree(row["obs"], rows.features["obs"]), reading)
        yield Episode(len(acts), obs, acts, rew=row.get("rews"), term=ended, trunc=not ended)


def as_tree(values: Any, feature: Any) -> Any:
    """Return observations as a tree of arrays with the types of `feature`, because `datasets` widens uint8."""
    if isinstance(values, dict):
        return {name: as_tree(part, feature[name]) for name, part in values.items()}
    while hasattr(feature, "feature"):
        feature = feature.feature
    return np.asarray(values, feature.dtype)
