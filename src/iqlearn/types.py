"""The records that flow between the layers: arrays only, each field with its shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, Key, Shaped

Scalar = Float[Array, ""]
Metrics = dict[str, Scalar]
"""What an update tells: names to scalars. They become the columns of `metrics.csv`."""
PRNGKey = Key[Array, ""]


class Transitions(NamedTuple):
    """Transitions (s, a, s', d), one row each.

    `terminal` is d: true only where the episode truly ended. A time limit is no end, there s' keeps its value.
    Observations are (n, *obs_shape); actions are (n,) integers or (n, act_dim) floats.
    """

    obs: Shaped[Array, "n *obs"]
    action: Int[Array, " n"] | Float[Array, "n act"]
    next_obs: Shaped[Array, "n *obs"]
    terminal: Bool[Array, " n"]


class Batch(NamedTuple):
    """What one update sees.

    `expert`: transitions of ρ_E. `visited`: the learner's, the other half of a mixture; where there are none it *is*
    the expert batch. `initial_obs`: states s0.
    """

    expert: Transitions
    visited: Transitions
    initial_obs: Shaped[Array, "n *obs"]


class Rewarded(NamedTuple):
    """Transitions with the environment's reward: only experts learn from these, never an imitator."""

    transitions: Transitions
    reward: Float[Array, " n"]


class ObservationScale(eqx.Module):
    """The affine map from observations to a network's inputs, fixed from the data before the first update."""

    mean: Float[Array, "*obs"]
    transform: Float[Array, "inputs inputs"] | Float[Array, " inputs"]
    """A matrix, or one factor a coordinate."""
    limit: Float[Array, ""]
    """Inputs saturate at ±limit: a learner far from the data stays in the networks' range."""

    def __call__(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "n inputs"]:
        centred = (obs - self.mean).reshape(obs.shape[0], -1)
        inputs = centred @ self.transform if self.transform.ndim == 2 else centred * self.transform
        return jnp.clip(inputs, -self.limit, self.limit)


class Bounds(NamedTuple):
    """Least and greatest value of each coordinate of a continuous action, in the environment's units."""

    low: tuple[float, ...]
    high: tuple[float, ...]


class ActionScale(eqx.Module):
    """The map between an environment's continuous actions and [−1, 1]: the one place where their bounds matter."""

    centre: Float[Array, " act"]
    half: Float[Array, " act"]

    def __init__(self, bounds: Bounds) -> None:
        low, high = jnp.asarray(bounds.low, jnp.float32), jnp.asarray(bounds.high, jnp.float32)
        self.centre, self.half = (low + high) / 2, (high - low) / 2

    def to_unit(self, action: Float[Array, "n act"]) -> Float[Array, "n act"]:
        """Environment units → [−1, 1]."""
        return (action - self.centre) / self.half

    def to_env(self, unit: Float[Array, "n act"]) -> Float[Array, "n act"]:
        """[−1, 1] → environment units."""
        return self.centre + self.half * unit


class TaskSpec(NamedTuple):
    """What a model must know of a task."""

    obs_shape: tuple[int, ...]
    actions: int | Bounds
    """How many choices there are, or the bounds of continuous actions."""

    def __str__(self) -> str:
        if isinstance(self.actions, int):
            actions = f"{self.actions} discrete actions"
        else:
            actions = f"actions from {list(self.actions.low)} to {list(self.actions.high)}"
        return f"observations of shape {self.obs_shape} and {actions}"

    @property
    def discrete(self) -> bool:
        return isinstance(self.actions, int)

    @property
    def choices(self) -> int:
        """The number of discrete actions."""
        assert isinstance(self.actions, int), "actions are continuous"
        return self.actions

    @property
    def bounds(self) -> Bounds:
        """The bounds of continuous actions."""
        assert isinstance(self.actions, Bounds), "actions are discrete"
        return self.actions


def on_host(obs: Any, action: Any, next_obs: Any, terminal: Any) -> Transitions:
    """Transitions of NumPy arrays: what a `RewardFunction` is given where nothing is differentiated."""
    return Transitions(obs, action, next_obs, terminal)


RewardFunction = Callable[[Transitions], Float[np.ndarray, " n"]]
"""A reward of transitions, one number a row, on the host."""
