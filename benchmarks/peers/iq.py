"""Train this project on Hopper-v5, timed by `peers.py`: `python iq.py iq|sac STEPS`.

`iq` is inverse soft-Q learning on 256 expert and 256 replay rows, `sac` the expert's algorithm on 512 rows. Both have
two critics, one update per step and two layers of 256. Prints a line after the warm-up. Then, for each line that it
reads, it trains for STEPS steps and prints the seconds. Demonstrations are random, because the speed does not depend on
them.
"""

import sys
import time
import warnings
from typing import Any

import jax
import numpy as np

import iqlearn as iq

ALGORITHM, STEPS = sys.argv[1], int(sys.argv[2])
WARM, ROWS = 2_000, 1_000


class Clock(iq.Callback):
    """Prints the seconds of the last `STEPS` steps, then waits for a line on standard input."""

    started = 0.0

    def on_round(self, training: Any) -> bool:
        steps = training.done - WARM
        if steps < 0 or steps % STEPS:
            return False
        jax.block_until_ready(training.groups[0].states)
        print(time.perf_counter() - self.started if steps else 0.0, flush=True)
        if not sys.stdin.readline():
            return True
        self.started = time.perf_counter()
        return False


def random_demos() -> iq.Demos:
    """Return random transitions with Hopper's shapes."""
    rng = np.random.default_rng(0)
    obs, next_obs = rng.normal(size=(2, ROWS, 11)).astype(np.float32)
    act = rng.uniform(-1.0, 1.0, (ROWS, 3)).astype(np.float32)
    ends = {"term": np.zeros(ROWS, bool), "trunc": np.arange(ROWS) == ROWS - 1, "ep": np.zeros(ROWS, np.int64)}
    return iq.Demos.from_arrays({"obs": obs, "act": act, "next_obs": next_obs, **ends})


warnings.simplefilter("ignore")  # the random rows do not follow one another
shared = {"steps": 10**6, "evaluations": 0, "quiet": True, "callbacks": [Clock()]}
if ALGORITHM == "iq":
    iq.learn(iq.IQLearnContinuous(critics=2), random_demos(), env="Hopper-v5", mode="online", **shared)
else:
    settings = iq.SAC(batch_size=512, critic=iq.Network((256, 256)))
    iq.train_expert("Hopper-v5", settings, **shared)
