"""How a run begins: what it learns from, its random keys, and the state before its first update."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import jax.random as jr

from iqlearn.algorithms import Algorithm, TrainState, algorithm
from iqlearn.data.scale import NO_LIMIT
from iqlearn.settings import BC, Interaction, IQLearn, Settings
from iqlearn.training.updates import KEPT
from iqlearn.types import ObservationScale, PRNGKey, TaskSpec


@dataclass(frozen=True)
class Origin:
    """What a run learnt from."""

    env: str | None
    """Gymnasium id of the environment it acts and is evaluated in, if any."""
    demos: str | None
    """Where the demonstrations came from; an expert has none."""
    sha256: str = ""
    """Fingerprint of what the learner saw of them."""
    transitions: int = 0
    episodes: int = 0
    trajectories: int | None = None
    """`--trajectories`, if the run was started from the command line."""
    subsample: int = 1
    path: str | None = None
    """The file, if it was one."""
    reward: str | None = None
    """The recovered reward that an expert learns from instead of the environment's: a run folder or a file."""
    reward_sha256: str = ""
    """Fingerprint of that reward; runs of earlier commits kept none."""
    ends: int | None = None
    """Expert transitions that truly ended an episode; runs of earlier commits did not say."""
    dynamics_error: float | None = None
    """Leave-one-out error of the linear model of the dynamics (see `Imagination`); none where it does not apply."""
    action_error: float | None = None
    """How far from the expert's actions, in [−1, 1], they tell each other (see `Regression.error_limit`); none where
    no Gaussian process of them was fitted."""


@lru_cache(KEPT)
def init(algorithm: Algorithm, spec: TaskSpec) -> Callable[[ObservationScale, PRNGKey], TrainState]:
    """`algorithm.init` as one program."""
    return jax.jit(partial(algorithm.init, spec))


def imagines(settings: Settings, origin: Origin, interaction: Interaction | None) -> bool:
    """Whether the learner acts in a model of the dynamics: offline, where that is good enough."""
    error = origin.dynamics_error
    if not isinstance(settings, IQLearn) or interaction is not None or error is None:
        return False
    return error < settings.imagination.error_limit


def initial_state(
    settings: Settings,
    spec: TaskSpec,
    seed: int,
    scale: ObservationScale,
    origin: Origin,
    interaction: Interaction | None,
) -> TrainState:
    """The state before the first update, from the seed alone; its particles have yet to begin."""
    imagining = imagines(settings, origin, interaction)
    learner = algorithm(settings, imagining or interaction is not None)
    state = init(learner, spec)(scale, keys_of(seed)[0])
    if isinstance(settings, IQLearn) and imagining:
        return replace(state, particles=jnp.zeros((settings.imagination.particles, *spec.obs_shape)))
    return state


def keys_of(seed: int) -> tuple[PRNGKey, PRNGKey, PRNGKey]:
    """The keys of the initial weights, of acting (in a model or the environment), and of the updates."""
    init_key, act_key, train_key = jr.split(jr.key(seed), 3)
    return init_key, act_key, train_key


def unit_scale(settings: Settings, spec: TaskSpec) -> ObservationScale:
    """A scale of the shape that a run of these settings has; it leaves observations as they are."""
    size = math.prod(spec.obs_shape)
    whitened = isinstance(settings, IQLearn | BC)
    return ObservationScale(
        jnp.zeros(spec.obs_shape), jnp.eye(size) if whitened else jnp.ones(size), jnp.float32(NO_LIMIT)
    )
