"""The tables in `results/`: read, and brought up to date row by row."""

import csv
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, object]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no file yet."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def merge(path: Path, columns: Sequence[str], new: Sequence[Row], key: int) -> None:
    """Write new rows into a table. Old ones that agree with a new one in the first `key` columns are replaced.

    Rows are sorted by these columns, numbers as numbers; those that agree in all of them stay in their order.
    """

    def of(row: Row) -> tuple[str, ...]:
        return tuple(str(row[name]) for name in columns[:key])

    replaced = {of(row) for row in new}
    old: list[Row] = [{**row} for row in read(path)]
    rows = [*(row for row in old if of(row) not in replaced), *new]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: [in_order(value) for value in of(row)]))


def in_order(value: str) -> tuple[float, str]:
    """What a value is sorted by: numbers first."""
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value
