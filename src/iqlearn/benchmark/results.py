"""The results of a benchmark: a row for each evaluation and for each run, and the scores of each method."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn.benchmark.cells import Place
from iqlearn.benchmark.grid import Cell, Grid
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import normalised
from iqlearn.evaluation.statistics import Scores
from iqlearn.files import read, read_json, write
from iqlearn.runs.folder import RESULT

GOAL = 0.9
"""The share of the expert's return, above a random policy's, whose first reaching is counted."""
EVALUATIONS, RUNS = "results.csv", "runs.csv"
OF_CELL = ("method", "task", "demonstrations", "seed")
"""The columns that both tables begin with."""
COLUMNS = ("step", "return", "normalised", "seconds")
"""The next ones of an evaluation."""


class Evaluated(NamedTuple):
    """A cell with its evaluations."""

    of: Cell
    rows: list[dict[str, Any]]
    """Every metric of each evaluation, with `normalised` and `seconds`."""
    result: dict[str, Any]

    @property
    def last(self) -> float | None:
        """The normalised return of the last policy."""
        return self.result.get("last_normalised_return", self.result.get("normalised_return"))

    @property
    def returned(self) -> float | None:
        """That of the policy that the run returns."""
        return self.result.get("normalised_return")

    @property
    def acts(self) -> bool:
        """Whether its steps are those of an environment, not updates."""
        return self.result.get("env_steps", 0) > 0

    @property
    def reached(self) -> float | None:
        """The step of the first evaluation at `GOAL` or above; none where there is none."""
        return next((row["step"] for row in self.rows if (row["normalised"] or 0.0) >= GOAL), None)


def evaluated(places: Sequence[Place]) -> list[Evaluated]:
    """The cells that have an evaluation."""
    found = []
    for place in places:
        result: dict[str, Any] = {}
        with suppress(InputError):
            result = read_json(place.folder / RESULT)
        ends = result.get("expert_return"), result.get("random_return")
        seconds = result.get("seconds_at", [])
        rows = [
            {**row, "normalised": normalised(row.get("return_mean"), *ends), "seconds": at}
            for row, at in zip_longest(place.rows, seconds[: len(place.rows)])
        ]
        found += [Evaluated(place.cell, rows, result)] if rows else []
    return found


def write_csv(out: Path, cells: Sequence[Evaluated]) -> None:
    """Write results.csv, a row for each evaluation, and runs.csv, a row for each run with the numbers of its result."""
    write(
        out / EVALUATIONS,
        csv_bytes([(cell.of, row | {"return": row.get("return_mean")}) for cell in cells for row in cell.rows]),
    )
    write(out / RUNS, csv_bytes([(cell.of, cell.result) for cell in cells]))


def csv_bytes(rows: Sequence[tuple[Cell, Mapping[str, Any]]]) -> bytes:
    """A table: which cell each row is of, and its numbers and words."""
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
    """What tells a cell from the others of its grid, as the tables write it."""
    trajectories = "" if cell.trajectories is None else str(cell.trajectories)
    return cell.method, cell.task, trajectories, str(cell.seed)


def read_csv(grid: Grid, folder: Path) -> list[Evaluated]:
    """The cells of a grid that results.csv and runs.csv of a folder hold.

    Raises:
        InputError: one of the tables is missing or damaged.
    """
    evaluations, runs = (table_of(folder / name) for name in (EVALUATIONS, RUNS))
    return [
        Evaluated(
            cell,
            [{"return_mean" if name == "return" else name: x for name, x in row.items()} for row in evaluations[key]],
            runs[key][0],
        )
        for cell in grid.cells
        if (key := key_of(cell)) in runs and key in evaluations
    ]


def table_of(path: Path) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """The rows of a table by their cell.

    Raises:
        InputError: it is missing or damaged.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    try:
        for row in csv.DictReader(read(path).decode().splitlines()):
            key = tuple(row.pop(name) for name in OF_CELL)
            found.setdefault(key, []).append({name: number(text) for name, text in row.items()})
    except (ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{path} is damaged; expected a table written by iqlearn benchmark.") from error
    return found


def number(text: str) -> float | str | None:
    """What a cell of a table says."""
    try:
        return float(text) if text else None
    except ValueError:
        return text


def task_of(cell: Evaluated) -> str:
    """The task with its number of demonstrations, as tables name it."""
    c = cell.of
    return c.task if c.trajectories is None else f"{c.task}, {c.trajectories}"


def scores(cells: Sequence[Evaluated], method: str, which: str) -> Scores:
    """The scores of a method: of each task those of its seeds. `which` is `last` or `returned`."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if cell.of.method == method and (score := getattr(cell, which)) is not None:
            found.setdefault(task_of(cell), []).append(score)
    return found
