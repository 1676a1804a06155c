"""Gymnasium environments: named, made, described and stepped side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import jax
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from jaxtyping import Bool, Float, Shaped

from iqlearn import interrupts
from iqlearn.envs import modules
from iqlearn.errors import InputError, missing
from iqlearn.types import ArraySpec, Bounds, Obs, ObsSpec, TaskSpec

Env = gym.Env[Any, Any]
EnvSource = str | EnvSpec | Callable[..., Env]
"""A Gymnasium id (also `MODULE:ID`), a specification, or a function that makes the environment."""
Vectorization = Literal["sync", "async"]
"""Copies of an environment run in this process, or each in a process of its own."""
TrueReward = Callable[..., Float[np.ndarray, " n"]]
"""The reward of (s, a, s'), one number a row."""
EXTRAS = ("box2d", "mujoco")
"""Extras of this package, each named as the message of a missing dependency names it."""


@dataclass(frozen=True)
class Environment:
    """An environment as the user names it. Copies of it are made when they are needed.

    >>> Environment.of("iqlearn.envs:iqlearn/GridWorld-v0", {"size": 6}).task.obs
    ArraySpec(shape=(36,), dtype='float32', choices=0)
    """

    name: str
    """The id, or the qualified name of the function."""
    kwargs: dict[str, Any]
    """Keyword arguments of `gymnasium.make`, or of the function."""
    source: EnvSource | None
    """What the environment is made from; none if it was a function and comes from a file."""
    file: Path | None = field(default=None, compare=False)
    """The file that names it, where nobody else did: its module is imported only if it is trusted."""

    @staticmethod
    def of(env: EnvSource | Environment, kwargs: Mapping[str, Any] | None = None) -> Environment:
        """The environment of an id, `MODULE:ID`, specification or function, with these keyword arguments.

        Raises:
            InputError: `env` is something else.
        """
        given = dict(kwargs or {})
        if isinstance(env, Environment):
            return replace(env, kwargs=env.kwargs | given) if given else env
        if isinstance(env, str | EnvSpec):
            return Environment(env if isinstance(env, str) else env.id, given, env)
        if callable(env):
            function = getattr(env, "func", env)  # of a functools.partial
            function = function if hasattr(function, "__qualname__") else type(function)
            return Environment(f"{function.__module__}.{function.__qualname__}", given, env)
        raise InputError(
            f"env is a {type(env).__name__}; expected a Gymnasium id, MODULE:ID, an EnvSpec, or a function that makes "
            "the environment: several copies of it are needed."
        )

    @property
    def named(self) -> bool:
        """Whether a file can hold it: it comes from an id or a specification, not from a function."""
        return isinstance(self.source, str) or (
            isinstance(self.source, EnvSpec) and not callable(self.source.entry_point)
        )

    def make(self) -> Env:
        """A new copy of the environment. Errors of a function pass through.

        Raises:
            InputError: no such environment, it does not take the keyword arguments, a package it needs is not
                installed, or it came from a file that could not hold its function, or that is not trusted.
        """
        with interrupts.Foreign():
            return self._made()

    def _made(self) -> Env:
        if self.source is None:
            told = f"{self.name} was a function, which no file holds"
            raise InputError(f"{told}; expected it again, in Python: iq.resume(DIR, env=function).")
        if callable(self.source):
            env = _build(self.source, self.kwargs)
            if not isinstance(env, gym.Env):
                raise InputError(f"{self.name} returned a {type(env).__name__}; expected a gymnasium.Env.")
            return env
        if self.file is not None:
            modules.require_trusted(self.source, self.file)
        try:
            if isinstance(self.source, str):
                modules.load(self.source)
            return _build(self.source, self.kwargs)
        except gym.error.DependencyNotInstalled as error:
            for extra in EXTRAS:
                if extra in str(error).lower():
                    raise missing(f"A package that environment {self.name!r} needs", extra) from error
            told = f"Environment {self.name!r} needs a package that is not installed: {_one_line(error)}."
            raise InputError(told) from error
        except (gym.error.Error, ImportError) as error:
            told = f"No environment {self.name!r}: {_one_line(error)}"
            raise InputError(f"{told}; expected a Gymnasium id such as CartPole-v1, or MODULE:ID.") from error
        except (TypeError, ValueError) as error:
            if not self.kwargs:
                raise
            told = f"Environment {self.name!r} cannot be made with {self.kwargs}: {_one_line(error)}"
            raise InputError(f"{told}; expected keyword arguments that it takes.") from error

    @property
    def task(self) -> TaskSpec:
        """Its observations and actions.

        Raises:
            InputError: as `make` and `task_of`.
        """
        return self._facts[0]

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is truncated; none if it never is."""
        return self._facts[1]

    @property
    def true_reward(self) -> TrueReward | None:
        """The environment's own method `true_reward`; none if it has none."""
        return self._facts[2]

    @cached_property
    def _facts(self) -> tuple[TaskSpec, int | None, TrueReward | None]:
        env = self.make()
        try:
            limit = env.spec and env.spec.max_episode_steps
            if env.spec is None and env.has_wrapper_attr("_max_episode_steps"):  # of gymnasium.wrappers.TimeLimit
                limit = env.get_wrapper_attr("_max_episode_steps")
            return task_of(env, self.name), limit, getattr(env.unwrapped, "true_reward", None)
        finally:
            env.close()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. Of a function only the name is kept."""
        if not self.named:
            return {"name": self.name, "kwargs": self.kwargs}
        if isinstance(self.source, EnvSpec):
            return {"spec": self.source.to_json(), "kwargs": self.kwargs}
        return {"id": self.name, "kwargs": self.kwargs}

    @staticmethod
    def from_dict(content: Mapping[str, Any], file: Path | None = None) -> Environment:
        """The environment that `to_dict` gave. One of which only the name was kept cannot be made again.

        Args:
            content: what `to_dict` gave.
            file: where it stands, unless that is trusted.
        """
        if "name" in content:
            return Environment(content["name"], dict(content["kwargs"]), None)
        source = content["id"] if "id" in content else EnvSpec.from_json(content["spec"])
        return replace(Environment.of(source, content["kwargs"]), file=file)

    def maker(self) -> Callable[[], Env]:
        """A function that makes a copy, also in a process that does not know the id."""
        source: Any = self.source
        if isinstance(source, str):
            source = gym.registry.get(source.rpartition(":")[2], source)
        return partial(_build, source, self.kwargs)


def _build(source: EnvSource, kwargs: dict[str, Any]) -> Any:
    if isinstance(source, str | EnvSpec):
        return gym.make(source, disable_env_checker=True, **kwargs)
    return source(**kwargs)


def _one_line(what: object) -> str:
    return " ".join(str(what).split()).rstrip(".")


def task_of(env: Env, name: str) -> TaskSpec:
    """Observations and actions of an environment. `name` is what messages call it.

    Raises:
        InputError: its spaces are not among those that are supported.
    """
    obs, actions = obs_spec(env.observation_space, name), env.action_space
    if isinstance(actions, spaces.Discrete) and actions.start == 0:
        return TaskSpec(obs, int(actions.n))
    if isinstance(actions, spaces.Box) and len(actions.shape) == 1:
        width = actions.high.astype(np.float64) - actions.low
        if np.all((width > 0.0) & (width < 1e30)):
            return TaskSpec(obs, Bounds(tuple(actions.low.tolist()), tuple(actions.high.tolist())))
    raise InputError(
        f"Actions of {name!r} are {_one_line(actions)}; expected Discrete actions from 0 up, or a flat Box with finite "
        "bounds (gymnasium.wrappers.TransformAction declares them)."
    )


def obs_spec(space: gym.Space[Any], name: str) -> ObsSpec:
    """The arrays of an observation space. A Tuple becomes a dictionary with the keys "0", "1", and so on.

    uint8 stays uint8, other integers become int32, floating-point numbers float32. `name` is what messages call the
    environment.

    Raises:
        InputError: the space, or a part of it, is not supported.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return {key: obs_spec(part, name) for key, part in sorted(_parts(space.spaces).items())}
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ArraySpec((), "int32", int(space.n))
    if isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) and space.shape:
        if np.issubdtype(space.dtype, np.floating):
            return ArraySpec(space.shape, "float32")
        return ArraySpec(space.shape, "uint8" if space.dtype == np.uint8 else "int32")
    raise InputError(
        f"Observations of {name!r} are {_one_line(space)}; expected a Box with an axis, a Discrete from 0 up, a "
        "MultiBinary, a MultiDiscrete, or a Dict or Tuple of these: change them with a wrapper "
        "(gymnasium.wrappers.TransformObservation, or ReshapeObservation to add an axis)."
    )


def canonical(obs: Any, spec: ObsSpec) -> Obs:
    """A copy of what an environment returned, as arrays of the specification's types; one observation or a batch."""
    if isinstance(spec, ArraySpec):
        return np.array(obs, spec.dtype)
    parts = _parts(obs)
    return {key: canonical(parts[key], part) for key, part in spec.items()}


def _parts(whole: Any) -> dict[str, Any]:
    """The parts of a dictionary or tuple by name."""
    return {str(key): part for key, part in (whole.items() if isinstance(whole, Mapping) else enumerate(whole))}


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


class Stepper:
    """Copies of an environment that are stepped together and reset themselves. No transition crosses two episodes.

    Args:
        env: the environment.
        copies: how many.
        vectorization: `async` runs each copy in a process of its own.

    Raises:
        InputError: as `Environment.task`.
    """

    def __init__(self, env: Environment, copies: int, vectorization: Vectorization = "sync") -> None:
        self.task = env.task
        self.copies = copies
        options: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "copy": False}
        with interrupts.Foreign(), interrupts.deaf():
            if vectorization == "async":
                # A fork of a process that computes on several threads may hang.
                self._envs = AsyncVectorEnv([env.maker()] * copies, context="spawn", **options)
            else:
                self._envs = SyncVectorEnv([env.maker()] * copies, **options)
        self.obs: Obs = None
        """What each copy shows now, after the first `reset`."""

    def reset(self, seeds: int | Sequence[int | None]) -> None:
        """Begin a new episode in every copy, with one reset seed each; an integer s stands for s, s + 1, and so on."""
        each = seeds if isinstance(seeds, Sequence) else range(int(seeds), int(seeds) + self.copies)
        with interrupts.Foreign():
            shown, _ = self._envs.reset(seed=list(each))
        self.obs = canonical(shown, self.task.obs)

    def seed_actions(self, seed: int) -> None:
        """Seed the random actions."""
        self._envs.action_space.seed(seed)

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Actions drawn uniformly, one a copy."""
        return np.asarray(self._envs.action_space.sample())

    def step(self, action: Shaped[np.ndarray, "n *act"], next_seeds: Callable[[int], int | None] | None = None) -> Step:
        """Act once in every copy, then begin a new episode where one ended.

        Args:
            action: one a copy; clipped to the bounds.
            next_seeds: the reset seed of a copy's next episode. It is asked for each copy whose episode ended, in
                ascending order; without it, and where it gives none, the copy goes on with its own random numbers.
        """
        space = self._envs.single_action_space
        executed = np.asarray(action, space.dtype)
        if isinstance(space, spaces.Box):
            executed = np.clip(executed, space.low, space.high)
        recorded = executed.astype(np.int64 if self.task.discrete else np.float32)  # a copy: the environment may write
        with interrupts.Foreign():
            shown, reward, terminal, truncated, _ = self._envs.step(executed)
        obs, next_obs, ended = self.obs, canonical(shown, self.task.obs), terminal | truncated
        self.obs = next_obs
        if ended.any():
            seeds = [next_seeds(i) if next_seeds and ended[i] else None for i in range(self.copies)]
            with interrupts.Foreign():
                shown, _ = self._envs.reset(seed=seeds, options={"reset_mask": ended})
            self.obs = canonical(shown, self.task.obs)
        return Step(obs, recorded, next_obs, reward, terminal, ended)

    def close(self) -> None:
        """Close every copy. After a request to stop, one in a process of its own may hang or be gone."""
        with suppress(EOFError, OSError):
            self._envs.close(terminate=interrupts.requested())


def random_observations(env: Environment, n: int, seed: int) -> Obs:
    """The next n observations of a policy that draws its actions uniformly, from reset seed `seed`."""
    stepper = Stepper(env, 1)
    try:
        stepper.reset(seed)
        stepper.seed_actions(seed)
        seen = [stepper.step(stepper.random_actions()).next_obs for _ in range(n)]
        return jax.tree.map(lambda *rows: np.concatenate(rows), *seen)
    finally:
        stepper.close()
