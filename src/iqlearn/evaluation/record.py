"""Recording of demonstrations while a person or a policy plays. An episode is written as soon as it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import gymnasium as gym
import jax
import numpy as np

from iqlearn import interrupts
from iqlearn.data.demos import Demos
from iqlearn.envs.copies import arrived
from iqlearn.envs.spaces import executed
from iqlearn.envs.worker import one_line
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.evaluation.returns import Episode as Played
from iqlearn.evaluation.returns import as_arrays
from iqlearn.types import ObsSpec

ARROWS = {"left": "K_LEFT", "right": "K_RIGHT", "up": "K_UP", "down": "K_DOWN", "space": "K_SPACE"}
"""Keys with a name instead of a letter → their names in pygame."""
Keep = Callable[[Demos], object]


class Recorder(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that records an environment and passes each episode to `keep` when it is over.

    Each episode begins from a reset seed of its own. An episode that is broken off is passed on as one that was
    truncated at a time limit.

    Args:
        env: the environment.
        name: the environment's name in messages.
        spec: the specification of its observations.
        seed: reset seed of the first episode; the next episodes have the seeds that follow it.
        keep: called with each episode.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str, spec: ObsSpec, seed: int, keep: Keep) -> None:
        super().__init__(env)
        self._name, self._spec, self._seed, self._keep = name, spec, seed, keep
        self.episodes = 0
        """Number of episodes passed to `keep`."""
        self._steps: list[tuple[Any, ...]] = []
        self.seen: Any = None
        """The current observation, as arrays of `spec`."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        del seed
        self.finish()
        with self._acting("reset"):
            obs, info = self.env.reset(seed=self._seed + self.episodes, options=options)
            self.seen = arrived(obs, "reset", self._spec)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        interrupts.check()
        acted = executed(self.env.action_space, action)  # before the environment can change the array
        with self._acting("step"):
            obs, reward, terminated, truncated, info = self.env.step(action)
            seen, paid, ended, cut = arrived((obs, reward, terminated, truncated), "step", self._spec)
        self._steps.append((self.seen, acted, seen, paid, ended))
        self.seen = seen
        if ended or cut:
            self.finish()
        return obs, reward, terminated, truncated, info

    def render(self) -> Any:
        with self._acting("render"):
            return self.env.render()

    @contextmanager
    def _acting(self, call: str) -> Iterator[None]:
        """Convert errors of the environment in this region, to tell them from errors of the player.

        Raises:
            EnvironmentFault: the environment raised, or returned an invalid value.
        """
        place = f"Environment {self._name!r}, reset seed {self._seed + self.episodes}, after step {len(self._steps)}"
        try:
            yield
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"{place}: {fault}.") from fault
        except Exception as error:
            told = f"{call} raised {type(error).__name__}: {one_line(error) or 'no message'}"
            raise EnvironmentFault(f"{place}: {told}.") from error

    def finish(self) -> None:
        """Pass the current episode to `keep`, if it has a step."""
        if self._steps:
            self._keep(Demos.from_arrays(as_arrays([episode_of(self._steps)]), "recording"))
            self._steps = []
            self.episodes += 1

    def close(self) -> None:
        self.finish()
        super().close()


def episode_of(steps: list[tuple[Any, ...]]) -> Played:
    """Return recorded steps as an episode."""
    obs, act, after = (jax.tree.map(lambda *rows: np.stack(rows), *[step[i] for step in steps]) for i in range(3))
    kind = np.int64 if act.ndim == 1 else np.float32
    return Played(obs, act.astype(kind), after, np.array([step[3] for step in steps]), steps[-1][4])


def play_by_hand(recorder: Recorder, keys: dict[Any, Any], idle: Any, fps: int | None, episodes: int) -> None:
    """Let a person play in a window until Escape is pressed or `episodes` episodes are over (0: no limit).

    Raises:
        InputError: pygame is not installed, or the keys do not fit the environment.
        EnvironmentFault: the environment raised, or returned an invalid value.
    """
    require_pygame()
    from gymnasium.utils import play as gym_play

    class Ended(Exception):
        pass

    def watch(*_: Any) -> None:
        if episodes and recorder.episodes >= episodes:
            raise Ended

    with closing(recorder):
        try:
            gym_play.play(recorder, keys_to_action=keys or None, noop=idle, fps=fps, callback=watch)
        except Ended:
            pass
        except gym_play.MissingKeysToAction as error:
            told = "The environment names no keys; give them with --keys, for instance --keys left=0 right=1"
            raise InputError(f"{told} (letters, left, right, up, down, space).") from error
        except EnvironmentFault:
            raise
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(f"The keys do not fit: {error}; expected actions of the environment (--keys).") from error


def require_pygame() -> Any:
    """Import and return the module pygame.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pygame
    except ImportError as error:
        told = "pygame, which opens a window, is not installed"
        raise InputError(f"{told}; install it with: pip install 'gymnasium[classic-control]'.") from error
    return pygame


def key_code(name: str) -> Any:
    """Return a key as Gymnasium's `play` takes it: a lower-case letter, or a tuple with pygame's number of a named key.

    Raises:
        InputError: there is no such key, or pygame is not installed.
    """
    pygame = require_pygame()
    if name in ARROWS:
        return (getattr(pygame, ARROWS[name]),)
    if len(name) == 1:
        return name.lower()
    raise InputError(f"--keys names {name!r}; expected a letter or one of {', '.join(ARROWS)}.")
