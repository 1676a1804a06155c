"""Speed on this machine, into `results/speed.csv`. Run it on an idle machine; every figure is a median.

python benchmarks/speed.py
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import iqlearn as iq
from iqlearn.settings import Imagination

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
PLAIN = iq.IQLearn(imagination=Imagination(error_limit=0.0))
"""Without the model of the dynamics: batch 32 of expert transitions, two layers of 64."""


def process(*command: str) -> float:
    """Median wall-clock seconds of a whole process."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def rate(settings: iq.IQLearn | iq.BC, seeds: int, steps: int = 5_000) -> float:
    """Median updates a second of all seeds together, inside the compiled loop, compilation left out."""
    demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
    demos = replace(demos, env=None)
    found = []
    for _ in range(REPEATS):
        runs = iq.learn_seeds(settings, [demos] * seeds, seeds=range(seeds), steps=steps, evaluations=1)
        found.append(float(runs[0].result["updates_per_second"]))
    return statistics.median(found)


def main() -> None:
    """Measure, print and write."""
    entry = "from iqlearn.cli import main; main"
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        rows = [
            ("import iqlearn", process("-c", "import iqlearn"), "s"),
            ("import iqlearn and use it", process("-c", "import iqlearn; iqlearn.learn"), "s"),
            ("iqlearn --help", process("-c", f"{entry}(['--help'])"), "s"),
            ("iqlearn train, cold", process("-c", f"{entry}(['train', '--out', '{out}', '--overwrite'])"), "s"),
        ]
    for name, settings in (("iq, offline, no model", PLAIN), ("iq, default", iq.IQLearn()), ("bc", iq.BC())):
        rows += [(f"updates of {name}, {seeds} seeds", rate(settings, seeds), "1/s") for seeds in (1, 10)]
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "speed.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("what", "median", "unit", "repeats", "cores"))
        for what, median, unit in rows:
            writer.writerow((what, f"{median:.4g}", unit, REPEATS, os.cpu_count()))
            print(f"{what:40} {median:10.4g} {unit}")


if __name__ == "__main__":
    main()
