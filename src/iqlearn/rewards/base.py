"""What the rewards of this package share: true ends, evaluation in blocks, and the check of transitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import TaskSpec, Transitions

REWARD, DISTILLED, REFIT = "reward", "reward-{}", "refit-{}"
"""Names of the files in a run folder, without their suffixes."""
Rewards = Float[np.ndarray, " n"]
BLOCK = 16_384
"""Largest number of rows in a compiled call. Smaller calls are padded to a power of two: few shapes are compiled."""


@dataclass(frozen=True)
class Ends:
    """The worth of a true end. It leads to an absorbing state, which pays the same reward at every later step."""

    gamma: float
    """Discount in training."""
    absorb: bool
    """Whether training had absorbing states. If not, V is 0 after an end."""
    pays: float | None = None
    """Reward of the absorbing state per step: −r_max if no expert episode ended. None repeats the reward of the last
    step, because the state differs for expert and learner."""
    discount: float | None = None
    """Discount of the agent that is paid, if it differs from `gamma`."""

    def step(self, q: Float[Array, " n"]) -> Float[Array, " n"]:
        """The reward of the last step alone, from its Q, or what the absorbing state pays if that is fixed."""
        if not self.absorb:
            return q
        if self.pays is None:
            return (1.0 - self.gamma) * q
        return jnp.full_like(q, self.pays)

    def after(self, step: Rewards) -> Rewards:
        """What the absorbing state pays at each later step, from the reward of the last step."""
        if not self.absorb:
            return np.zeros_like(step)
        return step if self.pays is None else np.full_like(step, self.pays)

    def paid(self, step: Rewards, terminal: Bool[np.ndarray, " n"]) -> Rewards:
        """The rewards of steps. Each true end also pays all that follows it."""
        discount = self.gamma if self.discount is None else self.discount
        following = discount / (1.0 - discount)  # γ + γ² + …
        return np.where(terminal, step + following * self.after(step), step)

    def at_discount(self, gamma: float) -> Ends:
        """The same ends for an agent of another discount.

        Raises:
            InputError: `gamma` is not in [0, 1).
        """
        if not 0.0 <= gamma < 1.0:
            raise InputError(f"at_discount is {gamma}; expected a number in [0, 1), the discount of who is paid.")
        return replace(self, discount=gamma)


def in_blocks(judge: Callable[[Transitions], Float[Array, " n"]], transitions: Transitions) -> Rewards:
    """`judge` on all transitions in blocks of limited size. The last block is padded with its last row."""
    host, n = rows_at(transitions, slice(None)), len(transitions.terminal)
    block = min(BLOCK, 1 << max(n - 1, 0).bit_length())
    rewards = np.empty(n, np.float32)
    for start in range(0, n, block):
        index = np.minimum(np.arange(start, start + block), n - 1)
        rewards[start : start + block] = judge(rows_at(host, index))[: n - start]
    return rewards


def rows_at(tree: Any, index: Any) -> Any:
    """The rows `index` (numbers or a mask) of every array of a tree, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def of_task(transitions: Transitions | Demos, spec: TaskSpec, whose: str) -> Transitions:
    """The transitions after a check that they belong to the task `spec` of `whose`, for instance "the run".

    Raises:
        InputError: a shape differs, or a discrete action or observation is none of the task's.
    """
    if isinstance(transitions, Demos):
        transitions.check_task(spec, whose)
        return transitions.transitions
    first: Any = next(iter(jax.tree.leaves(transitions.obs)), 0)
    n = len(first) if np.ndim(first) else 0
    obs = jax.tree.map(lambda part: (n, *part.shape), spec.obs)
    shapes = obs, (n, *spec.action_shape), obs, (n,)
    for name, array, shape in zip(Transitions._fields, transitions, shapes, strict=True):
        if (has := jax.tree.map(np.shape, array)) != shape:
            raise InputError(f"Transitions: {name} has shape {has}; expected {shape}, as {whose} has.")
    parts = jax.tree.leaves((spec.obs, spec.obs))
    for part, array in zip(parts, jax.tree.leaves((transitions.obs, transitions.next_obs)), strict=True):
        _check_choices("observations", array, part.choices, whose)
    _check_choices("actions", transitions.action, spec.choices if spec.discrete else 0, whose)
    return transitions


def _check_choices(what: str, array: Any, choices: int, whose: str) -> None:
    if choices and np.size(array) and not 0 <= np.min(array) <= np.max(array) < choices:
        has = f"{np.min(array)} to {np.max(array)}"
        raise InputError(f"Transitions: {what} are {has}; expected 0 to {choices - 1}, as {whose} has.")
