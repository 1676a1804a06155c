"""`results/online.csv` as the tables of docs/results.md: a line a run.

    python benchmarks/online_table.py                       # the default form
    python benchmarks/online_table.py --setting regressed

Returns are normalised: expert 1, random policy 0. `kept` is the policy whose states came closest to the expert's
(`iqlearn evaluate DIR --best`): chosen by `distance`, without any reward.
"""

from itertools import groupby
from pathlib import Path

import tables
import tyro

TABLE = Path(__file__).parent / "results" / "online.csv"
RUN = ("demos", "trajectories", "subsample", "seed")
MARKS = (10_000, 25_000, 50_000, 100_000, 200_000)


def lines(rows: list[dict[str, str]], marks: tuple[int, ...]) -> list[str]:
    """Markdown, a line a run."""
    found = []
    for (demos, trajectories, subsample, seed), of_run in groupby(rows, key=lambda row: tuple(row[n] for n in RUN)):
        points = sorted(of_run, key=lambda row: int(row["step"]))
        at = {int(row["step"]): float(row["normalised"]) for row in points}
        last, best = points[-1], max(at.values())
        third = [value for step, value in at.items() if step > 2 * max(at) / 3]
        measured = [row for row in points if row["distance"]]
        kept = min(measured, key=lambda row: float(row["distance"])) if measured else None
        what = f"{demos}, {trajectories}" + (f", every {subsample}th step" if subsample != "1" else "")
        cells = [what, seed, *(f"{at[mark]:.2f}" if mark in at else "" for mark in marks)]
        cells += [f"{float(last['normalised']):.2f} ({float(last['least']):.2f}) at {int(last['step']):,}"]
        cells += [
            f"{float(kept['normalised']):.2f} at {int(kept['step']):,}" if kept else "",
            f"{min(third) / best:.2f}",
        ]
        found.append(f"| {' | '.join(cells)} |")
    return found


def main(setting: str = "default", marks: tuple[int, ...] = MARKS) -> None:
    """Print the runs of one setting.

    Args:
        setting: as the column of that name has it.
        marks: steps with a column of their own.
    """
    heads = ["demonstrations", "seed", *(f"{mark:,} steps" for mark in marks)]
    heads += ["last (its worst episode)", "kept", "worst of the last third / best"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    print("\n".join(lines([row for row in tables.read(TABLE) if row["setting"] == setting], marks)))


if __name__ == "__main__":
    tyro.cli(main)
