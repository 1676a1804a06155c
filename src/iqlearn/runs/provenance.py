"""The provenance of a run: its schedule, its origin, the versions of packages, and its settings as JSON."""

from __future__ import annotations

import importlib.metadata
import platform
import typing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import jax

from iqlearn.algorithms import ALGORITHMS
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import TIMEOUT, Faults, Vectorization
from iqlearn.errors import InputError, require, require_not_negative, require_positive, require_types
from iqlearn.extensions import EXTENSIONS

Mode = Literal["online", "offline"]


@dataclass(frozen=True)
class Schedule:
    """Length of training, and its evaluations."""

    steps: int = 10_000
    """Environment steps online, updates offline."""
    evaluations: int = 10
    """Maximum number of evaluations during training, evenly spread. The last one is of the final policy. 0 for none."""
    eval_episodes: int = 20
    """Episodes of an evaluation."""
    sampled: bool = False
    """Evaluate samples of the policy instead of its most likely actions."""
    seed: int = 0
    """Seed of all random numbers."""
    eval_envs: int = 20
    """Maximum number of copies of the environment in an evaluation; async at most `num_envs`."""
    max_episode_steps: int | None = None
    """Steps after which every episode is truncated, beside the environment's own time limit."""

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(self, "steps", "eval_episodes", "eval_envs")
        require_not_negative(self, "evaluations")
        if self.max_episode_steps is not None:
            require_positive(self, "max_episode_steps")
        require(self.seed >= 0, "seed", self.seed, "a number of at least 0")

    @property
    def chunk(self) -> int:
        """Steps between two evaluations or, without evaluations, between two checkpoints."""
        return -(-self.steps // (self.evaluations or Schedule.evaluations))


@dataclass(frozen=True)
class Interaction:
    """How the learner acts in the environment while it learns."""

    num_envs: int = 1
    """Copies of the environment."""
    vectorization: Vectorization = "sync"
    """Step all copies in this process (sync), or each in a process of its own (async), also in evaluations."""
    env_faults: Faults = "stop"
    """If an environment fails, stop the run (stop), or drop its step and make it again (restart)."""
    env_timeout: float = TIMEOUT
    """Seconds that an async environment has for a step or reset. A sync one cannot be interrupted."""
    random_steps: int = 1_000
    """Environment steps with random actions before the first update (Stable-Baselines3: learning_starts). A pretrained
    policy acts instead. Extensions may add a phase of their own."""
    update_ratio: float = 1.0
    """Updates for each environment step."""
    round_steps: int = 50
    """Environment steps between two calls of the compiled loop, rounded up to a multiple of `num_envs`."""
    replay: int = 1_000_000
    """Capacity of the replay, in transitions."""

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(self, "num_envs", "update_ratio", "round_steps", "replay", "env_timeout")
        require_not_negative(self, "random_steps")
        room = f"room for a round, {self.steps_per_round} steps"
        require(self.replay >= self.steps_per_round, "replay", self.replay, room)
        idle = self.vectorization == "sync" and self.env_timeout != TIMEOUT
        require(not idle, "env_timeout", self.env_timeout, "vectorization async, only then a step can be interrupted")

    @property
    def steps_per_round(self) -> int:
        """`round_steps`, rounded up to a multiple of `num_envs`."""
        return -(-self.round_steps // self.num_envs) * self.num_envs

    @property
    def stepping(self) -> dict[str, Any]:
        """Keyword arguments of `Stepper` and `Evaluator`."""
        return {"vectorization": self.vectorization, "faults": self.env_faults, "timeout": self.env_timeout}


@dataclass(frozen=True)
class Origin:
    """The environment, and the demonstrations or the reward, that a run learnt from."""

    environment: Environment | None
    """The environment in which the policy is evaluated and, online, acts; none without one."""
    demos: str | None
    """Where the demonstrations came from; none for an expert."""
    path: str | None = None
    """The file of the demonstrations, if there is one."""
    selection: tuple[Any, ...] = ()
    """The trajectories and rows that were taken (see `Demos.selection`)."""
    columns: tuple[Any, ...] = ()
    """The columns of the file that make up each field, where they were named (see `Demos.columns`)."""
    max_gib: float | None = None
    """The largest allowed size of the file in GiB, where it was stated: larger files are thinned out."""
    sha256: str = ""
    """SHA-256 of the demonstrations as the learner saw them."""
    held_out_sha256: str = ""
    """SHA-256 of the held-out episodes, on which the policies are evaluated; empty without any."""
    transitions: int = 0
    episodes: int = 0
    ends: int = 0
    """Number of expert transitions that truly ended an episode."""
    reward: str | None = None
    """The recovered reward that an expert learnt from instead of the environment's: a run folder or a file."""
    reward_sha256: str = ""

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def title(self) -> str:
        """Name of the environment, or without one of the demonstrations, for messages and titles."""
        return str(self.demos) if self.environment is None else self.environment.name

    @classmethod
    def of(cls, environment: Environment | None, demos: Demos) -> Origin:
        """Return the origin of a run from its environment and its demonstrations as the learner sees them."""
        held_out = "" if demos.held_out is None else demos.held_out.sha256()
        facts = demos.source, demos.path, demos.selection, demos.columns, demos.max_gib, demos.sha256(), held_out
        return cls(environment, *facts, len(demos), demos.episodes, int(demos.term.sum()))

    @classmethod
    def from_dict(cls, plain: dict[str, Any], file: Path | None = None) -> Origin:
        """Return the origin that `to_dict` wrote. `file` is the file that holds it, unless that file is trusted."""
        env = plain["environment"]
        return build(cls, plain | {"environment": None if env is None else Environment.from_dict(env, file)})


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on, and the name of the device."""
    packages = ("iqlearn", "jax", "jaxlib", "equinox", "optax", "gymnasium", "numpy")
    found = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), **found, "device": jax.devices()[0].device_kind}


def to_dict(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as plain JSON values. The name of an algorithm or extension comes first."""

    def plain(value: Any) -> Any:
        if isinstance(value, Environment):
            return value.to_dict()
        if is_dataclass(value):
            return to_dict(value)
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    named = {"name": settings.name} if hasattr(settings, "name") else {}
    return named | {f.name: plain(getattr(settings, f.name)) for f in fields(settings)}


def settings_of(plain: dict[str, Any]) -> Any:
    """Return the algorithm, with its extensions, that `to_dict` wrote.

    Raises:
        InputError: an unknown name or setting, or a value out of range.
    """
    rest = dict(plain)
    extensions = tuple(_named(part, EXTENSIONS, "Extension") for part in rest.pop("extensions", ()))
    return _named(rest | ({"extensions": extensions} if "extensions" in plain else {}), ALGORITHMS, "Algorithm")


def _named(plain: dict[str, Any], registry: dict[str, Any], what: str) -> Any:
    rest = dict(plain)
    name = rest.pop("name", None)
    if name not in registry:
        raise InputError(f"{what} {name!r} is unknown; expected one of {', '.join(registry)}.")
    return build(registry[name], rest)


def build(kind: type[Any], plain: dict[str, Any]) -> Any:
    """Return a dataclass from its plain fields. Nested dataclasses are built too, and lists become tuples.

    Raises:
        InputError: a field is unknown, or of another type.
    """
    require(isinstance(plain, dict), kind.__name__, plain, "an object with its fields")
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    values = {}
    for name, value in plain.items():
        require(name in known, name, value, f"a setting that {kind.__name__} has")
        if is_dataclass(hints[name]):
            value = build(typing.cast(type[Any], hints[name]), value)
        values[name] = _hashable(value)
    return kind(**values)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value
