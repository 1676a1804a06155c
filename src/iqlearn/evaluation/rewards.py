"""The recovered reward: computed for transitions, and compared with the true one."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from iqlearn.models import SoftQModel
from iqlearn.objectives import SoftValues, discounted, implied_reward
from iqlearn.types import Transitions

BLOCK = 16_384
"""Transitions a compiled call; the last block is padded, so one shape is compiled."""


@partial(jax.jit, static_argnames="gamma")
def _implied(model: SoftQModel, batch: Transitions, gamma: float) -> Float[Array, " n"]:
    next_v = discounted(model.v(batch.next_obs), batch.terminal, gamma)
    return implied_reward(SoftValues(model.q(batch.obs, batch.action), model.v(batch.obs), next_v))


def recovered(model: SoftQModel, transitions: Transitions, gamma: float) -> Float[np.ndarray, " n"]:
    """r(s,a,s') = Q(s,a) − γ(1−d)·V(s') of each transition (IQ-Learn, section 4)."""
    n = len(transitions.terminal)
    block = min(BLOCK, n)
    rewards = np.empty(n, np.float32)
    for start in range(0, n, block):
        rows = np.minimum(np.arange(start, start + block), n - 1)
        batch = Transitions(*(x[rows] for x in transitions))
        rewards[start : start + block] = _implied(model, batch, gamma)[: n - start]
    return rewards


def pearson(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float | None:
    """Linear correlation; none where one side is constant or has fewer than two values."""
    if len(a) < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def report(
    learned: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"] | None, episode: np.ndarray
) -> dict[str, Any]:
    """Range of the recovered reward, and its correlation with the true one where that is known."""
    facts: dict[str, Any] = {
        "transitions": len(learned),
        "mean": float(learned.mean()),
        "std": float(learned.std()),
        "min": float(learned.min()),
        "max": float(learned.max()),
    }
    numbers, row = np.unique(episode, return_inverse=True)
    of_episode = np.bincount(row, weights=learned)
    facts["episodes"] = len(numbers)
    facts["episode_mean"] = float(of_episode.mean())
    if true is not None:
        facts["pearson_transition"] = pearson(learned, true)
        facts["pearson_episode"] = pearson(of_episode, np.bincount(row, weights=true))
    return facts
