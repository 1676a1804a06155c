"""What an expert would do beside its own path, so that a clone knows the way back to it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from iqlearn.data import filled
from iqlearn.models import ContinuousSoftQ
from iqlearn.models.gaussian_process import GaussianProcess
from iqlearn.training.offline import Demonstrations
from iqlearn.types import Transitions

ROWS = 32_768
"""Made-up states, and as many of the expert's own beside them."""
NEAREST = 0.05
"""Share of the reach below which no state is made up."""
KNOWN = 4_000
"""Transitions that the process is fitted to, drawn at random from more."""
ENOUGH = 20_000
"""Transitions from which on a network needs no help."""


def process_of(demos: Demonstrations, model: ContinuousSoftQ, rng: np.random.Generator) -> GaussianProcess | None:
    """A Gaussian process of the expert's actions, in [−1, 1], given what the networks see; none where a network needs
    no help."""
    obs, action = experts(demos)
    if len(obs) > ENOUGH:
        return None
    unit = np.clip(np.asarray(model.to_unit(jnp.asarray(action)), np.float64), -1.0, 1.0)
    few = rng.permutation(len(obs))[:KNOWN]
    return GaussianProcess.fit(inputs(model, obs[few]), unit[few], rng)


def with_neighbours(
    demos: Demonstrations, model: ContinuousSoftQ, process: GaussianProcess, reach: float, rng: np.random.Generator
) -> Demonstrations:
    """The expert's transitions, and states around them with the actions that the expert's process gives.

    Each neighbour is an expert's state with normal noise, whose size, in standard deviations of each coordinate, is
    log-uniform up to `reach`. Only states and actions mean anything in what comes back.
    """
    obs, action = experts(demos)
    size = len(obs)
    own, near = rng.integers(size, size=ROWS), rng.integers(size, size=ROWS)
    length = reach * NEAREST ** rng.random((ROWS, *[1] * (obs.ndim - 1)))
    made_up = (obs[near] + length * obs.std(axis=0) * rng.normal(size=(ROWS, *obs.shape[1:]))).astype(np.float32)
    guided = np.asarray(model.actions.to_env(jnp.asarray(process(inputs(model, made_up)), jnp.float32)))
    states, actions = np.concatenate([obs[own], made_up]), np.concatenate([action[own], guided])
    rows = Transitions(jnp.asarray(states), jnp.asarray(actions), jnp.asarray(states), jnp.zeros(len(states), bool))
    return eqx.tree_at(lambda d: d.transitions, demos, filled(rows))


def experts(demos: Demonstrations) -> tuple[np.ndarray, np.ndarray]:
    """The expert's observations and actions, without padding."""
    rows, size = demos.transitions.rows, int(demos.transitions.size)
    return np.asarray(rows.obs)[:size], np.asarray(rows.action)[:size]


def inputs(model: ContinuousSoftQ, obs: np.ndarray) -> np.ndarray:
    """What the networks see of observations, in double precision."""
    return np.asarray(model.inputs(jnp.asarray(obs)), np.float64)
