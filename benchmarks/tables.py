"""Read the tables in `results/` and update them row by row. A row contains the commit at which it was measured."""

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
Row = dict[str, object]
TextRow = dict[str, str]


def git(*words: str, checkout: Path = ROOT) -> str:
    """Run git in a checkout and return what it prints."""
    return subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True).stdout


def commit(checkout: Path = ROOT) -> str:
    """Return the commit of a checkout, abbreviated to seven digits."""
    return git("rev-parse", "--short=7", "HEAD", checkout=checkout).strip()


COMMIT = commit()
"""Commit of this checkout when the script started."""


def read(path: Path) -> list[TextRow]:
    """Return the rows of a table, an empty list if the file does not exist."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def merge(path: Path, columns: Sequence[str], new: Sequence[Row], key: int) -> None:
    """Write new rows into a table. Old rows that agree with a new one in the first `key` columns are replaced.

    Rows are sorted by these columns, numbers as numbers. Rows that agree in all of them keep their order. New rows
    without a commit get `COMMIT`.
    """

    def of(row: Row) -> tuple[str, ...]:
        return tuple(str(row.get(name, "")) for name in columns[:key])

    new = [{"commit": COMMIT, **row} for row in new]
    replaced = {of(row) for row in new}
    rows = [*(row for row in read(path) if of({**row}) not in replaced), *new]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: [in_order(value) for value in of({**row})]))


def in_order(value: str) -> tuple[float, str]:
    """Return the sort key of a value. Numbers come first."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value
