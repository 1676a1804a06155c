"""The two tables of a benchmark: a row for each evaluation, and a row for each run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iqlearn.benchmark.grid import Cell
from iqlearn.errors import InputError
from iqlearn.files import read

EVALUATIONS, RUNS = "results.csv", "runs.csv"
OF_CELL = ("method", "task", "demonstrations", "seed")
"""The first columns of both tables, which identify the cell."""
COLUMNS = ("step", "return", "normalised", "seconds")
"""The columns that come next, where a row has them."""


def csv_bytes(rows: Sequence[tuple[Cell, Mapping[str, Any]]]) -> bytes:
    """Return a table as CSV: for each row its cell, then its numbers and strings. Other values are left out."""
    kept = [{n: x for n, x in row.items() if isinstance(x, int | float | str)} for _, row in rows]
    columns = dict.fromkeys(name for row in kept for name in row if name != "return_mean")
    names = [*OF_CELL, *(name for name in COLUMNS if name in columns), *(n for n in columns if n not in COLUMNS)]
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for (cell, _), row in zip(rows, kept, strict=True):
        figures = {n: x if isinstance(x, str) else f"{x:.9g}" for n, x in row.items()}
        table.writerow(figures | dict(zip(OF_CELL, key_of(cell), strict=True)))
    return text.getvalue().encode()


def key_of(cell: Cell) -> tuple[str, ...]:
    """Return the values of `OF_CELL` as the tables write them. They identify a cell in its grid."""
    trajectories = "" if cell.trajectories is None else str(cell.trajectories)
    return cell.method, cell.task, trajectories, str(cell.seed)


def cell_of(key: tuple[str, ...]) -> Cell:
    """Return the cell with this key, without its flags: the inverse of `key_of`."""
    method, task, trajectories, seed = key
    return Cell(method, task, int(trajectories) if trajectories else None, int(seed), {})


def table_of(path: Path) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Read a table, and return its rows by the key of their cell (`key_of`), without empty values.

    Raises:
        InputError: the table is missing or damaged.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    remedy = f"restore it from a copy, or delete {EVALUATIONS} and {RUNS} to repeat the runs whose folders are gone"
    if not path.is_file():
        raise InputError(f"{path} is missing; expected a table written by iqlearn benchmark, {remedy}.")
    try:
        for row in csv.DictReader(read(path).decode().splitlines()):
            cell = cell_of(tuple(row.pop(name) for name in OF_CELL))
            figures = {name: number(text) for name, text in row.items() if text != ""}
            found.setdefault(key_of(cell), []).append(figures)
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged; expected a table written by iqlearn benchmark, {remedy}.") from error
    return found


def number(text: str) -> float | str:
    """Return a value of a table: a number, or the text itself if it is none."""
    try:
        return float(text)
    except ValueError:
        return text
