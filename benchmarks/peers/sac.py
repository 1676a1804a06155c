"""Train SAC of Stable-Baselines3 or SBX on Hopper-v5, timed by `peers.py`: `python sac.py LIBRARY STEPS`.

512 rows per update, one update per step, two layers of 256, otherwise the library's defaults. Prints a line after the
warm-up. Then, for each line that it reads, it trains for STEPS steps and prints the seconds.
"""

import sys
import time
from importlib import import_module

from stable_baselines3.common.callbacks import BaseCallback

LIBRARY, STEPS = sys.argv[1], int(sys.argv[2])
WARM = 2_000


class Clock(BaseCallback):
    """Prints the seconds of the last `STEPS` steps, then waits for a line on standard input."""

    started = 0.0

    def _on_step(self) -> bool:
        steps = self.num_timesteps - WARM
        if steps < 0 or steps % STEPS:
            return True
        print(time.perf_counter() - self.started if steps else 0.0, flush=True)
        if not sys.stdin.readline():
            return False
        self.started = time.perf_counter()
        return True


shape = {"batch_size": 512, "learning_starts": 1_000, "policy_kwargs": {"net_arch": [256, 256]}}
model = import_module(LIBRARY).SAC("MlpPolicy", "Hopper-v5", seed=0, device="cpu", **shape)
model.learn(10**9, callback=Clock())
