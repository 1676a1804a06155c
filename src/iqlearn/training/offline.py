"""Learning from demonstrations alone: what an update draws from."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Shaped

from iqlearn.algorithms import TrainState
from iqlearn.data import Buffer, Demos, filled
from iqlearn.types import Batch, PRNGKey, Transitions


class Demonstrations(eqx.Module):
    """Expert transitions and the states their episodes began in. Offline the visited batch *is* the expert batch."""

    transitions: Buffer[Transitions]
    initial_obs: Buffer[Shaped[Array, "m *obs"]]

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Batch, TrainState]:
        return self.batch(key, n), state

    def batch(self, key: PRNGKey, n: int) -> Batch:
        """n expert transitions and n initial states."""
        expert_key, initial_key = jr.split(key)
        expert = self.transitions.sample(expert_key, n)
        return Batch(expert, expert, self.initial_obs.sample(initial_key, n))


def on_device(demos: Sequence[Demos]) -> list[Demonstrations]:
    """Each seed's demonstrations as arrays of the device, padded to one size so that they can be stacked."""
    rows = max(len(d) for d in demos)
    episodes = max(d.episodes for d in demos)
    return [Demonstrations(filled(d.transitions, rows), filled(jnp.asarray(d.initial_obs), episodes)) for d in demos]
