"""The run folder of a cell: where it stands, and the command that goes on with it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iqlearn.benchmark.grid import Cell
from iqlearn.errors import InputError
from iqlearn.files import Row, read_json, read_rows
from iqlearn.runs.folder import CHECKPOINT, METRICS, PREVIOUS, RESULT

CELLS = "cells"
"""The folder of all run folders, in that of the benchmark."""
Outcome = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class Place:
    """A cell of a benchmark, and its folder."""

    cell: Cell
    folder: Path

    @property
    def log(self) -> Path:
        """What its process said."""
        return self.folder.with_suffix(".log")

    @property
    def status(self) -> str:
        """What `result.json` says: completed, stopped, diverged, running, …; empty where nothing began."""
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
        """Whether there is nothing left to do."""
        return self.status in ("completed", "stopped", "diverged")

    def command(self, demos: Path | None) -> list[str]:
        """The command that begins the run, or goes on with its last checkpoint."""
        if any((self.folder / name).is_file() for name in (CHECKPOINT, PREVIOUS)):
            return ["resume", str(self.folder), "--trust"]
        return [*self.cell.words(self.folder, demos), "--overwrite"]

    def said(self) -> str:
        """The last line that its process said."""
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def places(cells: Iterable[Cell], out: Path) -> list[Place]:
    """Each cell with its folder in that of the benchmark."""
    return [Place(cell, out / CELLS / cell.name) for cell in cells]
