"""What there is to tell about demonstrations: a fingerprint, and a summary of plain values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Shaped

from iqlearn.data.npz import Actions

if TYPE_CHECKING:
    from iqlearn.data.demos import Demos


def fingerprint(arrays: Mapping[str, np.ndarray | None]) -> str:
    """SHA-256 of names, types, shapes and bytes, what is unknown left out."""
    digest = hashlib.sha256()
    for name, given in arrays.items():
        if given is not None:
            array = np.ascontiguousarray(given)
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()


def following(demos: Demos) -> Bool[np.ndarray, " rest"]:
    """Whether each row but the first goes on from where the one before it ended."""
    steps = (demos.obs[1:] == demos.next_obs[:-1]).reshape(len(demos) - 1, math.prod(demos.obs.shape[1:])).all(axis=1)
    return (demos.ep[1:] == demos.ep[:-1]) & steps


def summary(demos: Demos) -> dict[str, Any]:
    """What `Demos.summary` gives."""
    follows, returns = following(demos), demos.episode_return
    return {
        "source": demos.source,
        "env": demos.env,
        "transitions": len(demos),
        "episodes": demos.episodes,
        "episode_length": spread(demos.lengths),
        "contiguous": bool(follows.sum() == len(demos) - demos.episodes),
        "remarks": remarks(demos),
        "terminal_ends": int(demos.term.sum()),
        "truncated_ends": int(demos.trunc.sum()),
        "observation_shape": list(demos.obs.shape[1:]),
        "observation_dtype": str(demos.obs.dtype),
        "actions": described(demos.act),
        "action_range": None if demos.act is None else [float(demos.act.min()), float(demos.act.max())],
        "returns": None if returns is None else spread(returns),
        "sha256": demos.sha256(),
    }


def remarks(demos: Demos) -> list[str]:
    """What no rule forbids but a loop that records seldom means."""
    found, follows = [], following(demos)
    inside = demos.ep[1:] == demos.ep[:-1]
    broken = np.flatnonzero(inside & ~follows) + 1
    if len(broken):
        found.append(
            f"{len(broken)} of {int(inside.sum())} rows do not begin where the row before them ended (the first is row "
            f"{broken[0]}): sub-sampled, or next_obs is not the observation that followed"
        )
    last = np.append(~inside, True)
    going_on = int((last & ~demos.term & ~demos.trunc).sum())
    if going_on:
        found.append(f"{going_on} of {demos.episodes} episodes neither end (term) nor meet a time limit (trunc)")
    if demos.act is not None and one_hot(demos.act):
        found.append("every action is one-hot, and taken for continuous; of discrete ones save act.argmax(1)")
    return found


def one_hot(act: Actions) -> bool:
    """Whether actions are vectors of one 1 among zeros."""
    return act.ndim == 2 and act.shape[1] > 1 and bool(np.isin(act, (0, 1)).all() and (act.sum(axis=1) == 1).all())


def described(act: Actions | None) -> str:
    """The kind of the actions, and how many there are."""
    if act is None:
        return "none"
    return f"discrete, numbers {int(act.min())} to {int(act.max())}" if act.ndim == 1 else f"continuous, {act.shape[1]}"


def spread(values: Shaped[np.ndarray, " n"]) -> dict[str, float]:
    """Mean, least and greatest."""
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
