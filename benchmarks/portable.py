"""Time one action with NumPy alone (`iqlearn.portable.Policy`): Hopper's shapes, two layers of 256.

    python benchmarks/portable.py

Prints the median of 5 measurements of 2,000 single observations, and the largest difference from the policy in JAX.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro

import iqlearn as iq
from iqlearn import portable


def main(calls: int = 2_000, repeats: int = 5) -> None:
    """Measure and print.

    Args:
        calls: number of actions of each measurement.
        repeats: number of measurements.
    """
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(calls + 1, 11)).astype(np.float32)
    ends = {"term": np.zeros(calls, bool), "trunc": np.arange(calls) == calls - 1, "ep": np.zeros(calls, int)}
    act = rng.uniform(-1, 1, (calls, 3)).astype(np.float32)
    demos = iq.Demos.from_arrays({"obs": obs[:-1], "next_obs": obs[1:], "act": act, **ends})
    run = iq.learn(iq.BCContinuous(), demos, steps=100, evaluations=1, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        run.policy.save(Path(folder) / "policy.npz")
        policy = portable.Policy(Path(folder) / "policy.npz")
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        for row in obs[:-1]:
            policy(row)
        found.append((time.perf_counter() - started) / calls * 1e6)
    print(f"{statistics.median(found):.0f} microseconds an action")
    print(f"{np.abs(policy(obs) - run.policy(obs)).max():.1e} largest difference")


if __name__ == "__main__":
    tyro.cli(main)
