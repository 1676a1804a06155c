"""The recovered reward, computed for transitions."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float

from iqlearn.models import SoftQModel
from iqlearn.objectives import SoftValues, discounted, implied_reward
from iqlearn.types import Transitions, on_host

BLOCK = 16_384
"""Transitions a compiled call at most. Shorter calls are padded to a power of two, so few shapes are compiled."""


@partial(jax.jit, static_argnames=("gamma", "absorbing"))
def _implied(model: SoftQModel, batch: Transitions, gamma: float, absorbing: bool) -> Float[Array, " n"]:
    q, v = model.q(batch.obs, batch.action), model.v(batch.next_obs)
    next_v = discounted(v, batch.terminal, gamma, q if absorbing else 0.0)
    return implied_reward(SoftValues(q, v, next_v))


def recovered(
    model: SoftQModel, transitions: Transitions, gamma: float, absorbing: bool = False
) -> Float[np.ndarray, " n"]:
    """r(s,a,s') = Q(s,a) − γV(s') of each transition (IQ-Learn, section 4).

    After a true end V is 0, or with `absorbing` that of a state in which the reward of the last step goes on for ever:
    r = Q − γr/(1−γ), so that r = (1−γ)·Q.
    """
    return in_blocks(lambda batch: _implied(model, batch, gamma, absorbing), transitions)


def in_blocks(judge: Callable[[Transitions], Float[Array, " n"]], transitions: Transitions) -> Float[np.ndarray, " n"]:
    """`judge` on all transitions, as many at a time as fit; the last ones are padded by repetition."""
    rows = [np.asarray(x) for x in transitions]
    n = len(rows[0])
    block = min(BLOCK, 1 << max(n - 1, 0).bit_length())
    rewards = np.empty(n, np.float32)
    for start in range(0, n, block):
        few = n - start < block
        index = np.minimum(np.arange(start, start + block), n - 1) if few else slice(start, start + block)
        rewards[start : start + block] = judge(on_host(*(x[index] for x in rows)))[: n - start]
    return rewards
