"""Copies of an environment that are stepped side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Shaped

from iqlearn import interrupts
from iqlearn.envs.copies import Handle, Local, Remote
from iqlearn.envs.gym import Environment
from iqlearn.envs.spaces import actions_seed, executed, stacked
from iqlearn.errors import EnvironmentFault
from iqlearn.types import Obs

Vectorization = Literal["sync", "async"]
"""Whether copies of an environment run in this process (`sync`) or each in a process of its own (`async`)."""
Faults = Literal["stop", "restart"]
"""Whether an environment that fails stops the run (`stop`) or is made again (`restart`)."""
TIMEOUT = 600.0
"""Seconds to wait for the answer of a copy in a process of its own."""


class Step(NamedTuple):
    """One step of every copy, one row per copy."""

    obs: Obs
    action: Shaped[np.ndarray, "n *act"]
    """The actions as they were executed: within their bounds, float32 or int64."""
    next_obs: Obs
    """The true s'. Where the episode ended it is the last observation, not the first one of the next episode."""
    reward: Float[np.ndarray, " n"]
    """Rewards of the environment, float64."""
    terminal: Bool[np.ndarray, " n"]
    ended: Bool[np.ndarray, " n"]
    """Whether the episode is over: it terminated or was truncated at its time limit."""
    lost: Bool[np.ndarray, " n"]
    """Whether the copy failed and was made again. Its row is then no transition, and a new episode begins after it."""


@dataclass
class Place:
    """The current episode and step of a copy, for messages and restarts."""

    seed: int | None = None
    """The last reset seed of the copy."""
    later: int = 0
    """Number of episodes since that reset, begun from the copy's own random numbers."""
    step: int = 0
    made_again: bool = False
    """Whether the copy was made again and has done no step since."""

    def begin(self, seed: int | None) -> None:
        """Record the start of a new episode. Without a seed, the copy goes on with its own random numbers."""
        self.seed, self.later, self.step = (self.seed, self.later + 1, 0) if seed is None else (seed, 0, 0)

    def __str__(self) -> str:
        later = f", episode {self.later} after it" if self.later else ""
        return f"reset seed {self.seed}{later}, {f'step {self.step}' if self.step else 'reset'}"


class Stepper:
    """Copies of an environment that are stepped together and reset themselves. No transition crosses two episodes.

    Args:
        env: the environment.
        copies: number of copies.
        vectorization: `async` runs each copy in a process of its own.
        faults: `restart` replaces a copy that fails by a new one, and begins an episode from its last reset seed. If
            the new copy fails before its first step is done, the run stops all the same.
        timeout: seconds to wait for the answer of a copy in a process of its own.

    Raises:
        InputError: as `Environment.task`.
        EnvironmentFault: a copy raises, hangs, dies, or returns an invalid value. All methods raise it.
    """

    def __init__(
        self,
        env: Environment,
        copies: int,
        vectorization: Vectorization = "sync",
        faults: Faults = "stop",
        timeout: float = TIMEOUT,
    ) -> None:
        self.task, self.copies = env.task, copies
        self.restarts = 0
        """Number of times that a copy was made again."""
        self.obs: Obs = None
        """The current observation of each copy, after the first `reset`."""
        self._name, self._faults, self._space = env.name, faults, env.facts.actions
        self._random = batch_space(self._space, copies)
        self._places = [Place() for _ in range(copies)]
        make, spec, alone = env.maker(), self.task.obs, vectorization == "async"
        self._open: Callable[[], Handle] = lambda: Remote(make, spec, timeout) if alone else Local(make, spec)
        self._handles: list[Handle] = [self._open() for _ in range(copies)]

    def reset(self, seeds: int | Sequence[int | None]) -> None:
        """Begin a new episode in every copy, with one reset seed each. An integer s stands for s, s + 1, and so on."""
        each = seeds if isinstance(seeds, Sequence) else range(int(seeds), int(seeds) + self.copies)
        self.obs = stacked(self._begin(dict(enumerate(each))))

    def seed_actions(self, seed: int) -> None:
        """Seed the random actions. They are independent of an episode with the same reset seed."""
        self._random.seed(actions_seed(seed))

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Return uniformly random actions, one per copy."""
        return np.asarray(self._random.sample())

    def step(self, action: Shaped[np.ndarray, "n *act"], next_seeds: Callable[[int], int | None] | None = None) -> Step:
        """Act once in every copy, then begin a new episode where one ended.

        Args:
            action: one action per copy; rounded if actions are whole numbers, and clipped to the bounds.
            next_seeds: returns the reset seed of a copy's next episode. It is called with the index of each copy whose
                episode ended, in ascending order. Without it, and where it returns None, the copy goes on with its own
                random numbers.

        Raises:
            FloatingPointError: an action is not finite.
        """
        if not self.task.discrete and not np.isfinite(action).all():
            raise FloatingPointError("an action is not finite")
        taken = executed(self._space, action)
        recorded = taken.astype(np.int64 if self.task.discrete else np.float32)  # a copy: the environment may write
        for handle, place, own in zip(self._handles, self._places, taken, strict=True):
            place.step += 1
            handle.ask("step", own)
        rows: list[Any] = []
        for i, place in enumerate(self._places):
            answer, lost = self._answer(i)
            rows.append((answer, 0.0, False, False, True) if lost else (*answer, False))
            place.made_again = lost
        shown, *rest = zip(*rows, strict=True)
        reward, terminal, truncated, lost = map(np.array, rest)
        obs, next_obs, ended = self.obs, stacked(list(shown)), terminal | truncated
        self.obs = next_obs
        if ended.any():
            over = np.flatnonzero(ended).tolist()
            seeds = {i: next_seeds(i) if next_seeds else None for i in over}
            begun = dict(zip(over, self._begin(seeds), strict=True))
            self.obs = stacked([begun.get(i, row) for i, row in enumerate(shown)])
        return Step(obs, recorded, next_obs, reward, terminal, ended, lost)

    def close(self) -> None:
        """Close every copy."""
        for handle in self._handles:
            handle.close()

    def _begin(self, seeds: dict[int, int | None]) -> list[Any]:
        """Begin an episode in these copies, and return the first observation of each."""
        for i, seed in seeds.items():
            self._places[i].begin(seed)
            self._handles[i].ask("reset", seed)
        return [self._answer(i)[0] for i in seeds]

    def _answer(self, i: int) -> tuple[Any, bool]:
        """Return the answer of a copy and False; if it failed, the first observation of its replacement and True."""
        place = self._places[i]
        try:
            with interrupts.Foreign():
                return self._handles[i].answer(), False
        except EnvironmentFault as fault:
            if self._faults == "stop" or place.made_again:
                raise EnvironmentFault(f"Environment {self._name!r}, copy {i}, {place}: {fault}.") from fault
        self._handles[i].close()
        self._handles[i] = self._open()
        self.restarts += 1
        place.made_again = True
        return self._begin({i: place.seed})[0], True


def random_observations(env: Environment, n: int, seed: int) -> Obs:
    """Return the observations after each of n steps of a uniformly random policy, from reset seed `seed`."""
    with closing(Stepper(env, 1)) as stepper:
        stepper.reset(seed)
        stepper.seed_actions(seed)
        seen = [stepper.step(stepper.random_actions()).next_obs for _ in range(n)]
        return jax.tree.map(lambda *rows: np.concatenate(rows), *seen)
