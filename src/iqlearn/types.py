"""The records that flow between the layers: arrays only, each field with its shape."""

from typing import NamedTuple

import equinox as eqx
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
    transform: Float[Array, "inputs inputs"]

    def __call__(self, obs: Shaped[Array, "n *obs"]) -> Float[Array, "n inputs"]:
        return (obs - self.mean).reshape(obs.shape[0], -1) @ self.transform


class TaskSpec(NamedTuple):
    """What a model must know of a task. `actions`: their number when they are discrete.

    Continuous actions come with issue B; they will add their bounds here.
    """

    obs_shape: tuple[int, ...]
    actions: int
