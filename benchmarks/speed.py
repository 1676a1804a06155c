"""Measure the speed on this machine into `results/speed.csv`. Run it on an idle machine; every figure is a median.

    python benchmarks/speed.py
    python benchmarks/speed.py --against OTHER    # alternates with another checkout, such as the previous commit

Measures the seconds of whole processes, and the updates per second of the compiled loop offline (`speed_worker.py`).
`peers.py` measures the speed of online training.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tables
import tyro

COLUMNS = ("what", "commit", "median", "unit", "repeats", "cores")
Figure = tuple[str, float, str]
COMMANDS = {
    "import iqlearn": ("-c", "import iqlearn"),
    "import iqlearn and use it": ("-c", "import iqlearn; iqlearn.learn"),
    "iqlearn --help": ("-m", "iqlearn", "--help"),
    "iqlearn train --help": ("-m", "iqlearn", "train", "--help"),
    "iqlearn train, cold": ("-m", "iqlearn", "train", "--out", "run"),
}


def python(checkout: Path, *words: str) -> str:
    """Run Python with the library of a checkout in an empty folder, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, env=environment, cwd=folder, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def worker(checkout: Path, steps: int) -> list[Figure]:
    """Run `speed_worker.py` and return its figures."""
    words = python(checkout, str(Path(__file__).with_name("speed_worker.py")), str(steps))
    return [tuple(figure) for figure in json.loads(words.splitlines()[-1])]


def processes(checkout: Path) -> Iterator[Figure]:
    """Yield the wall-clock seconds of each of `COMMANDS`."""
    for what, words in COMMANDS.items():
        started = time.perf_counter()
        python(checkout, *words)
        yield what, time.perf_counter() - started, "s"


def in_turns(figures: Callable[[Path], Sequence[Figure]], against: Path | None, repeats: int, out: Path) -> None:
    """Measure this checkout and the other one alternately, then print and write the medians."""
    checkouts = [tables.ROOT, *([] if against is None else [against.resolve()])]
    found: dict[tuple[str, str, str], list[float]] = {}
    for i in range(repeats):
        for checkout in checkouts:
            for what, value, unit in figures(checkout):
                found.setdefault((what, tables.commit(checkout), unit), []).append(value)
            print(f"{i + 1} of {repeats}: {tables.commit(checkout)}", flush=True)
    rows: list[tables.Row] = []
    for (what, commit, unit), values in sorted(found.items()):
        row = (what, commit, f"{statistics.median(values):.4g}", unit, repeats, os.cpu_count())
        rows.append(dict(zip(COLUMNS, row, strict=True)))
        print(f"{what:50} {commit} {statistics.median(values):10.4g} {unit}")
    tables.merge(out, COLUMNS, rows, key=2)


def main(
    against: Path | None = None, repeats: int = 3, steps: int = 5_000, out: Path = tables.RESULTS / "speed.csv"
) -> None:
    """Measure, print and write.

    Args:
        against: folder of another checkout.
        repeats: number of measurements of each figure.
        steps: updates of each measurement of the compiled loop.
        out: the table.
    """
    in_turns(lambda checkout: [*processes(checkout), *worker(checkout, steps)], against, repeats, out)


if __name__ == "__main__":
    tyro.cli(main)
