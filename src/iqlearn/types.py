"""The records that flow between the parts of the library: arrays only, each field with its shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from iqlearn.errors import InputError

SMALL = 0.1
"""A coordinate of the action whose recorded range is a smaller share of its bounds is scaled by twice that range."""
ROUNDING = 1e-6
"""A scaled action whose distance to a bound is at most this share of half the width counts as at the bound, because
scaling rounds."""
MOST_CHOICES = 100_000
"""Largest number of discrete actions, or of categories of an observation: each is an input or output of a network."""
Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]
"""The figures of an update by name. They become the columns of `metrics.csv`."""
PRNGKey = Key[Array, ""]
Obs = PyTree  # of arrays; PyTree[...] with a type argument makes the runtime type checks of the tests slow
"""Observations: one array, or a dictionary of observations. Every array has the rows of the batch as its first axis."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of an observation."""

    shape: tuple[int, ...]
    """Shape of a single observation."""
    dtype: str = "float32"
    choices: int = 0
    """Number of categories of a `Discrete` observation; 0 for numbers."""

    def __post_init__(self) -> None:
        require_few(self.choices, "categories of a discrete observation")


ObsSpec = ArraySpec | dict[str, Any]
"""The arrays of an observation: one `ArraySpec`, or a dictionary of such specifications, nested as the observation."""


class Bounds(NamedTuple):
    """Lower and upper bound of each coordinate of a continuous action, in the environment's units."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    whole: bool = False
    """Whether actions are whole numbers."""

    def inside(self) -> Float[np.ndarray, "2 act"]:
        """Return the lower and upper bounds as float32, rounded inwards where float32 cannot represent them."""
        low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
        low = np.where(low < self.low, np.nextafter(low, np.float32(np.inf)), low)
        high = np.where(high > self.high, np.nextafter(high, np.float32(-np.inf)), high)
        return np.stack([low, high])


@dataclass(frozen=True)
class TaskSpec:
    """Observations and actions of a task."""

    obs: ObsSpec
    actions: int | Bounds
    """Number of discrete actions, or the bounds of continuous ones."""
    span: Bounds | None = None
    """Range of continuous actions that networks see as [−1, 1]. None: the bounds."""

    def __post_init__(self) -> None:
        if isinstance(self.actions, int):
            require_few(self.actions, "discrete actions")

    def __hash__(self) -> int:
        return hash(json.dumps(spec_to_dict(self)))

    def __str__(self) -> str:
        if isinstance(self.actions, int):
            actions = f"{self.actions} discrete actions"
        else:
            actions = f"actions from {list(self.actions.low)} to {list(self.actions.high)}"
        return f"observations of shape {in_words(self.obs)} and {actions}"

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete."""
        return isinstance(self.actions, int)

    @property
    def choices(self) -> int:
        """The number of discrete actions."""
        assert isinstance(self.actions, int), "actions are continuous"
        return self.actions

    @property
    def bounds(self) -> Bounds:
        """The bounds of continuous actions."""
        assert isinstance(self.actions, Bounds), "actions are discrete"
        return self.actions

    @property
    def action_shape(self) -> tuple[int, ...]:
        """Shape of a single action."""
        return () if self.discrete else (len(self.bounds.low),)

    @property
    def unbounded(self) -> TaskSpec:
        """The task with infinite bounds of continuous actions. With discrete actions, the task itself."""
        if self.discrete:
            return self
        n = len(self.bounds.low)
        return replace(self, actions=self.bounds._replace(low=(-np.inf,) * n, high=(np.inf,) * n))

    def spanned(self, actions: Any) -> TaskSpec:
        """Return the task with a span that fits these actions. The bounds do not change.

        A coordinate whose range is below a tenth of its bounds has that range as its span, extended on either side by
        half of the range. A coordinate with a wider range, or a constant one, has its bounds as its span.

        Args:
            actions: actions of the task, (n, act). With None or discrete actions the task is returned unchanged.
        """
        if actions is None or self.discrete:
            return self
        bounds, actions = np.array(self.bounds[:2], np.float64), np.asarray(actions, np.float64)
        seen = np.array([actions.min(axis=0), actions.max(axis=0)])
        width = seen[1] - seen[0]
        small = (width > 0.0) & (width < SMALL * (bounds[1] - bounds[0]))
        wider = seen + 0.5 * width * np.array([[-1.0], [1.0]])
        low, high = map(tuple, np.where(small, wider, bounds).tolist())
        return replace(self, span=Bounds(low, high))


def require_few(choices: int, what: str) -> None:
    """Check that a network can have an input or output for each choice.

    Raises:
        InputError: there are more than 100,000.
    """
    if choices > MOST_CHOICES:
        wanted = f"at most {MOST_CHOICES:,}, describe a choice by several numbers, as a Box does"
        raise InputError(f"There are {choices:,} {what}; expected {wanted}.")


def in_words(obs: ObsSpec) -> str:
    """Return the shapes of an observation as text, for messages.

    >>> in_words({"goal": ArraySpec((2,)), "cell": ArraySpec((), "int32", 9)})
    '{goal: (2,), cell: one of 9}'
    """
    if isinstance(obs, ArraySpec):
        return f"one of {obs.choices}" if obs.choices else str(obs.shape)
    return "{" + ", ".join(f"{name}: {in_words(part)}" for name, part in obs.items()) + "}"


def spec_to_dict(spec: TaskSpec) -> dict[str, Any]:
    """Return the task as plain JSON values, without its span."""

    def plain(obs: ObsSpec) -> Any:
        if isinstance(obs, ArraySpec):
            return {"shape": list(obs.shape), "dtype": obs.dtype, "choices": obs.choices}
        return {"parts": {name: plain(part) for name, part in obs.items()}}

    actions = spec.actions
    if isinstance(actions, Bounds):
        actions = {"low": list(actions.low), "high": list(actions.high)} | ({"whole": True} if actions.whole else {})
    return {"obs": plain(spec.obs), "actions": actions}


def spec_from_dict(content: dict[str, Any]) -> TaskSpec:
    """Return the task of a dictionary that `spec_to_dict` returned. It has no span."""

    def obs(part: dict[str, Any]) -> ObsSpec:
        if "parts" in part:
            return {name: obs(inner) for name, inner in part["parts"].items()}
        rest = dict(part)
        return ArraySpec(tuple(rest.pop("shape")), **rest)

    actions = content["actions"]
    if isinstance(actions, dict):
        sides = {side: tuple(values) for side, values in actions.items() if side != "whole"}
        actions = Bounds(**sides, whole=actions.get("whole", False))
    return TaskSpec(obs(content["obs"]), actions)


class Transitions(NamedTuple):
    """Transitions (s, a, s', d), one a row."""

    obs: Obs
    action: Int[Array, " n"] | Float[Array, "n act"]
    next_obs: Obs
    terminal: Bool[Array, " n"]
    """d: true only where the episode truly ended. A time limit does not count as an end: s' keeps its value."""


class Batch(NamedTuple):
    """The batch of one update of an imitator."""

    expert: Transitions
    """Transitions of the expert."""
    visited: Transitions | None
    """Transitions of the learner. None where only the expert's are known."""
    initial_obs: Obs
    """First observations of the expert's episodes."""


class Rewarded(NamedTuple):
    """Transitions with a reward. Only experts and agents learn from these, never an imitator."""

    transitions: Transitions
    reward: Float[Array, " n"]


RewardFunction = Callable[[Transitions], Float[np.ndarray, " n"]]
"""A function on the host that returns the reward of each transition."""


class ActionScale(eqx.Module):
    """The affine map from an environment's continuous actions to the networks' units, where their span is [−1, 1]."""

    centre: Float[Array, " act"]
    half: Float[Array, " act"]
    """Half the width of the span. It is 0 for a fixed coordinate, whose value in the networks' units is 0."""
    limits: Float[Array, "2 act"]
    """The bounds in the environment's units, rounded inwards where float32 cannot represent them."""
    unit_limits: Float[Array, "2 act"]
    """The bounds in the networks' units: −1 and 1 where the span equals the bounds, else beyond −1 and 1."""
    whole: bool = eqx.field(static=True)
    """Whether actions are whole numbers."""

    def __init__(self, task: TaskSpec) -> None:
        bounds, span = (np.array(part[:2], np.float64) for part in (task.bounds, task.span or task.bounds))
        self.whole = task.bounds.whole
        self.limits = jnp.asarray(task.bounds.inside())
        centre, half = span.mean(axis=0), (span[1] - span[0]) / 2
        beyond = (bounds - centre) / np.where(half > 0.0, half, 1.0)
        beyond = np.where((bounds == span).all(axis=0), [[-1.0], [1.0]], beyond)
        self.centre, self.half, self.unit_limits = (jnp.asarray(x, jnp.float32) for x in (centre, half, beyond))

    def to_unit(self, action: Float[Array, "n act"]) -> Float[Array, "n act"]:
        """Convert actions from the environment's units to the networks' units. The scale itself has no gradient."""
        half = jax.lax.stop_gradient(jnp.where(self.half > 0.0, self.half, 1.0))
        return (action - jax.lax.stop_gradient(self.centre)) / half

    def to_env(self, unit: Float[Array, "n act"]) -> Float[Array, "n act"]:
        """Convert actions from the networks' units to the environment's units. The scale itself has no gradient."""
        return jax.lax.stop_gradient(self.centre) + jax.lax.stop_gradient(self.half) * unit

    def executed(self, action: Float[np.ndarray, "n act"]) -> Float[np.ndarray, "n act"]:
        """Return the actions that an environment executes: rounded if whole numbers, and clipped to the bounds."""
        return np.clip(np.rint(action) if self.whole else action, *np.asarray(self.limits))


def rows(tree: Any) -> int:
    """Return the number of rows of a tree of arrays."""
    return jax.tree.leaves(tree)[0].shape[0]
