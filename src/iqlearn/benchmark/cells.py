"""The run folder of a cell: its status, and the command that starts or resumes its run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iqlearn.benchmark.grid import Cell, same, words
from iqlearn.benchmark.record import EVALUATIONS, RUNS, cell_of, key_of, table_of
from iqlearn.errors import InputError
from iqlearn.files import Row, read_json, read_rows
from iqlearn.runs.folder import CHECKPOINT, METRICS, PREVIOUS, RESULT

CELLS = "cells"
"""The folder of all run folders, inside the folder of the benchmark."""
FLAGS = "flags.json"
"""The file in the folder of the benchmark that holds the flags of each cell."""
RETRIES = 2
"""How often a cell whose process died is restarted from its last checkpoint."""
BAD_INPUT = 2
"""Exit code of `iqlearn` for bad input, after which another try cannot help."""
ENDED = ("completed", "stopped", "diverged")
"""The statuses of a finished run."""


@dataclass(frozen=True)
class Place:
    """A cell of a benchmark, and its folder."""

    cell: Cell
    folder: Path
    recorded: str = field(default="", compare=False)
    """Its status in the tables of the benchmark, where its folder was deleted after it had finished."""

    @property
    def log(self) -> Path:
        """The log file: the output and the error stream of the cell's process."""
        return self.folder.with_suffix(".log")

    @property
    def status(self) -> str:
        """The `recorded` status, else that in `result.json` (completed, stopped, diverged, running, …), else empty."""
        if self.recorded:
            return self.recorded
        with suppress(InputError):
            return str(read_json(self.folder / RESULT).get("status", ""))
        return ""

    @property
    def rows(self) -> list[Row]:
        """The evaluations so far."""
        with suppress(InputError):
            return read_rows(self.folder / METRICS)
        return []

    @property
    def finished(self) -> bool:
        """Whether the run is finished: completed, stopped or diverged."""
        return self.status in ENDED

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return any((self.folder / name).is_file() for name in (CHECKPOINT, PREVIOUS))

    def command(self, demos: Path | None) -> list[str]:
        """Return the arguments of `iqlearn` that start the run, or resume it if there is a checkpoint."""
        if self.begun:
            further = ["--trust"] if ":" in str(self.cell.flags["env"]) else []  # the grid names the module
            if demos is not None and (file := self.cell.file(demos)) is not None:
                further += ["--demos", str(file)]
            return ["resume", str(self.folder), *further]
        return [*self.cell.words(self.folder, demos), "--overwrite"]

    def said(self) -> str:
        """Return the last line of the log that is not blank; empty if there is none."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def places(cells: Iterable[Cell], out: Path) -> list[Place]:
    """Return each cell with its run folder, `out`/cells/NAME.

    If the run folder of a finished cell was deleted, the status in the tables of the benchmark is used instead.

    Raises:
        InputError: a table is missing or damaged, or it holds a deleted run that is not in the grid or had other flags.
    """
    each = [Place(cell, out / CELLS / cell.name) for cell in cells]
    ended = {
        key: row
        for key, (row, *_) in (table_of(out / RUNS) if (out / RUNS).is_file() else {}).items()
        if row.get("status") in ENDED and not (out / CELLS / cell_of(key).name).exists()
    }
    found = []
    for place in each:
        row = ended.pop(key_of(place.cell), None)
        if row is not None and not same(shlex.split(before := row.get("flags", "")), words(place.cell.flags)):
            raise InputError(other_flags(place, before or "unknown", out))
        found.append(place if row is None else replace(place, recorded=row["status"]))
    if ended:
        raise InputError(
            f"{out / RUNS} holds {cell_of(next(iter(ended))).name}, which is no run of the grid, and its folder is "
            "gone; expected tables of this grid. Choose another --out, or delete its rows."
        )
    if any(place.recorded for place in found):
        table_of(out / EVALUATIONS)  # an error in it is raised before any cell runs
    return found


def other_flags(place: Place, before: str, out: Path) -> str:
    """Return the error message for a cell whose flags have changed."""
    return (
        f"{place.folder} was begun with other flags: {before}; expected those of its grid: "
        f"{shlex.join(words(place.cell.flags))}. To run it again, delete that folder and its row in {out / RUNS}; or "
        "choose another --out."
    )


def same_flags(each: Sequence[Place], out: Path) -> dict[str, list[str]]:
    """Return the flags of each cell by its name, unless those of a cell with results have changed.

    A changed grid therefore cannot reuse the results of the former one. The result also has the cells of former grids.

    Args:
        each: the cells.
        out: the folder of the benchmark, where `FLAGS` holds the flags of the cells that were begun.

    Raises:
        InputError: a cell that is finished or has a checkpoint was begun with other flags.
    """
    known: dict[str, list[str]] = read_json(out / FLAGS) if (out / FLAGS).is_file() else {}
    now = {place.cell.name: words(place.cell.flags) for place in each}
    for place in each:
        before = known.get(place.cell.name, now[place.cell.name])
        changed = not same(before, now[place.cell.name])
        if changed and (place.begun or place.finished) and not place.recorded:
            raise InputError(other_flags(place, shlex.join(before), out))
    return known | now


@dataclass
class Progress:
    """The progress of a benchmark: which cells wait, run, are done or failed."""

    waiting: list[Place]
    done: list[Place]
    running: dict[Place, Any] = field(default_factory=dict)
    """The handle of the process, or of the task of the cluster, that runs each cell."""
    failed: dict[Place, str] = field(default_factory=dict)
    """The last line of each failed cell's log, or else its exit code."""
    tries: dict[Place, int] = field(default_factory=dict)
    """How often each cell was started."""
    queued: set[Place] = field(default_factory=set)
    """The cells of `running` whose task the cluster has not begun."""

    @classmethod
    def of(cls, each: Sequence[Place]) -> Progress:
        """Return the progress before any cell is started."""
        return cls([place for place in each if not place.finished], [place for place in each if place.finished])

    def next(self) -> Place:
        """Remove the next cell from those that wait, count the try, and return the cell."""
        place = self.waiting.pop(0)
        self.tries[place] = self.tries.get(place, 0) + 1
        return place

    def ended(self, place: Place, code: int) -> None:
        """Record that the process of a cell ended with this exit code.

        A cell that did not finish waits for another try. It counts as failed if the code is 0 or `BAD_INPUT`, or if it
        was retried `RETRIES` times.
        """
        del self.running[place]
        self.queued.discard(place)
        if place.finished:
            self.done.append(place)
        elif code not in (0, BAD_INPUT) and self.tries[place] <= RETRIES:
            self.waiting.insert(0, place)
        else:
            self.failed[place] = place.said() or f"exit code {code}"
