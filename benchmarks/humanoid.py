"""Train an expert for Humanoid-v5, because no public one runs in MuJoCo 4. Its curve: `results/humanoid-expert.csv`.

    python benchmarks/humanoid.py --out Humanoid-v5.npz

Soft actor-critic on the true reward, two copies of the environment, an update every other step: an hour on one core.
A stopped run continues when the script is called again. Training ends after 460,000 steps. A longer run with that seed
was stopped there because the returns of its evaluation were high and similar. Before that, returns go up and down (see
the table).
"""

import subprocess
import sys
from pathlib import Path

import tables
import tyro

from iqlearn.files import read_rows
from iqlearn.runs.folder import CHECKPOINT, METRICS

COLUMNS = ("step", "commit", "updates", "return_mean", "return_std", "return_min", "return_max")
FIGURES = ("step", *COLUMNS[2:])
STEPS, INTERVAL = 460_000, 20_000


def main(
    out: Path,
    work: Path = Path("runs/humanoid"),
    episodes: int = 10,
    steps: int = STEPS,
    table: Path = tables.RESULTS / "humanoid-expert.csv",
) -> None:
    """Train the expert, or resume its training, and record its demonstrations.

    Args:
        out: the file of demonstrations to write.
        work: the expert's run folder.
        episodes: number of episodes to record.
        steps: environment steps of training.
        table: the table of the curve.
    """
    command = ["expert", "--env", "Humanoid-v5", "--out", str(work), "--steps", str(steps), "--seed", "0"]
    command += ["--evaluations", str(max(1, steps // INTERVAL)), "--eval-episodes", "5", "--update-ratio", "0.5"]
    command += ["--num-envs", "2", "--round-steps", "100"]
    iqlearn(*(["resume", str(work)] if (work / CHECKPOINT).is_file() else command))
    rows: list[tables.Row] = [{name: round(row[name] or 0) for name in FIGURES} for row in read_rows(work / METRICS)]
    tables.merge(table, COLUMNS, rows, key=2)
    iqlearn("demos", "collect", str(work), "--episodes", str(episodes), "--out", str(out), "--overwrite")


def iqlearn(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "iqlearn", *words], check=True)


if __name__ == "__main__":
    tyro.cli(main)
