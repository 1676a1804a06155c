"""Demonstrations beside a task: whether they agree with it, and what they tell of it by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from iqlearn.errors import InputError
from iqlearn.types import Bounds, TaskSpec

if TYPE_CHECKING:
    from iqlearn.data.demos import Demos

BOUND_SLACK = 1e-3
"""How far recorded actions may lie outside of their bounds, as a share of the range: rounding."""


def check(demos: Demos, spec: TaskSpec, env: str) -> None:
    """What `Demos.check_task` does."""
    source, act = demos.source, demos.act
    if demos.obs.shape[1:] != spec.obs_shape:
        raise InputError(
            f"{source}: field 'obs' holds observations of shape {demos.obs.shape[1:]}; "
            f"expected {spec.obs_shape} as {env} has."
        )
    if act is None:
        return
    if spec.discrete != demos.discrete:
        has, expected = ("integers", "vectors") if demos.discrete else ("vectors", "integers")
        kind = "discrete" if spec.discrete else "continuous"
        raise InputError(f"{source}: field 'act' holds {has}; expected {expected}, {env} has {kind} actions.")
    if isinstance(spec.actions, Bounds):
        check_bounds(act, spec.actions, source, env)
        return
    beyond = np.flatnonzero(act >= spec.actions)
    if len(beyond):
        raise InputError(
            f"{source}: field 'act' at index {beyond[0]} is {act[beyond[0]]}; "
            f"expected 0 to {spec.actions - 1}, the actions of {env}."
        )


def check_bounds(act: Float[np.ndarray, "n act"], bounds: Bounds, source: str, env: str) -> None:
    """Whether continuous actions are of the right size and within their bounds, but for rounding."""
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
            f"expected {low[column]:g} to {high[column]:g}, the bounds of {env}; clip it as the environment did."
        )


def told(demos: Demos) -> TaskSpec:
    """What `Demos.task_spec` gives."""
    if demos.act is None:
        raise InputError(
            f"{demos.source} tells nothing of the task's actions without field 'act' and a field 'env'; expected an "
            "environment, give it with --env."
        )
    if demos.discrete:
        return TaskSpec(demos.obs.shape[1:], int(demos.act.max()) + 1)
    low, high = np.minimum(demos.act.min(axis=0), -1.0), np.maximum(demos.act.max(axis=0), 1.0)
    return TaskSpec(demos.obs.shape[1:], Bounds(tuple(low.tolist()), tuple(high.tolist())))
