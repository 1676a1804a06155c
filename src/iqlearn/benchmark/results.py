"""The results of a benchmark: a row for each evaluation and for each run, and the scores of each method."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from iqlearn.benchmark.cells import Place
from iqlearn.benchmark.grid import Cell, words
from iqlearn.benchmark.record import EVALUATIONS, RUNS, csv_bytes, key_of, table_of
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import normalised
from iqlearn.evaluation.statistics import Scores
from iqlearn.files import read_json, write
from iqlearn.runs.folder import RESULT

GOAL = 0.9
"""The normalised return (0: random policy, 1: expert) that counts as reached in the tables of sample efficiency."""


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
        """The normalised return of the policy that the run returns."""
        return self.result.get("normalised_return")

    @property
    def returns_start(self) -> bool:
        """Whether the run returns the pretrained policy as it was before the first update."""
        return self.result.get("best_step") == 0

    @property
    def acts(self) -> bool:
        """Whether its steps are environment steps (online) rather than updates (offline)."""
        return self.result.get("env_steps", 0) > 0

    @property
    def measured(self) -> bool:
        """Whether the normalised return of an evaluation is known."""
        return any(row["normalised"] is not None for row in self.rows)

    @property
    def reached(self) -> float | None:
        """The step of the first evaluation with a normalised return of at least `GOAL`; None if there is none."""
        return next((row["step"] for row in self.rows if (row["normalised"] or 0.0) >= GOAL), None)


def evaluated(places: Sequence[Place], out: Path) -> list[Evaluated]:
    """Return the results of the cells that have at least one evaluation.

    Args:
        places: the cells.
        out: the folder of the benchmark. Its tables hold the results of cells whose run folder was deleted.
    """
    recorded = [place.cell for place in places if place.recorded]
    known = {cell.of: cell for cell in read_csv(recorded, out)} if recorded else {}
    found = [known.get(place.cell) or in_folder(place) for place in places]
    return [cell for cell in found if cell.rows]


def in_folder(place: Place) -> Evaluated:
    """Read the results of a cell from its run folder."""
    result: dict[str, Any] = {}
    with suppress(InputError):
        result = read_json(place.folder / RESULT)
    ends = result.get("expert_return"), result.get("random_return")
    seconds = result.get("seconds_at", [])
    rows = [
        {**row, "normalised": normalised(row.get("return_mean"), *ends), "seconds": at}
        for row, at in zip_longest(place.rows, seconds[: len(place.rows)])
    ]
    told = {"rollbacks": len(result.get("guard", [])), "flags": shlex.join(words(place.cell.flags))}
    return Evaluated(place.cell, rows, result | told)


def write_csv(out: Path, cells: Sequence[Evaluated]) -> None:
    """Write results.csv, a row for each evaluation, and runs.csv, a row for each run with the numbers of its result."""
    write(
        out / EVALUATIONS,
        csv_bytes([(cell.of, row | {"return": row.get("return_mean")}) for cell in cells for row in cell.rows]),
    )
    write(out / RUNS, csv_bytes([(cell.of, cell.result) for cell in cells]))


def read_csv(cells: Iterable[Cell], folder: Path) -> list[Evaluated]:
    """Read the results of those of these cells that results.csv and runs.csv of a folder both contain.

    Raises:
        InputError: one of the tables is missing or damaged.
    """
    evaluations, runs = (table_of(folder / name) for name in (EVALUATIONS, RUNS))
    return [
        Evaluated(
            cell,
            [
                {"normalised": None, "seconds": None}
                | {"return_mean" if name == "return" else name: x for name, x in row.items()}
                for row in evaluations[key]
            ],
            runs[key][0],
        )
        for cell in cells
        if (key := key_of(cell)) in runs and key in evaluations
    ]


def task_of(cell: Evaluated) -> str:
    """Return the task with its number of demonstrations, as the tables name it."""
    c = cell.of
    return c.task if c.trajectories is None else f"{c.task}, {c.trajectories}"


def scores(cells: Sequence[Evaluated], method: str, which: str) -> Scores:
    """Return the normalised returns of a method, one for each seed, by task. `which` is `last` or `returned`."""
    found: dict[str, list[float]] = {}
    for cell in cells:
        if cell.of.method == method and (score := getattr(cell, which)) is not None:
            found.setdefault(task_of(cell), []).append(score)
    return found
