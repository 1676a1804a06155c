"""Inspection of demonstrations: summaries, remarks, the inferred task, and checks against a given task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Shaped

from iqlearn.data.fields import OBSERVED, Actions, Arrays, flat, root
from iqlearn.errors import InputError
from iqlearn.types import MOST_CHOICES, ArraySpec, Bounds, ObsSpec, TaskSpec, in_words

Demos = Any
"""The `Demos` of demos.py, which imports this module."""
BOUND_SLACK = 1e-3
"""How far recorded actions may lie outside of their bounds because of rounding, as a share of the range."""
MOST_SHOWN = 1_000
"""Largest number of choices that may be inferred from data, because networks have an input or output for each."""
FEW_STEPS = 4_096
"""A coordinate is nearly constant if its range is less than this many float32 steps at its size."""
ABSURD = 1e6
"""A value is absurd if its distance from the median is more than this many times the 90 % quantile of distances."""


def check(demos: Demos, spec: TaskSpec, env: str) -> None:
    """Implement `Demos.check_task`."""
    source, act = demos.source, demos.act
    found, wanted = flat("obs", demos.obs), flat("obs", spec.obs)
    for name in sorted(found.keys() ^ wanted.keys()):
        what = "is missing" if name in wanted else "is no part of the environment's observations"
        raise InputError(f"{source}: field {name!r} {what}; expected {in_words(spec.obs)} as {env} has.")
    for name, part in wanted.items():
        check_part(demos, name, found[name], part, env)
    if act is None:
        return
    if spec.discrete != demos.discrete:
        has, expected = ("integers", "vectors") if demos.discrete else ("vectors", "integers")
        kind = "discrete" if spec.discrete else "continuous"
        raise InputError(f"{source}: field 'act' holds {has}; expected {expected}, {env} has {kind} actions.")
    if demos.choices not in (None, spec.actions):
        raise InputError(f"--actions is {demos.choices}; expected {spec.choices} as {env} has, leave --actions out.")
    if isinstance(spec.actions, Bounds):
        check_bounds(act, spec.actions, source, env)
    else:
        check_choices(act, spec.actions, f"{source}: field 'act'", f"the actions of {env}")


def check_part(demos: Demos, name: str, obs: np.ndarray, part: ArraySpec, env: str) -> None:
    """Check that an array of the observations has the shape, the kind of numbers and the categories of the task."""
    place = f"{demos.source}: field {name!r} holds"
    if obs.shape[1:] != part.shape:
        shape = f"() ({in_words(part)})" if part.choices else part.shape
        raise InputError(f"{place} observations of shape {obs.shape[1:]}; expected {shape} as {env} has.")
    if (obs.dtype.kind == "f") != (np.dtype(part.dtype).kind == "f"):
        raise InputError(f"{place} {obs.dtype}; expected {part.dtype} as {env} has, save the same numbers as it shows.")
    if part.choices:
        for field in OBSERVED:
            other = field + name.removeprefix("obs")
            values = flat(field, getattr(demos, field))[other]
            check_choices(values, part.choices, f"{demos.source}: field {other!r}", f"the categories of {env}")


def check_choices(values: Shaped[np.ndarray, " n"], choices: int, place: str, whose: str) -> None:
    """Raise `InputError` if one of the values is not below `choices`."""
    for index in np.flatnonzero(values >= choices)[:1]:
        raise InputError(f"{place} at index {index} is {values[index]}; expected 0 to {choices - 1}, {whose}.")


def check_bounds(act: Float[np.ndarray, "n act"], bounds: Bounds, source: str, env: str) -> None:
    """Check that continuous actions have the right number of coordinates and lie in their bounds, up to rounding."""
    low, high = np.array(bounds.low), np.array(bounds.high)
    if act.shape[1] != len(low):
        raise InputError(
            f"{source}: field 'act' holds vectors of {act.shape[1]} numbers; expected {len(low)}, the actions of {env}."
        )
    slack = BOUND_SLACK * (high - low)
    outside = (act < low - slack) | (act > high + slack)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise InputError(
            f"{source}: field 'act' at index {row}, coordinate {column} is {act[row, column]:g}; "
            f"expected {low[column]:g} to {high[column]:g}, the bounds of {env}; clip it as the environment did, or "
            "wrap the environment in gymnasium.wrappers.RescaleAction if the recording scaled its actions."
        )


def observed(demos: Demos) -> ObsSpec:
    """Implement `Demos.obs_spec`."""

    def part(*arrays: np.ndarray) -> ArraySpec:
        shape = arrays[0].shape[1:]
        return ArraySpec(shape, str(arrays[0].dtype), 0 if shape else 1 + max(int(x.max()) for x in arrays))

    return jax.tree.map(part, *(getattr(demos, field) for field in OBSERVED))


def check_shown(demos: Demos, name: str, values: Shaped[np.ndarray, " n"], remedy: str) -> None:
    """Raise `InputError` if the values are too large to infer the number of choices from them."""
    unknown = f" where nothing states how many choices there are; {remedy}"
    for limit, more in ((MOST_CHOICES, ""), (MOST_SHOWN, unknown)):
        for index in np.flatnonzero(values >= limit)[:1]:
            wanted = f"numbers from 0 up, below {limit:,}{more}"
            raise InputError(f"{demos.source}: field {name!r} at index {index} is {values[index]}; expected {wanted}.")


def task(demos: Demos) -> TaskSpec:
    """Implement `Demos.task_spec`."""
    for field in OBSERVED:
        for name, values in flat(field, getattr(demos, field)).items():
            if values.ndim == 1:
                check_shown(demos, name, values, "name the environment with --env (in Python env=...)")
    if demos.choices is not None:
        return TaskSpec(observed(demos), demos.choices)
    if demos.act is None:
        raise InputError(
            f"{demos.source}: the actions of the task are unknown, because field 'act' is missing or state_only hides "
            "it; expected an environment, give it with --env (in Python env=...)."
        )
    if demos.discrete:
        check_shown(demos, "act", demos.act, "give their number with --actions (in Python demos.with_choices)")
        return TaskSpec(observed(demos), int(demos.act.max()) + 1)
    low, high = np.minimum(demos.act.min(axis=0), -1.0), np.maximum(demos.act.max(axis=0), 1.0)
    return TaskSpec(observed(demos), Bounds(tuple(low.tolist()), tuple(high.tolist())))


def following(demos: Demos) -> Bool[np.ndarray, " rest"]:
    """Return, for each row but the first, whether it continues the row before: same episode, and s equals its s'."""
    same = jax.tree.map(lambda s, t: (s[1:] == t[:-1]).all(axis=tuple(range(1, s.ndim))), demos.obs, demos.next_obs)
    return np.logical_and.reduce([demos.ep[1:] == demos.ep[:-1], *jax.tree.leaves(same)])


def summary(demos: Demos) -> dict[str, Any]:
    """Implement `Demos.summary`."""
    follows, returns, spec = following(demos), demos.episode_return, observed(demos)
    return {
        "source": demos.source,
        "env": demos.env,
        "transitions": len(demos),
        "episodes": demos.episodes,
        "episode_length": spread(demos.lengths),
        "contiguous": bool(follows.sum() == len(demos) - demos.episodes),
        "remarks": demos.remarks(),
        "terminal_ends": int(demos.term.sum()),
        "truncated_ends": int(demos.trunc.sum()),
        "observation_shape": jax.tree.map(lambda part: list(part.shape), spec),
        "observation_dtype": jax.tree.map(lambda part: part.dtype, spec),
        "actions": described(demos.act),
        "action_range": None if demos.act is None else [float(demos.act.min()), float(demos.act.max())],
        "actions_at_bounds": None if demos.act is None or demos.discrete else at_bounds(demos.act),
        "returns": None if returns is None else spread(returns),
        "sha256": demos.sha256(),
    }


def remarks(demos: Demos) -> list[str]:
    """Implement `Demos.remarks`, except for actions that are shifted in time."""
    found = _of_order(demos) if demos.every == 1 else []
    if demos.act is not None and one_hot(demos.act):
        found.append("every action is one-hot and read as continuous; if the actions are discrete, save act.argmax(1)")
    return found + _of_numbers(demos) + (duplicates(demos) if len(demos) > 1 else []) + [*demos.notes]


def _of_order(demos: Demos) -> list[str]:
    """Return remarks on rows that do not follow one another, and on episodes without an end."""
    found, follows = [], following(demos)
    inside = demos.ep[1:] == demos.ep[:-1]
    broken = np.flatnonzero(inside & ~follows) + 1
    if len(broken):
        found.append(
            f"{len(broken)} of {int(inside.sum())} rows do not begin where the row before them ended (the first is row "
            f"{broken[0]}): the file is sub-sampled, or next_obs is not the observation that followed"
        )
    last = np.append(~inside, True)
    going_on = int((last & ~demos.term & ~demos.trunc).sum())
    if going_on:
        found.append(f"{going_on} of {demos.episodes} episodes have neither term nor trunc in their last row")
    return found


def _of_numbers(demos: Demos) -> list[str]:
    """Return remarks on coordinates that are constant, and on outliers."""
    found = []
    arrays = flat("obs", demos.obs) | flat("next_obs", demos.next_obs) | flat("act", demos.act)
    for name, columns in measured(arrays) if len(demos) > 1 else ():
        if root(name) != "next_obs":
            found += counted(name, columns.min(axis=0) == columns.max(axis=0), "constant")
        away = np.abs(columns - np.median(columns, axis=0).astype(np.float64))
        most = np.quantile(away, 0.9, axis=0, method="lower")
        if (absurd := (most > 0.0) & (away.max(axis=0) / ABSURD > most)).any():
            row, column = np.argwhere((away == away.max(axis=0)) & absurd)[0]
            found.append(
                f"field {name!r} at row {row}, coordinate {column} is {columns[row, column]:g}, an outlier: after "
                "scaling, networks cannot tell the other values apart; leave the episode out, or clip the value"
            )
    return found


def blurred(given: Arrays) -> tuple[str, ...]:
    """Return remarks on coordinates whose range is only a few float32 steps, from the arrays before conversion.

    Their values differ, but become equal or nearly equal in float32. An example is the time in seconds since 1970.
    """
    found: list[str] = []
    for name, columns in measured({name: array for name, array in given.items() if root(name) in ("obs", "act")}):
        low, high = columns.min(axis=0).astype(np.float64), columns.max(axis=0).astype(np.float64)
        step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32))
        few = "nearly constant relative to their size, so float32 rounds: subtract an offset, in the environment too"
        found += counted(name, (high > low) & (high - low < FEW_STEPS * step), few)
    return tuple(found)


def measured(arrays: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each field of measurements with its coordinates as columns. Skip bytes, flags, categories and choices."""
    for name, array in arrays.items():
        number = array.dtype.kind in "iu" and array.ndim > 1 and array.dtype != np.uint8 and name != "act"
        if array.dtype.kind == "f" or number:
            yield name, array.reshape(len(array), -1)


def counted(name: str, which: Bool[np.ndarray, " columns"], what: str) -> list[str]:
    """Return a remark on the coordinates of a field that `which` marks, or no remark if it marks none."""
    n, first = int(which.sum()), int(which.argmax())
    return [f"{n} of {len(which)} coordinates of field {name!r} are {what} (the first is {first})"] if n else []


def at_bounds(act: Float[np.ndarray, "n act"]) -> float:
    """Return the share of action values at the minimum or maximum of their coordinate, if it occurs more than once."""
    sides = [(act == side) & (np.sum(act == side, axis=0) > 1) for side in (act.min(axis=0), act.max(axis=0))]
    return float(np.mean(np.logical_or(*sides)))


def duplicates(demos: Demos) -> list[str]:
    """Return remarks on coordinates of observations that repeat another one."""
    found = []
    for name, columns in measured(flat("obs", demos.obs)):
        moving = np.flatnonzero(columns.min(axis=0) != columns.max(axis=0))
        _, first = np.unique(columns[:, moving], axis=1, return_index=True)
        again = np.setdiff1d(np.arange(len(moving)), first)
        if len(again):
            told = f"{len(again)} of {columns.shape[1]} coordinates of field {name!r} repeat another one"
            found.append(f"{told} (the first is {moving[again[0]]})")
    return found


def episodes(demos: Demos) -> list[dict[str, Any]]:
    """Return number, length, end and return of each episode."""
    last = np.append(np.flatnonzero(np.diff(demos.ep)), len(demos) - 1)
    ends = ["ended" if demos.term[i] else "time limit" if demos.trunc[i] else "neither" for i in last]
    returns = [None] * len(last) if demos.episode_return is None else demos.episode_return.tolist()
    counts = zip(demos.ep[last].tolist(), demos.lengths.tolist(), ends, returns, strict=True)
    return [dict(zip(("episode", "steps", "end", "return"), row, strict=True)) for row in counts]


def one_hot(act: Actions) -> bool:
    """Return whether all actions are one-hot vectors."""
    return act.ndim == 2 and act.shape[1] > 1 and bool(np.isin(act, (0, 1)).all() and (act.sum(axis=1) == 1).all())


def described(act: Actions | None) -> str:
    """Return the kind of the actions and their range or dimension, for a summary."""
    if act is None:
        return "none"
    return f"discrete, numbers {int(act.min())} to {int(act.max())}" if act.ndim == 1 else f"continuous, {act.shape[1]}"


def spread(values: Shaped[np.ndarray, " n"]) -> dict[str, float]:
    """Return mean, minimum and maximum."""
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
