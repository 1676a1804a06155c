"""Learning offline inside a model of the dynamics: the learner's half of the mixture, without an environment."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms import TrainState
from iqlearn.data import Demos
from iqlearn.models.dynamics import LinearDynamics, fit_linear
from iqlearn.settings import Imagination
from iqlearn.training.offline import Demonstrations
from iqlearn.types import Batch, PRNGKey, TaskSpec, Transitions

FAR = 100.0
"""Whitened coordinate beyond which a particle starts again; it only keeps the numbers finite."""


class Imagined(eqx.Module):
    """Demonstrations, and particles that act with the learner's policy in the model fitted to them.

    The visited batch holds every action of every particle, each with the state that the model says it leads to. A
    particle starts near a state of the expert, and starts again after a while or when it is far off. That is no end
    of an episode and carries no value: a penalty on leaving the expert's neighbourhood would teach survival instead
    of imitation.
    """

    demos: Demonstrations
    dynamics: LinearDynamics
    spread: Float[Array, "inputs inputs"]
    """From whitened coordinates back to observations."""
    settings: Imagination = eqx.field(static=True)
    actions: int = eqx.field(static=True)

    @jax.jit
    def begin(self, state: TrainState, key: PRNGKey) -> TrainState:
        """The state with its first particles."""
        return eqx.tree_at(lambda s: s.particles, state, self.start(key), is_leaf=lambda x: x is None)

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Batch, TrainState]:
        """A batch, and the state with its particles one step on."""
        expert_key, jitter_key, act_key, explore_key, reset_key, start_key = jr.split(key, 6)
        batch = self.demos.batch(expert_key, n)
        obs, particles = self.jitter(batch.expert, jitter_key), state.particles
        assert particles is not None
        m, a = len(particles), self.actions
        every = jnp.tile(jnp.arange(a), m)
        rows = jnp.repeat(particles, a, axis=0)
        reached = self.dynamics(rows, every)
        visited = Transitions(rows, every, reached, jnp.zeros(m * a, bool))

        chosen = state.model.act(particles, act_key)
        explore_key, random_key = jr.split(explore_key)
        random = jr.randint(random_key, (m,), 0, a)
        chosen = jnp.where(jr.bernoulli(explore_key, self.settings.exploration, (m,)), random, chosen)
        moved = reached[jnp.arange(m) * a + chosen]
        far = jnp.max(jnp.abs(self.dynamics.scale(moved)), axis=1) > FAR
        over = far | jr.bernoulli(reset_key, 1.0 / self.settings.horizon, (m,))
        moved = jnp.where(over[:, None], self.start(start_key), moved)
        state = eqx.tree_at(lambda s: s.particles, state, moved)
        return Batch(obs, visited, batch.initial_obs), state

    def start(self, key: PRNGKey) -> Float[Array, "particles obs"]:
        """Near states of the expert, half of them the beginnings of its episodes."""
        which, first, state, noise = jr.split(key, 4)
        n = self.settings.particles
        begun = self.demos.initial_obs.sample(first, n)
        seen = self.demos.transitions.sample(state, n).obs
        near = jnp.where(jr.bernoulli(which, 0.5, (n, 1)), begun, seen)
        return near + self.settings.start_noise * self.noise(noise, n)

    def jitter(self, expert: Transitions, key: PRNGKey) -> Transitions:
        """The same actions in states close by, s' moved as the model says."""
        obs = expert.obs + self.settings.expert_noise * self.noise(key, len(expert.obs))
        shift = self.dynamics(obs, expert.action) - self.dynamics(expert.obs, expert.action)
        return expert._replace(obs=obs, next_obs=expert.next_obs + shift)

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n obs"]:
        """Normal noise of unit size in whitened coordinates."""
        return jr.normal(key, (n, len(self.spread))) @ self.spread


def in_imagination(
    data: Sequence[Demonstrations], demos: Sequence[Demos], settings: Imagination, spec: TaskSpec
) -> list[Imagined]:
    """Each seed's data with the model fitted to it."""
    found = []
    for on_device, part in zip(data, demos, strict=True):
        scale = part.observation_scale()
        dynamics, _ = fit_linear(part.transitions, scale, spec)
        spread = jnp.asarray(np.linalg.inv(np.asarray(scale.transform, np.float64)), jnp.float32)
        found.append(Imagined(on_device, dynamics, spread, settings, spec.choices))
    return found
