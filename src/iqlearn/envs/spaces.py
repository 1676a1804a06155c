"""Spaces as arrays: which spaces are supported, how observations are read, and how actions are executed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from iqlearn.envs.worker import brief, one_line
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.types import MOST_CHOICES, ArraySpec, Bounds, Obs, ObsSpec, TaskSpec

PLAIN = (bool, np.bool_, float)
"""Types of rewards and flags that need no conversion."""
COUNTED = (
    "gymnasium.wrappers.TransformAction(env, lambda a: a + {start}, gymnasium.spaces.Discrete(env.action_space.n))"
)
COMBINED = (
    "gymnasium.wrappers.TransformAction(env, lambda a: (numpy.array(numpy.unravel_index(a, {sizes})){more}), "
    "gymnasium.spaces.Discrete({n}))"
)
FLATTENED = (
    "gymnasium.wrappers.TransformAction(env, lambda a: a.reshape({shape}), gymnasium.spaces.Box("
    "env.action_space.low.ravel(), env.action_space.high.ravel(), dtype=env.action_space.dtype))"
)
BOUNDED = (
    "gymnasium.wrappers.TransformAction(env, lambda a: a, gymnasium.spaces.Box(-1.0, 1.0, env.action_space.shape, "
    "env.action_space.dtype))"
)
SEEN_FROM_0 = (
    "gymnasium.wrappers.TransformObservation(env, lambda s: s - {start}, "
    "gymnasium.spaces.Discrete(env.observation_space.n))"
)
SEEN_AS_ARRAY = "gymnasium.wrappers.ReshapeObservation(env, (1,))"
"""Wrappers that turn an unsupported space into a supported one, as suggestions in messages. Their lambdas do not use
`env`, because that name is often reassigned."""


def task_of(observations: gym.Space[Any], actions: gym.Space[Any], name: str) -> TaskSpec:
    """Return the task of an environment with these spaces. `name` is the environment's name in messages.

    Raises:
        InputError: a space is not supported.
    """
    obs, remedy = obs_spec(observations, name), ""
    if isinstance(actions, spaces.Discrete):
        if actions.start == 0:
            return TaskSpec(obs, int(actions.n))
        remedy = f"{COUNTED.format(start=actions.start)}, and count the actions of demonstrations from 0"
    elif isinstance(actions, spaces.MultiDiscrete | spaces.MultiBinary):
        sizes = np.ravel(getattr(actions, "nvec", np.full(actions.shape, 2))).tolist()
        if (n := math.prod(sizes)) > MOST_CHOICES:
            told = f"Actions of {name!r} are {one_line(actions)}, {n:,} combinations"
            raise InputError(f"{told}; expected at most {MOST_CHOICES:,}, or a flat Box with bounds.")
        start = np.ravel(getattr(actions, "start", 0))
        more = f" + {start.tolist()}" if start.any() else ""
        more += f").reshape({actions.shape}" if len(actions.shape) > 1 else ""
        remedy = f"{COMBINED.format(sizes=sizes, n=n, more=more)}, and number the actions of demonstrations with "
        remedy += "numpy.ravel_multi_index" + (" of the actions less the start" if start.any() else "")
    elif isinstance(actions, spaces.Box):
        widest = np.max(actions.high.astype(np.float64) - actions.low, initial=0.0)
        if not widest < (2.0**63 if np.issubdtype(actions.dtype, np.integer) else 1e30):
            remedy = f"{BOUNDED} with the bounds of your actions in place of -1 and 1"
        elif len(actions.shape) != 1:
            remedy = f"{FLATTENED.format(shape=actions.shape)}, and flatten the actions of demonstrations"
        elif np.any(actions.high > actions.low):
            whole = bool(np.issubdtype(actions.dtype, np.integer))
            return TaskSpec(obs, Bounds(tuple(actions.low.tolist()), tuple(actions.high.tolist()), whole))
    told = f"Actions of {name!r} are {one_line(actions)}; expected Discrete ones from 0 up, or a flat Box with bounds"
    raise InputError(f"{told}: wrap it as {remedy}." if remedy else f"{told} that differ and at least one coordinate.")


def obs_spec(space: gym.Space[Any], name: str, nested: bool = False) -> ObsSpec:
    """Return the arrays of an observation space. A Tuple becomes a dictionary with the keys "0", "1", and so on.

    uint8 stays uint8, other integers become int32, floating-point numbers become float32. `name` is the environment's
    name in messages. `nested` is true for a part of a Dict or Tuple.

    Raises:
        InputError: the space, or a part of it, is not supported.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple) and space.spaces:
        return {key: obs_spec(part, name, True) for key, part in sorted(_parts(space.spaces).items())}
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return ArraySpec((), "int32", int(space.n))
    if isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete) and space.shape:
        if np.issubdtype(space.dtype, np.floating):
            return ArraySpec(space.shape, "float32")
        return ArraySpec(space.shape, "uint8" if space.dtype == np.uint8 else "int32")
    remedy = "change them with gymnasium.wrappers.TransformObservation"
    if isinstance(space, spaces.Discrete) and not nested:
        remedy = f"wrap it as {SEEN_FROM_0.format(start=space.start)}"
    elif isinstance(space, spaces.Box) and not nested:
        remedy = f"wrap it as {SEEN_AS_ARRAY}"
    raise InputError(
        f"Observations of {name!r} are {one_line(space)}; expected a Box with an axis, a Discrete from 0 up, a "
        f"MultiBinary, a MultiDiscrete, or a Dict or Tuple of these: {remedy}."
    )


def canonical(obs: Any, spec: ObsSpec) -> Obs:
    """Return a copy of one observation or a batch, as arrays of the specification's dtypes."""
    if isinstance(spec, ArraySpec):
        return np.array(obs, spec.dtype)
    parts = _parts(obs)
    return {key: canonical(parts[key], part) for key, part in spec.items()}


def checked(obs: Any, spec: ObsSpec, what: str = "the observation") -> Obs:
    """Check one observation from an environment and return a copy, as arrays of the specification's dtypes.

    Lists are accepted as arrays, integers as floating-point numbers, and a single number as an array of one. `what` is
    the observation's name in messages.

    Raises:
        EnvironmentFault: the structure or shape is wrong, or a value is not a number, not finite, out of range, or does
            not fit the dtype.
    """
    if not isinstance(spec, ArraySpec):
        parts = _parts(obs) if isinstance(obs, Mapping | tuple | list) else {}
        if parts.keys() != spec.keys():
            has = f"the parts {', '.join(sorted(parts))}" if parts else brief(obs)
            raise EnvironmentFault(f"{what} is {has}; expected the parts {', '.join(spec)}, as in its space")
        return {key: checked(parts[key], part, f"{what}'s part {key}") for key, part in spec.items()}
    try:
        given = np.asarray(obs)
    except ValueError:  # a list of rows of unequal length
        given = np.array(None)
    if given.dtype.kind not in "biuf":
        raise EnvironmentFault(f"{what} is {brief(obs)}; expected numbers of shape {spec.shape}")
    with np.errstate(over="ignore"):  # too large a number becomes infinite, which is reported below
        found = np.array(given, spec.dtype)
    if found.shape != spec.shape:
        if not found.size == 1 == np.prod(spec.shape):
            raise EnvironmentFault(f"{what} has shape {found.shape}; expected {spec.shape}, as in its space")
        found = found.reshape(spec.shape)
    if found.dtype.kind == "f":
        if not np.logical_and.reduce(np.isfinite(found), axis=None):  # np.all takes twice as long
            raise EnvironmentFault(f"{what} has values that are not finite: {brief(found)}; expected finite float32")
    elif given.dtype != found.dtype and not np.array_equal(found.ravel(), given.ravel()):
        raise EnvironmentFault(f"{what} is {brief(obs)} ({given.dtype}); expected whole numbers that fit {spec.dtype}")
    if spec.choices and not 0 <= found < spec.choices:
        raise EnvironmentFault(f"{what} is {found}; expected 0 to {spec.choices - 1}")
    return found


def number(value: Any, what: str) -> Any:
    """Return the finite number in a value from an environment: a number, a flag, or an array of one.

    `what` is the value's name in messages.

    Raises:
        EnvironmentFault: the value is not one finite number.
    """
    if isinstance(value, PLAIN) and math.isfinite(value):
        return value
    given = np.asarray(value)
    if given.dtype.kind not in "biuf" or given.size != 1 or not np.isfinite(given).all():
        raise EnvironmentFault(f"the {what} is {brief(value)}; expected one finite number")
    return given.item()


def executed(space: gym.Space[Any], action: Any) -> Any:
    """Return a copy of one action or a batch, in the form that the environment accepts.

    Actions of a Box are rounded if its dtype is an integer, clipped to its bounds, and cast to its dtype.
    """
    if not isinstance(space, spaces.Box):
        return np.array(action, space.dtype)
    given = np.rint(action) if np.issubdtype(space.dtype, np.integer) else np.asarray(action, space.dtype)
    return np.minimum(np.maximum(given, space.low), space.high).astype(space.dtype)  # np.clip takes three times as long


def actions_seed(seed: int) -> int:
    """Return the seed of random actions in an episode with this reset seed.

    With the reset seed itself, a space would draw the same numbers as Gymnasium's environments.
    """
    return int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])


def stacked(rows: list[Any]) -> Obs:
    """Stack single observations into a batch."""
    if isinstance(rows[0], dict):
        return {key: stacked([row[key] for row in rows]) for key in rows[0]}
    return np.array(rows)


def _parts(whole: Any) -> dict[str, Any]:
    """Return the parts of a dictionary or tuple by name; the name in a tuple is the index."""
    return {str(key): part for key, part in (whole.items() if isinstance(whole, Mapping) else enumerate(whole))}
