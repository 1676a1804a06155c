"""A benchmark: a grid of runs, each in a process of its own, and what their results say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from iqlearn import __version__, files, interrupts
from iqlearn.benchmark import cluster, diagnostics, local, plots, results, summary
from iqlearn.benchmark.cells import Progress, places, same_flags
from iqlearn.benchmark.grid import Grid, read
from iqlearn.benchmark.results import Evaluated, read_csv
from iqlearn.report.page import Table, page, require
from iqlearn.runs.lock import locked

__all__ = ["Grid", "Progress", "places", "read", "read_csv", "run", "write"]


def run(
    grid: Grid,
    out: Path,
    demos: Path | None,
    workers: int,
    show: Callable[[Progress], object],
    ray: str | None = None,
    cores: float = 1.0,
) -> Progress:
    """Run every cell of the grid that is not finished, and write the results: results.csv and runs.csv whenever a cell
    has ended, and the rest at the end.

    Args:
        grid: the cells.
        out: the folder of the benchmark.
        demos: the folder of the demonstrations.
        workers: processes at a time.
        show: told where the cells stand.
        ray: address of a Ray cluster that runs the cells instead of this machine.
        cores: of a task of the cluster.

    Raises:
        InputError: a package of the page is missing, another process runs a benchmark in the folder, it cannot be
            written, or it holds a cell with other flags.
        KeyboardInterrupt: a signal asked to stop. What was learnt is kept.
    """
    require()
    each = places(grid.cells, out)
    failed: list[tuple[str, str]] = []
    known = 0

    def look(now: Progress) -> None:
        nonlocal known
        if len(now.done) > known:
            known = len(now.done)
            results.write_csv(out, results.evaluated(each, out))
        show(now)

    with locked(out):
        same_flags(each, out)
        try:
            now = local.run(each, demos, workers, look) if ray is None else cluster.run(each, demos, ray, cores, look)
            failed += [(place.cell.name, told) for place, told in now.failed.items()]
        except KeyboardInterrupt as stop:
            told = f"The results so far are in {out}. Run the same command again to continue."
            raise KeyboardInterrupt(told) from stop
        finally:
            with interrupts.finishing():
                found = results.evaluated(each, out)
                lost = {place.cell for place in each if place.finished} - {cell.of for cell in found}
                failed += [(cell.name, "ended without an evaluation") for cell in grid.cells if cell in lost]
                write(grid, found, out, failed)
    return now


def write(grid: Grid, cells: Sequence[Evaluated], out: Path, failed: Sequence[tuple[str, str]] = ()) -> None:
    """Write results.csv, runs.csv, table.md, the plots and index.html of what there is.

    Args:
        grid: what was run.
        cells: its results, of `results.evaluated` or `results.read_csv`.
        out: the folder to write to.
        failed: cells without a result, and what they said last.
    """
    if not cells:
        return
    results.write_csv(out, cells)
    known = diagnostics.section(cells)
    tables = [*summary.tables(cells), *map(summary.efficiency, summary.groups_of(cells))]
    tables += [item for item in known.items if isinstance(item, Table)]
    files.write(out / "table.md", summary.markdown(tables).encode())
    files.write(out / "curves.png", plots.curves(cells))
    title = f"Benchmark: {grid.name}"
    content = page(title, grid.about, [*summary.sections(cells, failed), known], f"Made by iqlearn {__version__}.")
    files.write(out / "index.html", content.encode())
