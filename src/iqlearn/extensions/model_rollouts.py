"""Model rollouts: offline, the learner acts in a linear model of the dynamics that is fitted to the demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from iqlearn.algorithms.base import Extension, Now, TrainState
from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import InputError, require_not_negative, require_positive, require_share
from iqlearn.networks import encoders
from iqlearn.networks.encoders import FlatEncoder
from iqlearn.types import Batch, Obs, PRNGKey, TaskSpec, Transitions

ERROR_LIMIT = 0.1
"""Leave-one-out error of the model, as a share of a step, below which `recommended` uses it."""
RIDGE = 1e-3
"""Weight of the squared coefficients, in whitened coordinates."""
FAR = 100.0
"""Absolute whitened coordinate beyond which a particle starts again, so that numbers stay finite."""


@dataclass(frozen=True)
class ModelRollouts(Extension):
    """Add transitions of the learner to offline batches, from a linear model of the dynamics. For discrete actions and
    observations of one vector.

    Particles act with the learner's policy in the model. The batch holds every action of every particle, so with the
    form `inverse` the value term averages over all actions, not over those of the policy. A particle starts near a
    state of the expert. It starts again at random, after `horizon` steps on average, or when it is far away. A new
    start is not the end of an episode: a penalty on leaving the expert's neighbourhood would teach survival instead of
    imitation.
    """

    particles: int = 64
    """Number of learners that are simulated in parallel."""
    horizon: int = 50
    """Mean number of steps before a particle starts again."""
    start_noise: float = 3.0
    """Standard deviation of the noise that is added to an expert state for a start, in whitened coordinates."""
    expert_noise: float = 0.3
    """Standard deviation of the noise that is added to the expert's states in a batch, in whitened coordinates. s'
    moves as the model predicts."""
    exploration: float = 0.05
    """Share of uniformly random actions."""

    name: ClassVar[str] = "model_rollouts"
    gives_transitions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "particles", "horizon")
        require_not_negative(self, "start_noise", "expert_noise")
        require_share(self, "exploration")

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse online runs, continuous actions and runs without the expert's actions."""
        super().check(algorithm, online, steps)
        if online or not algorithm.discrete or algorithm.state_only:
            raise InputError(
                f"Extension {self.name} is for discrete actions, offline and not state_only; expected a run without it."
            )

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Suggest the extension where the leave-one-out error of the linear model is below `ERROR_LIMIT`."""
        if online or not task.discrete or algorithm.state_only or not one_vector(task):
            return None, ""
        error = fit_linear(demos.transitions, whitened(demos.obs, demos.next_obs, task), task)[1]
        told = f"the leave-one-out error of a linear model of the dynamics is {error:.3f} of a step"
        if error < ERROR_LIMIT:
            return cls(), f"model_rollouts, because {told}, below {ERROR_LIMIT}"
        return None, f"no model_rollouts, because {told}, not below {ERROR_LIMIT}"

    def source(self, now: Now) -> Source:
        """Return the demonstrations with particles in a model that is fitted to them."""
        if not one_vector(now.task):
            wanted = f"observations of one vector of at most {encoders.LARGEST} numbers"
            raise InputError(f"Extension {self.name} needs {wanted}; expected a run without it.")
        expert = now.demos.expert()
        encoder = whitened(expert.obs, expert.next_obs, now.task)
        dynamics, _ = fit_linear(expert, encoder, now.task)
        spread = jnp.asarray(np.linalg.inv(np.asarray(encoder.transform, np.float64)), jnp.float32)
        empty = jnp.zeros((self.particles, encoder.size))
        rollouts = Rollouts(now.demos, dynamics, spread, empty, self, now.task.choices)
        return eqx.tree_at(lambda r: r.particles, rollouts, _start(rollouts, now.key))


class Rollouts(eqx.Module):
    """A source of demonstrations and of particles in the model that is fitted to them."""

    demos: Demonstrations
    dynamics: LinearDynamics
    spread: Float[Array, "inputs inputs"]
    """Matrix from whitened coordinates to observations."""
    particles: Float[Array, "particles obs"]
    settings: ModelRollouts = eqx.field(static=True)
    actions: int = eqx.field(static=True)

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Batch, Rollouts]:
        """Return a batch, and the source after one step of its particles."""
        expert_key, jitter_key, act_key, explore_key, random_key, reset_key, start_key = jr.split(key, 7)
        batch, _ = self.demos.draw(state, expert_key, n)
        particles, s = self.particles, self.settings
        m, a = len(particles), self.actions
        every, repeated = jnp.tile(jnp.arange(a), m), jnp.repeat(particles, a, axis=0)
        reached = self.dynamics(repeated, every)
        visited = Transitions(repeated, every, reached, jnp.zeros(m * a, bool))

        chosen = state.model.act(particles, act_key)
        random = jr.randint(random_key, (m,), 0, a)
        chosen = jnp.where(jr.bernoulli(explore_key, s.exploration, (m,)), random, chosen)
        moved = reached[jnp.arange(m) * a + chosen]
        far = jnp.max(jnp.abs(self.dynamics.encoder(moved)), axis=1) > FAR
        over = far | jr.bernoulli(reset_key, 1.0 / s.horizon, (m,))
        moved = jnp.where(over[:, None], self.start(start_key), moved)
        batch = Batch(self.jitter(batch.expert, jitter_key), visited, batch.initial_obs)
        return batch, eqx.tree_at(lambda r: r.particles, self, moved)

    def saved(self) -> Float[Array, "particles obs"]:
        """Return the particles."""
        return self.particles

    def restored(self, saved: Float[Array, "particles obs"]) -> Rollouts:
        """Return the source with these particles."""
        return eqx.tree_at(lambda r: r.particles, self, saved)

    def start(self, key: PRNGKey) -> Float[Array, "particles obs"]:
        """Return states near the expert's. Half of them, on average, are near the first states of its episodes."""
        which, first, state, noise = jr.split(key, 4)
        n = self.settings.particles
        begun = self.demos.initial_obs.sample(first, n)
        seen = self.demos.transitions.sample(state, n).obs
        near = jnp.where(jr.bernoulli(which, 0.5, (n, 1)), begun, seen)
        return near + self.settings.start_noise * self.noise(noise, n)

    def jitter(self, expert: Transitions, key: PRNGKey) -> Transitions:
        """Return the same transitions with noise on s, and with s' moved as the model predicts."""
        obs = expert.obs + self.settings.expert_noise * self.noise(key, len(expert.terminal))
        shift = self.dynamics(obs, expert.action) - self.dynamics(expert.obs, expert.action)
        return expert._replace(obs=obs, next_obs=expert.next_obs + shift)

    def noise(self, key: PRNGKey, n: int) -> Float[Array, "n obs"]:
        """Return normal noise with standard deviation 1 in whitened coordinates."""
        return jr.normal(key, (n, len(self.spread))) @ self.spread


_start = jax.jit(Rollouts.start)
"""`Rollouts.start`, compiled as a whole, because it takes seconds operation by operation."""


class LinearDynamics(eqx.Module):
    """s' = s + [z(s), onehot(a)]·W, with z the whitened observation."""

    encoder: FlatEncoder
    weights: Float[Array, "features obs"]

    def __call__(self, obs: Shaped[Array, "n obs"], action: Int[Array, " n"]) -> Float[Array, "n obs"]:
        """Return the next observation of each row."""
        z = self.encoder(obs)
        choices = jnp.arange(self.weights.shape[0] - z.shape[1])
        return obs + jnp.concatenate([z, action[:, None] == choices], axis=1) @ self.weights


def one_vector(task: TaskSpec) -> bool:
    """Return whether an observation is one vector of floats that can be whitened."""
    leaves = jax.tree.leaves(task.obs)
    vector = leaves == [task.obs] and len(leaves[0].shape) == 1 and leaves[0].dtype == "float32"
    return vector and leaves[0].shape[0] <= encoders.LARGEST


def whitened(obs: Obs, next_obs: Obs, task: TaskSpec) -> FlatEncoder:
    """Return the encoder that whitens these observations."""
    return encoders.fit(task.obs, np.concatenate([np.asarray(obs), np.asarray(next_obs)]), "whiten")


def fit_linear(transitions: Transitions, encoder: FlatEncoder, task: TaskSpec) -> tuple[LinearDynamics, float]:
    """Fit the step s' − s by ridge regression. Return the model and its relative error.

    The error is the root mean square of the leave-one-out residuals divided by that of the steps, in the worst
    coordinate: 0 for exact predictions, 1 for predictions no better than s' = s. It needs no reward and no environment.
    """
    obs, action, next_obs = (np.asarray(x, np.float64) for x in transitions[:3])
    z = np.asarray(encoder(transitions.obs), np.float64)
    features = np.concatenate([z, action[:, None] == np.arange(task.choices)], axis=1)
    step = next_obs - obs
    gram_inverse = np.linalg.inv(features.T @ features + RIDGE * np.eye(features.shape[1]))
    weights = gram_inverse @ features.T @ step
    leverage = np.einsum("nf,fg,ng->n", features, gram_inverse, features)
    residual = (step - features @ weights) / (1.0 - np.minimum(leverage, 0.99))[:, None]
    size = np.sqrt(np.mean(step**2, axis=0))
    moving = size > 1e-8
    relative = np.sqrt(np.mean(residual**2, axis=0))[moving] / size[moving]
    return LinearDynamics(encoder, jnp.asarray(weights, jnp.float32)), float(relative.max(initial=0.0))
