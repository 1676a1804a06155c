"""Print `results/online.csv` as the tables of docs/results.md: one line for each run.

The lines include old settings and commits.

    python benchmarks/online_table.py --kind easy
    python benchmarks/online_table.py --kind hard --setting default inverse recommended --beside

Returns are normalised: expert 1, random policy 0. `kept` is the policy with the least `distance`: its states are
closest to the expert's. The run returns this policy. It is chosen without any reward.
"""

from itertools import groupby
from typing import Literal

import tables
import tyro

RUN = ("demos", "trajectories", "subsample", "seed")
MARKS = (10_000, 20_000, 25_000, 50_000, 100_000, 200_000)
Row = tables.TextRow


def run_of(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in RUN)


def is_easy(row: Row) -> bool:
    return row["subsample"] == "1" and "hard" not in row["demos"] and "Humanoid" not in row["demos"]


def line(points: list[Row], marks: tuple[int, ...], others: list[str]) -> list[str]:
    """Return the table cells of one run. `points` are its evaluations in order, `others` the cells of `beside`."""
    demos, trajectories, subsample, seed = run_of(points[0])
    at = {int(row["step"]): float(row["normalised"]) for row in points}
    last, third = points[-1], [value for step, value in at.items() if step > 2 * max(at) / 3]
    measured = [row for row in points if row["distance"]]
    kept = min(measured, key=lambda row: float(row["distance"])) if measured else None
    return [
        f"{demos}, {trajectories}" + (f", every {subsample}th step" if subsample != "1" else ""),
        seed,
        f"{last['setting']} ({last['commit']})",
        *others,
        *(f"{at[mark]:.2f}" if mark in at else "" for mark in marks),
        f"{float(last['normalised']):.2f} ({float(last['least']):.2f}) at {int(last['step']):,}",
        f"{float(kept['normalised']):.2f} at {int(kept['step']):,}" if kept else "",
        f"{min(third) / max(at.values()):.2f}",
    ]


def main(
    kind: Literal["easy", "hard"] = "easy",
    setting: tuple[str, ...] = ("default", "recommended", "paper"),
    beside: tuple[str, ...] = ("clone",),
    marks: tuple[int, ...] = MARKS,
) -> None:
    """Print the runs of some settings as Markdown.

    Args:
        kind: whole easy demonstrations (easy), or the others (hard).
        setting: values of the column `setting` to print.
        beside: settings whose last return, at the newest commit, has a column of its own.
        marks: steps with a column of their own.
    """
    table = sorted(tables.read(tables.RESULTS / "online.csv"), key=lambda row: int(row["step"]))
    heads = ["demonstrations", "seed", "setting", *beside, *(f"{mark:,} steps" for mark in marks)]
    heads += ["last (its worst episode)", "kept", "worst of the last third / best"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    last = {(row["setting"], run_of(row)): row for row in tables.newest(table, "setting", *RUN)}

    def order(row: Row) -> tuple[tuple[str, ...], int, str]:
        return run_of(row), setting.index(row["setting"]), row["commit"]

    chosen = [row for row in table if row["setting"] in setting and is_easy(row) == (kind == "easy")]
    for (run, *_), points in groupby(sorted(chosen, key=order), key=order):
        found = [last.get((name, run)) for name in beside]
        others = [f"{float(row['normalised']):.2f}" if row else "" for row in found]
        print(f"| {' | '.join(line(list(points), marks, others))} |")


if __name__ == "__main__":
    tyro.cli(main)
