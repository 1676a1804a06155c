"""Code that the rewards of this package share: true ends, selection of rows, and the check of transitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.networks.host import as_arrays
from iqlearn.types import ArraySpec, TaskSpec, Transitions

REWARD, DISTILLED, REFIT = "reward", "reward-{}", "refit-{}"
"""Names of the files in a run folder, without their suffixes."""
Rewards = Float[np.ndarray, " n"]
Values = Float[Array | np.ndarray, " n"]


@dataclass(frozen=True)
class Ends:
    """The rewards after a true end, which leads to an absorbing state that pays the same reward at every later step."""

    gamma: float
    """Discount in training."""
    absorb: bool
    """Whether training had absorbing states. If not, V is 0 after an end."""
    pays: float | None = None
    """Reward of the absorbing state per step: −r_max if no expert episode ended. None repeats the reward of the last
    step, because the absorbing state differs for expert and learner."""
    discount: float | None = None
    """Discount of the agent that receives the reward, if it differs from `gamma`."""

    def step(self, q: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the reward of the last step alone: Q without absorbing states, else `pays` or, if None, (1−γ)·Q."""
        if not self.absorb:
            return q
        if self.pays is None:
            return (1.0 - self.gamma) * q
        return jnp.full_like(q, self.pays)

    def after(self, step: Values) -> Any:
        """Return the reward of each later step, from the reward of the last step; 0 without absorbing states."""
        if not self.absorb:
            return 0.0 * step
        return step if self.pays is None else 0.0 * step + self.pays

    def paid(self, step: Values, terminal: Bool[Array | np.ndarray, " n"]) -> Any:
        """Return the rewards of steps. That of a true end includes the discounted sum of all later rewards."""
        discount = self.gamma if self.discount is None else self.discount
        following = discount / (1.0 - discount)  # γ + γ² + …
        return step + terminal * (following * self.after(step))

    def at_discount(self, gamma: float) -> Ends:
        """Return the same ends for an agent with another discount.

        Raises:
            InputError: `gamma` is not in [0, 1).
        """
        if not 0.0 <= gamma < 1.0:
            raise InputError(f"at_discount is {gamma}; expected a number in [0, 1), the discount of who is paid.")
        return replace(self, discount=gamma)


def rows_at(tree: Any, index: Any) -> Any:
    """Return the rows `index` (numbers or a mask) of every array of a tree, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def of_task(transitions: Transitions | Demos, spec: TaskSpec, whose: str) -> Transitions:
    """Return the transitions as arrays of the task `spec`. Messages call its owner `whose`, for instance "the run".

    Arrays of any type are accepted, and discrete actions of shape (n, 1).

    Raises:
        InputError: a shape differs, a dtype cannot hold the values, or a discrete action or observation is not one of
            the task's.
    """
    if isinstance(transitions, Demos):
        transitions.check_task(spec, whose)
        return transitions.transitions
    action = ArraySpec((), "int32", spec.choices) if spec.discrete else ArraySpec(spec.action_shape)
    names, specs = Transitions._fields, (spec.obs, action, spec.obs, ArraySpec((), "bool"))
    given = zip(names, transitions, specs, strict=True)
    arrays: list[Any] = [as_arrays(values, part, f"Transitions: {name}") for name, values, part in given]
    n = next(iter(map(np.shape, jax.tree.leaves(arrays[0]))), ())[:1] or (0,)
    if spec.discrete and np.shape(arrays[1]) == (*n, 1):
        arrays[1] = np.ravel(arrays[1])
    for name, part, array, values in zip(names, specs, arrays, transitions, strict=True):
        shape = jax.tree.map(lambda one: (*n, *one.shape), part)
        if array is None or jax.tree.map(np.shape, array) != shape:
            has = jax.tree.map(np.shape, values if array is None else array)
            raise InputError(f"Transitions: {name} has shape {has}; expected {shape}, as {whose} has.")
    return Transitions(*arrays)
