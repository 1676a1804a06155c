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
from iqlearn.envs.spaces import executed, stacked
from iqlearn.errors import EnvironmentFault
from iqlearn.types import Obs

Vectorization = Literal["sync", "async"]
"""Copies of an environment run in this process, or each in a process of its own."""
Faults = Literal["stop", "restart"]
"""An environment that fails stops the run, or is made again."""
TIMEOUT = 600.0
"""Seconds that a copy in a process of its own has for an answer."""


class Step(NamedTuple):
    """One step of every copy, one a row."""

    obs: Obs
    action: Shaped[np.ndarray, "n *act"]
    """The actions as they were executed: within their bounds, float32 or int64."""
    next_obs: Obs
    """The true s', also where the episode ended."""
    reward: Float[np.ndarray, " n"]
    """Rewards of the environment, float64."""
    terminal: Bool[np.ndarray, " n"]
    ended: Bool[np.ndarray, " n"]
    """The episode is over: it terminated or was truncated at its time limit."""
    lost: Bool[np.ndarray, " n"]
    """The copy failed and was made again: its row is no transition, and a new episode begins after it."""


@dataclass
class Place:
    """Where a copy stands, for messages and for a new start."""

    seed: int | None = None
    """Its last reset seed."""
    later: int = 0
    """Episodes since then, begun from the copy's own random numbers."""
    step: int = 0
    made_again: bool = False
    """It has done no step since it was made again."""

    def begin(self, seed: int | None) -> None:
        """A new episode."""
        self.seed, self.later, self.step = (self.seed, self.later + 1, 0) if seed is None else (seed, 0, 0)

    def __str__(self) -> str:
        later = f", episode {self.later} after it" if self.later else ""
        return f"reset seed {self.seed}{later}, {f'step {self.step}' if self.step else 'reset'}"


class Stepper:
    """Copies of an environment that are stepped together and reset themselves. No transition crosses two episodes.

    Args:
        env: the environment.
        copies: how many.
        vectorization: `async` runs each copy in a process of its own.
        faults: `restart` makes a copy that fails again, and begins an episode from its last reset seed. A copy that
            fails again in its first step stops the run all the same.
        timeout: seconds that a copy in a process of its own has for an answer.

    Raises:
        InputError: as `Environment.task`.
        EnvironmentFault: a copy raises, hangs, dies, or returns what it must not. All methods raise it.
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
        """How often a copy was made again."""
        self.obs: Obs = None
        """What each copy shows now, after the first `reset`."""
        self._name, self._faults, self._space = env.name, faults, env.facts.actions
        self._random = batch_space(self._space, copies)
        self._places = [Place() for _ in range(copies)]
        make, spec, alone = env.maker(), self.task.obs, vectorization == "async"
        self._open: Callable[[], Handle] = lambda: Remote(make, spec, timeout) if alone else Local(make, spec)
        self._handles: list[Handle] = [self._open() for _ in range(copies)]

    def reset(self, seeds: int | Sequence[int | None]) -> None:
        """Begin a new episode in every copy, with one reset seed each; an integer s stands for s, s + 1, and so on."""
        each = seeds if isinstance(seeds, Sequence) else range(int(seeds), int(seeds) + self.copies)
        self.obs = stacked(self._begin(dict(enumerate(each))))

    def seed_actions(self, seed: int) -> None:
        """Seed the random actions."""
        self._random.seed(seed)

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Actions drawn uniformly, one a copy."""
        return np.asarray(self._random.sample())

    def step(self, action: Shaped[np.ndarray, "n *act"], next_seeds: Callable[[int], int | None] | None = None) -> Step:
        """Act once in every copy, then begin a new episode where one ended.

        Args:
            action: one a copy; rounded where actions are whole numbers, and clipped to the bounds.
            next_seeds: the reset seed of a copy's next episode. It is asked for each copy whose episode ended, in
                ascending order; without it, and where it gives none, the copy goes on with its own random numbers.

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
        """Begin an episode in these copies, and give what each shows."""
        for i, seed in seeds.items():
            self._places[i].begin(seed)
            self._handles[i].ask("reset", seed)
        return [self._answer(i)[0] for i in seeds]

    def _answer(self, i: int) -> tuple[Any, bool]:
        """The answer of a copy; where it failed, the first observation of the copy in its place, and True."""
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
    """The next n observations of a policy that draws its actions uniformly, from reset seed `seed`."""
    with closing(Stepper(env, 1)) as stepper:
        stepper.reset(seed)
        stepper.seed_actions(seed)
        seen = [stepper.step(stepper.random_actions()).next_obs for _ in range(n)]
        return jax.tree.map(lambda *rows: np.concatenate(rows), *seen)
