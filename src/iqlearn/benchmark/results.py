"""The results of a benchmark: a row for each evaluation, and the scores of each method."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn.benchmark.cells import Place
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import normalised
from iqlearn.evaluation.statistics import Scores
from iqlearn.files import read_json, write
from iqlearn.runs.folder import RESULT

GOAL = 0.9
"""The share of the expert's return, above a random policy's, whose first reaching is counted."""
COLUMNS = ("method", "task", "demonstrations", "seed", "step", "return", "normalised", "seconds")


class Evaluated(NamedTuple):
    """A cell with its evaluations."""

    place: Place
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
        found += [Evaluated(place, rows, result)] if rows else []
    return found


def write_csv(path: Path, cells: Sequence[Evaluated]) -> None:
    """A row for each evaluation: what it is of, its return, and all metrics."""
    metrics = dict.fromkeys(name for cell in cells for row in cell.rows for name in row)
    names = [*COLUMNS, *(name for name in metrics if name not in (*COLUMNS, "return_mean"))]
    text = io.StringIO()
    table = csv.DictWriter(text, names, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for cell in cells:
        c = cell.place.cell
        about = {"method": c.method, "task": c.task, "demonstrations": c.trajectories, "seed": c.seed}
        for row in cell.rows:
            figures = {n: f"{x:.9g}" for n, x in row.items() if x is not None}
            table.writerow(figures | about | {"return": figures.get("return_mean")})
    write(path, text.getvalue().encode())


def task_of(cell: Evaluated) -> str:
    """The task with its number of demonstrations, as tables name it."""
    c = cell.place.cell
    return c.task if c.trajectories is None else f"{c.task}, {c.trajectories}"


def scores(cells: Sequence[Evaluated], method: str, which: str) -> Scores:
    """The scores of a method: of each task those of its seeds. `which` is `last` or `returned`."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if cell.place.cell.method == method and (score := getattr(cell, which)) is not None:
            found.setdefault(task_of(cell), []).append(score)
    return found
