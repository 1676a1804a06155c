"""DeepMind Control with actions in [−1, 1], as in its demonstrations: `--env dmc_rescaled:dmc-rescaled/…`."""

from typing import Any

import dmc_tasks  # noqa: F401, registers the tasks
import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RescaleAction


def quadruped_walk(**kwargs: Any) -> gym.Env[Any, Any]:
    """Return the quadruped with actions rescaled to [−1, 1]; the original bounds differ between joints."""
    env = gym.make("dmc/quadruped-walk-v0", disable_env_checker=True, **kwargs).unwrapped
    return RescaleAction(env, np.float32(-1.0), np.float32(1.0))


gym.register("dmc-rescaled/quadruped-walk-v0", entry_point=quadruped_walk)
