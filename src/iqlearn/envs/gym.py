"""Gymnasium environments: how they are named, made and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from iqlearn import interrupts
from iqlearn.envs import modules
from iqlearn.envs.probe import Facts, TrueReward, look
from iqlearn.envs.worker import build, one_line
from iqlearn.errors import InputError, missing
from iqlearn.types import TaskSpec

Env = gym.Env[Any, Any]
EnvSource = str | EnvSpec | Callable[..., Env]
"""A Gymnasium id (also `MODULE:ID`), a specification, or a function that makes the environment."""
EXTRAS = {"box2d": "box2d", "dm_control": "dmc", "mujoco": "mujoco"}
"""Name in the error message of a missing dependency → extra of this package that installs the dependency."""


@dataclass(frozen=True)
class Environment:
    """An environment as the user specifies it. Copies of it are made when they are needed.

    >>> Environment.of("iqlearn.envs:iqlearn/GridWorld-v0", {"size": 6}).task.obs
    ArraySpec(shape=(36,), dtype='float32', choices=0)
    """

    name: str
    """The id, or the qualified name of the function."""
    kwargs: dict[str, Any]
    """Keyword arguments of `gymnasium.make`, or of the function."""
    source: EnvSource | None
    """The id, specification or function that makes the environment. None if it was a function and was read from a file,
    which stores only the name."""
    cap: int | None = None
    """Steps after which episodes are truncated, in addition to the environment's own time limit."""
    file: Path | None = field(default=None, compare=False)
    """The file that names the environment, if the user did not: its module is imported only if it is trusted."""

    @staticmethod
    def of(env: EnvSource | Environment, kwargs: Mapping[str, Any] | None = None) -> Environment:
        """Return the environment of an id, `MODULE:ID`, specification or function, with these keyword arguments.

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
        """Whether a file can store the environment: it comes from an id or a specification, not from a function."""
        return isinstance(self.source, str) or (
            isinstance(self.source, EnvSpec) and not callable(self.source.entry_point)
        )

    def make(self) -> Env:
        """Return a new copy of the environment.

        Raises:
            InputError: the environment does not exist, cannot be made, does not accept the keyword arguments, or needs
                a package that is not installed; or it was read from a file that stores only the name of its function,
                or that is not trusted.
        """
        with interrupts.Foreign():
            return self._made()

    def _made(self) -> Env:
        if self.source is None:
            told = f"{self.name} was a function, which no file holds"
            raise InputError(f"{told}; expected it again, in Python: iq.resume(DIR, env=function).")
        if self.file is not None and not callable(self.source):
            modules.require_trusted(self.source, self.file)
        try:
            if isinstance(self.source, str):
                modules.load(self.source)
            env: Any = build(self.source, self.kwargs, self.cap)
        except (gym.error.Error, ModuleNotFoundError) as error:
            lacking = isinstance(error, gym.error.DependencyNotInstalled | ModuleNotFoundError)
            for package, extra in EXTRAS.items():
                if lacking and package in str(error).lower():
                    raise missing(f"A package that environment {self.name!r} needs", extra) from error
            if isinstance(error, gym.error.DependencyNotInstalled):
                told = f"Environment {self.name!r} needs a package that is not installed: {one_line(error)}."
                raise InputError(told) from error
            told = f"No environment {self.name!r}: {one_line(error)}"
            raise InputError(f"{told}; expected a Gymnasium id such as CartPole-v1, or MODULE:ID.") from error
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            told = f"Environment {self.name!r} cannot be made with {self.kwargs}: {type(error).__name__}"
            told += f": {one_line(error)}; expected keyword arguments that it takes"
            raise InputError(f"{told}, and code that runs.") from error
        if not isinstance(env, gym.Env):
            raise InputError(f"{self.name} returned a {type(env).__name__}; expected a gymnasium.Env.")
        return env

    def capped(self, steps: int | None) -> Environment:
        """Return the same environment with episodes of at most `steps` steps. None changes nothing."""
        return self if steps is None else replace(self, cap=steps)

    @property
    def task(self) -> TaskSpec:
        """The observations and actions of the environment.

        Raises:
            InputError: as `make`; also if its spaces are not supported, or it fails in a first test (`facts`).
        """
        return self.facts.task

    @property
    def time_limit(self) -> int | None:
        """Steps after which an episode is truncated; none if it never is."""
        return self.facts.time_limit

    @property
    def true_reward(self) -> TrueReward | None:
        """The environment's own method `true_reward`; none if it has none."""
        return self.facts.true_reward

    @cached_property
    def facts(self) -> Facts:
        """The facts from a first test of a copy, which is reset and stepped (`look`).

        Raises:
            InputError: as `task`.
        """
        env = self.make()
        with interrupts.Foreign():
            return look(env, self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the environment as plain JSON values. A function is stored by its name only."""
        how = {"kwargs": self.kwargs} | ({} if self.cap is None else {"cap": self.cap})
        if not self.named:
            return {"name": self.name, **how}
        return ({"spec": self.source.to_json()} if isinstance(self.source, EnvSpec) else {"id": self.name}) | how

    @staticmethod
    def from_dict(content: Mapping[str, Any], file: Path | None = None) -> Environment:
        """Return the environment that `to_dict` described. One that was stored by its name only cannot be made again.

        Args:
            content: the result of `to_dict`.
            file: the file that holds the content, unless that file is trusted.
        """
        if "name" in content:
            return Environment(content["name"], dict(content["kwargs"]), None, content.get("cap"))
        source = content["id"] if "id" in content else EnvSpec.from_json(content["spec"])
        return replace(Environment.of(source, content["kwargs"]), cap=content.get("cap"), file=file)

    def maker(self) -> Callable[[], Env]:
        """Return a function that makes a copy, also in a process where the id is not registered."""
        source: Any = self.source
        if isinstance(source, str):
            source = gym.registry.get(source.rpartition(":")[2], source)
        return partial(build, source, self.kwargs, self.cap)
