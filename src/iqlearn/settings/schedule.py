"""How long to train, and how to act on the way."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from iqlearn.settings.common import require, require_choices, require_not_negative, require_positive

Vectorization = Literal["sync", "async"]


@dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look."""

    steps: int = 10_000
    """Steps in all: of the environment online, updates offline."""
    evaluations: int = 10
    """Evaluations on the way, at most, evenly spread; the last one is of the final policy."""
    eval_episodes: int = 20
    """Episodes an evaluation."""
    sampled: bool = False
    """Play samples of the soft policy instead of its most likely actions: it does not get stuck in a loop."""
    seed: int = 0
    """Root of all randomness: choice of trajectories, initial weights, batches, evaluation episodes."""

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "eval_episodes", "seed"):
            value = getattr(self, name)
            require(isinstance(value, int | np.integer), name, value, "a whole number")
            object.__setattr__(self, name, int(value))
        require_positive(self, "steps", "evaluations", "eval_episodes")
        require(self.seed >= 0, "seed", self.seed, "a number of at least 0")

    @property
    def chunk(self) -> int:
        """Steps between two evaluations."""
        return -(-self.steps // self.evaluations)


@dataclass(frozen=True)
class Interaction:
    """How the learner acts in the environment while it learns online."""

    num_envs: int = 1
    """Copies of the environment stepped together."""
    vectorization: Vectorization = "sync"
    """One process, or one a copy."""
    random_steps: int = 1_000
    """Steps before the first update: of uniformly random actions, or with the cloned policy where there is one (with
    `state_only` after those of `inference`)."""
    update_ratio: float = 1.0
    """Updates a step of an environment."""
    round_steps: int = 50
    """Steps of all copies together between two calls of the compiled updates, rounded up to a multiple of `num_envs`;
    the policy that acts is one call old."""
    replay: int = 1_000_000
    """Transitions that are remembered."""

    def __post_init__(self) -> None:
        require_choices(self)
        require_positive(self, "num_envs", "update_ratio", "round_steps", "replay")
        require_not_negative(self, "random_steps")
        object.__setattr__(self, "round_steps", -(-self.round_steps // self.num_envs) * self.num_envs)
        require(self.replay >= self.round_steps, "replay", self.replay, f"room for a round, {self.round_steps} steps")
