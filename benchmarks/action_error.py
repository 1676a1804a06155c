"""How far demonstrations can be cloned: what `form=auto` chooses by, a row each in `results/action_error.csv`.

    python benchmarks/action_error.py --demos ../shared/demos                # the tuning seeds
    python benchmarks/action_error.py --demos ../shared/demos --seeds 0 1 2

A Gaussian process is fitted to the expert's states and actions, as for every warm start; the error is that of each
action as the others tell it, beyond the noise, in [-1, 1] (`GaussianProcess.left_out`).
"""

from pathlib import Path

import tables
import tyro
from online import EASY

import iqlearn as iq
from iqlearn.beginning import begin
from iqlearn.settings import Imitation, Schedule

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("demos", "trajectories", "subsample", "seed", "transitions", "error")
KINDS = (
    *((task, 1, 1) for task in EASY),
    *((task, 1, every) for every in (5, 20) for task in EASY[:3]),
    *((f"{task}-hard", count, 1) for count in (1, 5) for task in EASY[:3]),
)


def error(demos: iq.Demos, seed: int) -> float:
    """Of what a run of this seed is shown; the clone itself gets a single update."""
    settings = iq.IQLearnContinuous(offline=Imitation(warm_start=1, reach=0.5))
    found = begin(settings, demos, Schedule(seed=seed), env=None).origin.action_error
    assert found is not None
    return found


def main(demos: Path, seeds: tuple[int, ...] = (1000, 1001)) -> None:
    """Fit a process to each kind of demonstrations.

    Args:
        demos: folder with the demonstrations of each task.
        seeds: which draw the trajectories.
    """
    for name, count, every in KINDS:
        for seed in seeds:
            part = iq.Demos.load(demos / f"{name}.npz").take(count, seed=seed).subsample(every, seed=seed)
            values = (name, count, every, seed, len(part), round(error(part, seed), 4))
            print(*values, flush=True)
            tables.merge(RESULTS / "action_error.csv", COLUMNS, [dict(zip(COLUMNS, values, strict=True))], key=4)


if __name__ == "__main__":
    tyro.cli(main)
