"""What there is to tell about demonstrations: a fingerprint, and a summary of plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

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


def summary(demos: Demos) -> dict[str, Any]:
    """What `Demos.summary` gives."""
    steps = (demos.obs[1:] == demos.next_obs[:-1]).reshape(len(demos) - 1, -1).all(axis=1)
    follows = (demos.ep[1:] == demos.ep[:-1]) & steps
    returns = demos.episode_return
    return {
        "source": demos.source,
        "env": demos.env,
        "transitions": len(demos),
        "episodes": demos.episodes,
        "episode_length": spread(demos.lengths),
        "contiguous": bool(follows.sum() == len(demos) - demos.episodes),
        "terminal_ends": int(demos.term.sum()),
        "truncated_ends": int(demos.trunc.sum()),
        "observation_shape": list(demos.obs.shape[1:]),
        "observation_dtype": str(demos.obs.dtype),
        "actions": described(demos.act),
        "action_range": None if demos.act is None else [float(demos.act.min()), float(demos.act.max())],
        "returns": None if returns is None else spread(returns),
        "sha256": demos.sha256(),
    }


def described(act: Actions | None) -> str:
    """The kind of the actions, and how many there are."""
    if act is None:
        return "none"
    return f"discrete, {int(act.max()) + 1} seen" if act.ndim == 1 else f"continuous, {act.shape[1]}"


def spread(values: Shaped[np.ndarray, " n"]) -> dict[str, float]:
    """Mean, least and greatest."""
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
