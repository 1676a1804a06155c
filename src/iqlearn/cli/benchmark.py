"""The command `iqlearn benchmark`."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iqlearn.cli.training import check_train
from iqlearn.errors import InputError


def benchmark(o: Namespace) -> int:
    """Compare methods: run a grid of methods, tasks, demonstrations and seeds, and write tables, plots and a page.

    Each run is a process of its own, an `iqlearn train` with its run folder in DIR/cells. Run the same command again to
    continue after a stop, from the last checkpoint of each run. It writes results.csv, runs.csv, table.md, curves.png
    and index.html.

    GRID  A TOML file (docs/benchmark.md), or a preset: quick, offline, online, hard, full.
    --out DIR [required]  Folder of the benchmark.
    --demos DIR  Folder with the files of demonstrations that the grid names.
    --workers N  Processes at a time (default: one for each core).
    --ray ADDRESS  Run them as tasks of a Ray cluster instead: auto, or HOST:PORT. Demonstrations are sent there.
    --cores X  Cores of each task of the cluster (default: 1).
    --dry-run  Print the commands of the runs that are left, and run none.
    """
    from iqlearn import benchmark as benchmarks

    workers = (os.cpu_count() or 1) if o.workers is None else o.workers
    if workers < 1:
        raise InputError(f"--workers is {workers}; expected a number of at least 1.")
    for name, idle in (("workers", o.ray is not None), ("cores", o.ray is None)):
        if idle and getattr(o, name) is not None:
            raise InputError(f"--{name} has no effect with{'out' * (o.ray is None)} --ray; leave it out.")
    if o.cores is not None and not 0.0 < o.cores < float("inf"):
        raise InputError(f"--cores is {o.cores}; expected a finite number above 0.")
    grid = benchmarks.read(o.grid)
    if o.demos is not None and all(cell.file(o.demos) is None for cell in grid.cells):
        raise InputError(f"--demos has no effect, because grid {grid.name} names no file; leave it out.")
    each = benchmarks.places(grid.cells, o.out)
    benchmarks.same_flags(each, o.out)
    left = [place for place in each if not place.finished]
    check(grid.name, left, o.demos)
    if o.dry_run:
        for place in left:
            print(shlex.join(["iqlearn", *place.command(o.demos)]))
        if not left:
            print("iqlearn: Every run of the grid is finished.", file=sys.stderr)
        return 0
    with Table() as table:
        now = benchmarks.run(grid, o.out, o.demos, workers, table.show, o.ray, 1.0 if o.cores is None else o.cores)
    for place, told in now.failed.items():
        print(f"iqlearn: {place.cell.name} failed: {told}", file=sys.stderr)
    if not any(place.recorded or place.rows for place in (*now.done, *now.failed)):
        logs = o.out / "cells" / "TASK" / "METHOD" / "seed-SEED.log"
        print(f"iqlearn: No run has an evaluation, so nothing was written; the reasons are in {logs}.", file=sys.stderr)
        return 1
    print(f"written: {o.out / 'index.html'}")
    return 1 if now.failed else 0


def check(grid: str, places: Sequence[Any], demos: Path | None) -> None:
    """Check the demonstrations and the flags of runs before any of them starts.

    Args:
        grid: name of the grid.
        places: the runs.
        demos: folder of the demonstrations.

    Raises:
        InputError: a file of demonstrations does not exist, or a key of the grid is no flag or has a wrong value.
    """
    checked: set[Any] = set()
    for place in places:
        cell = place.cell
        where = f"Grid {grid}, task {cell.task}, method {cell.method}"
        file = None if place.begun and demos is None else cell.file(demos)  # a resumed run knows where its file is
        if file is not None and not file.exists():
            raise InputError(
                f"{where}: demos is {file}, which does not exist; expected a file, name its folder with --demos."
            )
        if (which := (cell.method, cell.task, cell.trajectories)) not in checked:
            checked.add(which)
            try:
                check_train(cell.words(place.folder, demos)[1:])
            except InputError as error:
                raise InputError(f"{where}: {error}") from error


class Table:
    """The progress of a benchmark on the error stream: a live table on a terminal, else a line for each ended run."""

    def __enter__(self) -> Table:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._told: set[Any] = set()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, now: Any) -> None:
        """Update the table, or print a line for each run that has ended since the last call."""
        if self._live is not None:
            self._live.update(picture(now), refresh=True)
            return
        for place in (*now.done, *now.failed):
            if place not in self._told:
                self._told.add(place)
                earned = (place.rows or [{}])[-1].get("return_mean")
                told = "failed" if place in now.failed else place.status
                told += "" if earned is None or place in now.failed else f", return {earned:.1f}"
                left = len(now.waiting) + len(now.running)
                print(f"{place.cell.name}: {told}  ({left} left)", file=sys.stderr, flush=True)


def picture(now: Any) -> Any:
    """Return a table of the running cells. Its title has the numbers of cells that are done, failed and waiting."""
    from rich.table import Table as RichTable

    waiting = len(now.waiting) + len(now.queued)
    table = RichTable(title=f"{len(now.done)} done · {len(now.failed)} failed · {waiting} waiting")
    for name in ("running", "step", "return", "occupancy distance"):
        table.add_column(name)
    for place in (place for place in now.running if place not in now.queued):
        row = (place.rows or [{}])[-1]
        cells = (row.get(name) for name in ("step", "return_mean", "occupancy_distance"))
        table.add_row(place.cell.name, *("–" if cell is None else f"{cell:,.4g}" for cell in cells))
    return table
