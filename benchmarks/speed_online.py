"""Speed of learning online on this machine, into `results/speed_online.csv`. Run it on an idle machine.

    python benchmarks/speed_online.py

Hopper-v5, one critic, 2×256, batch 256 + 256, one update a step: updates a second end to end, environment stepping
included, and the share of the machine's float32 matrix-product peak that the updates reach, both in the same process,
in turns. Every figure is a median. Demonstrations are random here: speed does not depend on them.
"""

import csv
import os
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import iqlearn as iq
from iqlearn.beginning import begin
from iqlearn.evaluation import Evaluator
from iqlearn.evaluation.returns import as_arrays
from iqlearn.session import Session
from iqlearn.settings import Interaction, Network, Schedule
from iqlearn.types import Batch

RESULTS = Path(__file__).parent / "results"
ENV, REPEATS, CHUNK, SIDE = "Hopper-v5", 5, 1_000, 2_048
SETTINGS = iq.IQLearnContinuous(
    batch_size=256, network=Network((256, 256), "relu", layer_norm=True), actor=Network((256, 256), "relu")
)


def random_demos() -> iq.Demos:
    """A thousand transitions or so of the random policy."""
    evaluator = Evaluator(ENV)
    generator = np.random.default_rng(0)
    episodes = evaluator.play(lambda obs: generator.uniform(-1.0, 1.0, (len(obs), 3)).astype(np.float32), 50, seed=0)
    evaluator.close()
    return iq.Demos.from_arrays(as_arrays(episodes))


def flops(run: iq.Run, session: Session) -> float:
    """Float operations of one update, as the compiler counts them."""
    algorithm, state = run.algorithm, session.states[0]
    rows = jax.tree.map(lambda x: jnp.zeros((256, *x.shape[1:]), x.dtype), random_demos().transitions)
    visited = jax.tree.map(jnp.copy, rows)
    update = jax.jit(lambda state, batch, key: algorithm.update(state, batch, key))
    costs = update.lower(state, Batch(rows, visited, rows.obs), jr.key(0)).compile().cost_analysis()
    return float(costs["flops"])


def peak() -> float:
    """Float operations a second of a large float32 matrix product."""
    x = jr.normal(jr.key(0), (SIDE, SIDE))
    product = jax.jit(jnp.matmul).lower(x, x).compile()
    product(x, x).block_until_ready()
    started = time.perf_counter()
    for _ in range(5):
        product(x, x).block_until_ready()
    return 5 * 2 * SIDE**3 / (time.perf_counter() - started)


def main() -> None:
    """Measure, print and write."""
    steps = CHUNK * (REPEATS + 2)
    run = begin(SETTINGS, random_demos(), Schedule(steps), ENV, interaction=Interaction())
    session = Session([run], [random_demos()], [None])
    session.advance(2 * CHUNK)  # random steps, and compilation
    work = flops(run, session)
    rates, peaks = [], []
    for _ in range(REPEATS):
        peaks.append(peak())
        started = time.perf_counter()
        session.advance(CHUNK)
        rates.append(CHUNK / (time.perf_counter() - started))
    session.close()
    share = statistics.median(rate * work / top for rate, top in zip(rates, peaks, strict=True))
    rows = [
        ("updates end to end", statistics.median(rates), "1/s"),
        ("matrix product peak", statistics.median(peaks) / 1e9, "GFLOP/s"),
        ("work of an update", work / 1e9, "GFLOP"),
        ("share of the peak, environment stepping included", share, ""),
    ]
    with (RESULTS / "speed_online.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("what", "median", "unit", "repeats", "cores"))
        for what, median, unit in rows:
            writer.writerow((what, f"{median:.4g}", unit, REPEATS, os.cpu_count()))
            print(f"{what:50} {median:10.4g} {unit}")


if __name__ == "__main__":
    main()
