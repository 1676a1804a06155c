"""The recovered reward, computed for transitions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from iqlearn.models import SoftQModel
from iqlearn.objectives import SoftValues, discounted, implied_reward
from iqlearn.types import Transitions, on_host

Rewards = Float[np.ndarray, " n"]
BLOCK = 16_384
"""Transitions a compiled call at most. Shorter calls are padded to a power of two, so few shapes are compiled."""


@dataclass(frozen=True)
class Ends:
    """What a true end is worth: it leads to an absorbing state, which pays the same at every step from then on."""

    gamma: float
    """The discount in training."""
    absorb: bool
    """Whether training had absorbing states; without, V is 0 after an end."""
    pays: float | None = None
    """What the absorbing state pays a step, −r_max where no expert episode ended; none: the last step's reward again,
    since then it depends on whose end it was."""
    discount: float | None = None
    """The discount of who is paid, if it is another one."""

    def step(self, q: Float[Array, " n"]) -> Float[Array, " n"]:
        """The reward of the last step alone, from its Q; where every end is a failure it pays as that state does."""
        if not self.absorb:
            return q
        if self.pays is None:
            return (1.0 - self.gamma) * q
        return jnp.full_like(q, self.pays)

    def after(self, step: Rewards) -> Rewards:
        """What the absorbing state pays at each later step, from the reward of the last one."""
        if not self.absorb:
            return np.zeros_like(step)
        return step if self.pays is None else np.full_like(step, self.pays)

    def paid(self, step: Rewards, terminal: Bool[np.ndarray, " n"]) -> Rewards:
        """The rewards of steps, at each end together with all that follows it."""
        discount = self.gamma if self.discount is None else self.discount
        return np.where(terminal, step + following(discount) * self.after(step), step)


def following(gamma: float) -> float:
    """γ + γ² + …, what a reward of 1 at each later step is worth now."""
    return gamma / (1.0 - gamma)


@partial(jax.jit, static_argnames=("ends",))
def _steps(model: SoftQModel, batch: Transitions, ends: Ends) -> Float[Array, " n"]:
    q, v = model.q(batch.obs, batch.action), model.v(batch.next_obs)
    inner = implied_reward(SoftValues(q, v, discounted(v, batch.terminal, ends.gamma)))
    return jnp.where(batch.terminal, ends.step(q), inner)


def recovered(model: SoftQModel, transitions: Transitions, ends: Ends) -> Rewards:
    """r(s,a,s') = Q(s,a) − γV(s') of each transition (IQ-Learn, section 4), at a true end `ends.step`."""
    return in_blocks(lambda batch: _steps(model, batch, ends), transitions)


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
