"""A benchmark: a grid of runs, each in its own process, and the tables and plots of their results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from iqlearn import __version__, files, interrupts
from iqlearn.benchmark import cluster, diagnostics, local, plots, results, summary
from iqlearn.benchmark.cells import FLAGS, Progress, places, same_flags
from iqlearn.benchmark.grid import Grid, read
from iqlearn.benchmark.results import Evaluated, read_csv
from iqlearn.report.page import Table, page, require
from iqlearn.runs.lock import locked

__all__ = ["Grid", "Progress", "places", "read", "read_csv", "run", "write"]

REFRESH = 60.0
"""Least number of seconds between two versions of the page while runs are going on."""


def run(
    grid: Grid,
    out: Path,
    demos: Path | None,
    workers: int,
    show: Callable[[Progress], object],
    ray: str | None = None,
    cores: float = 1.0,
) -> Progress:
    """Run every cell of the grid that is not finished, and write the results.

    results.csv and runs.csv are written whenever a cell has finished, the other files then too, unless they are less
    than `REFRESH` seconds old, and at the end.

    Args:
        grid: the cells.
        out: the folder of the benchmark.
        demos: the folder of the demonstrations.
        workers: number of processes that run at the same time.
        show: called with the progress about twice a second, and at the end.
        ray: address of a Ray cluster that runs the cells instead of this machine.
        cores: CPU cores of each task of the cluster.

    Returns:
        The final progress: which cells are done, and which failed.

    Raises:
        InputError: a package that makes the page is missing, another process runs a benchmark in the folder, the folder
            cannot be written, or it holds a cell with other flags.
        KeyboardInterrupt: a signal asked to stop. The checkpoints and the results so far are kept.
    """
    require()
    each = places(grid.cells, out)
    now = Progress.of(each)
    known, refreshed = 0, time.monotonic()

    def write_all() -> None:
        found = results.evaluated(each, out)
        lost = {place.cell for place in each if place.finished} - {cell.of for cell in found}
        failed = [(place.cell.name, told) for place, told in now.failed.items()]
        failed += [(cell.name, "ended without an evaluation") for cell in grid.cells if cell in lost]
        write(grid, found, out, failed)

    def look(newest: Progress) -> None:
        nonlocal now, known, refreshed
        now = newest
        if len(now.done) > known:
            known = len(now.done)
            if time.monotonic() - refreshed >= REFRESH:
                write_all()
                refreshed = time.monotonic()
            else:
                results.write_csv(out, results.evaluated(each, out))
        show(now)

    with locked(out):
        files.write_json(out / FLAGS, same_flags(each, out))
        try:
            now = local.run(each, demos, workers, look) if ray is None else cluster.run(each, demos, ray, cores, look)
        except KeyboardInterrupt as stop:
            told = f"The results so far are in {out}. Run the same command again to continue."
            raise KeyboardInterrupt(told) from stop
        finally:
            with interrupts.finishing():
                write_all()
    return now


def write(grid: Grid, cells: Sequence[Evaluated], out: Path, failed: Sequence[tuple[str, str]] = ()) -> None:
    """Write results.csv, runs.csv, table.md, curves.png and index.html. Write nothing if there are no results.

    Args:
        grid: the grid that was run.
        cells: its results, as `results.evaluated` or `results.read_csv` returns them.
        out: the folder to write to.
        failed: the names of the cells that failed, each with its last message.
    """
    if not cells:
        return
    results.write_csv(out, cells)
    known = diagnostics.section(cells)
    tables = [*summary.tables(cells), *summary.efficiencies(cells)]
    tables += [item for item in known.items if isinstance(item, Table)]
    files.write(out / "table.md", summary.markdown(tables).encode())
    files.write(out / "curves.png", plots.curves(cells))
    title = f"Benchmark: {grid.name}"
    about = grid.about
    if len(cells) < len(grid.cells):
        about = f"{about} Results of {len(cells)} of {len(grid.cells)} runs."
    content = page(title, about, [*summary.sections(cells, failed), known], f"Made by iqlearn {__version__}.")
    files.write(out / "index.html", content.encode())
