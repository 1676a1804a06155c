"""Measure the pause and the size of a checkpoint with a full replay in Hopper's shapes: 11 observations, 3 actions.

python benchmarks/checkpoint.py [TRANSITIONS]
"""

import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import iqlearn as iq
from iqlearn.data.replay import empty_replay
from iqlearn.networks import encoders
from iqlearn.runs import folder
from iqlearn.runs.manifest import newest_checkpoint
from iqlearn.runs.provenance import Origin
from iqlearn.types import ArraySpec, Bounds, TaskSpec

TASK = TaskSpec(ArraySpec((11,)), Bounds((-1.0,) * 3, (1.0,) * 3))
EPISODE = 1_000
"""Transitions of an episode. Each episode has one more observation than transitions."""


def main(transitions: int = 1_000_000) -> None:
    settings, acting = iq.IQLearnContinuous(), iq.Interaction(replay=transitions)
    state = settings.init(TASK, encoders.blank(TASK.obs, settings.scaling, settings.saturation), jr.key(0))
    schedule = iq.Schedule(transitions)
    run = iq.Run(settings, schedule, Origin(None, None), TASK, acting, settings.policy(state))
    replay = empty_replay(TASK, transitions, acting.num_envs / acting.steps_per_round)
    frames = transitions + transitions // acting.steps_per_round + transitions // EPISODE
    random = np.random.default_rng(0)
    filled = jax.tree.map(lambda x: jnp.asarray(random.integers(0, 9, x.shape), x.dtype), replay)
    filled = jax.tree.map(lambda x, n: n if x.ndim == 0 else x, filled, type(replay)(*[jnp.int32(frames)] * 8))
    data = transitions * sum(x.dtype.itemsize * x[0].size for x in (filled.frames, *jax.tree.leaves(filled)[2:5]))
    data += sum(x.nbytes for x in jax.tree.leaves(state))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as out:
        run.begin(Path(out))
        for _ in range(3):
            started, busy = time.perf_counter(), time.process_time()
            run.write(Path(out), {"state": state, "source": filled.packed(), "done": np.int32(transitions)})
            pause, busy = time.perf_counter() - started, time.process_time() - busy
            size = (Path(out) / folder.CHECKPOINT).stat().st_size
            shown = f"{pause:.2f} s ({busy:.2f} s of a core)  {size / 2**20:.0f} MiB  {size / data:.3f} of the data"
            print(f"{transitions:,} transitions  write {shown}", flush=True)
        started = time.perf_counter()
        assert newest_checkpoint(Path(out)) is not None
        print(f"{transitions:,} transitions  read and check both checkpoints {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
