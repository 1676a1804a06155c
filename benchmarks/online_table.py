"""`results/online.csv` as the tables of docs/results.md: a line a run.

    python benchmarks/online_table.py --kind easy                       # the default form
    python benchmarks/online_table.py --kind hard --setting inverse --beside

Returns are normalised: expert 1, random policy 0. `kept` is the policy whose states came closest to the expert's
(`iqlearn evaluate DIR --best`): chosen by `distance`, without any reward.
"""

from itertools import groupby
from pathlib import Path
from typing import Literal

import tables
import tyro

TABLE = Path(__file__).parent / "results" / "online.csv"
RUN = ("demos", "trajectories", "subsample", "seed")
MARKS = (10_000, 25_000, 50_000, 100_000, 200_000)
Row = dict[str, str]


def run_of(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in RUN)


def is_easy(row: Row) -> bool:
    return row["subsample"] == "1" and "hard" not in row["demos"] and "Humanoid" not in row["demos"]


def line(points: list[Row], marks: tuple[int, ...], others: list[str]) -> list[str]:
    """The cells of one run, whose evaluations are `points`, in order."""
    demos, trajectories, subsample, seed = run_of(points[0])
    at = {int(row["step"]): float(row["normalised"]) for row in points}
    last, third = points[-1], [value for step, value in at.items() if step > 2 * max(at) / 3]
    measured = [row for row in points if row["distance"]]
    kept = min(measured, key=lambda row: float(row["distance"])) if measured else None
    what = f"{demos}, {trajectories}" + (f", every {subsample}th step" if subsample != "1" else "")
    return [
        what,
        seed,
        *others,
        *(f"{at[mark]:.2f}" if mark in at else "" for mark in marks),
        f"{float(last['normalised']):.2f} ({float(last['least']):.2f}) at {int(last['step']):,}",
        f"{float(kept['normalised']):.2f} at {int(kept['step']):,}" if kept else "",
        f"{min(third) / max(at.values()):.2f}",
    ]


def main(
    kind: Literal["easy", "hard"] = "easy",
    setting: str = "default",
    beside: tuple[str, ...] = ("clone", "warm-start"),
    marks: tuple[int, ...] = MARKS,
) -> None:
    """Print the runs of one setting as Markdown.

    Args:
        kind: one whole easy demonstration, or the others.
        setting: as the column of that name has it.
        beside: settings whose last return stands beside.
        marks: steps with a column of their own.
    """
    rows = sorted(tables.read(TABLE), key=lambda row: (run_of(row), int(row["step"])))
    heads = ["demonstrations", "seed", *beside, *(f"{mark:,} steps" for mark in marks)]
    heads += ["last (its worst episode)", "kept", "worst of the last third / best"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    last = {(row["setting"], run_of(row)): row for row in rows}
    chosen = [row for row in rows if row["setting"] == setting and is_easy(row) == (kind == "easy")]
    for run, points in groupby(chosen, key=run_of):
        found = [last.get((name, run)) for name in beside]
        others = [f"{float(row['normalised']):.2f}" if row else "" for row in found]
        print(f"| {' | '.join(line(list(points), marks, others))} |")


if __name__ == "__main__":
    tyro.cli(main)
