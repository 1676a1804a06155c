"""What the rewards of this package share: true ends, evaluation in blocks, and the check of transitions."""

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

    def after(self, step: Values) -> Any:
        """What the absorbing state pays at each later step, from the reward of the last step."""
        if not self.absorb:
            return 0.0 * step
        return step if self.pays is None else 0.0 * step + self.pays

    def paid(self, step: Values, terminal: Bool[Array | np.ndarray, " n"]) -> Any:
        """The rewards of steps. Each true end also pays all that follows it."""
        discount = self.gamma if self.discount is None else self.discount
        following = discount / (1.0 - discount)  # γ + γ² + …
        return step + terminal * (following * self.after(step))

    def at_discount(self, gamma: float) -> Ends:
        """The same ends for an agent of another discount.

        Raises:
            InputError: `gamma` is not in [0, 1).
        """
        if not 0.0 <= gamma < 1.0:
            raise InputError(f"at_discount is {gamma}; expected a number in [0, 1), the discount of who is paid.")
        return replace(self, discount=gamma)


def rows_at(tree: Any, index: Any) -> Any:
    """The rows `index` (numbers or a mask) of every array of a tree, on the host."""
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def of_task(transitions: Transitions | Demos, spec: TaskSpec, whose: str) -> Transitions:
    """The transitions as arrays of the task `spec` of `whose`, for instance "the run".

    Arrays of every kind are taken, and discrete actions of shape (n, 1).

    Raises:
        InputError: a shape differs, values are none of its dtype, or a discrete action or observation is none of the
            task's.
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
