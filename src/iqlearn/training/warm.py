"""A first policy before inverse soft-Q learning begins: the expert's actions, cloned."""

from dataclasses import replace

import equinox as eqx
import jax.random as jr
import numpy as np

from iqlearn.algorithms import ContinuousCloning, TrainState
from iqlearn.models import ContinuousSoftQ
from iqlearn.models.gaussian_process import GaussianProcess
from iqlearn.models.networks import MLP
from iqlearn.settings import BCContinuous, Imitation, IQLearnContinuous
from iqlearn.training.neighbours import process_of, with_neighbours
from iqlearn.training.offline import Demonstrations
from iqlearn.training.updates import compiled
from iqlearn.types import PRNGKey

SETTLING = 5
"""The step size falls after one in so many of the warm start's updates."""


def warm_started(
    settings: IQLearnContinuous,
    imitation: Imitation,
    state: TrainState[ContinuousSoftQ],
    demos: Demonstrations,
    key: PRNGKey,
) -> tuple[TrainState[ContinuousSoftQ], GaussianProcess | None]:
    """The state with an actor that has been cloned from the demonstrations, and the process of the expert's actions
    that helped it, if one did."""
    if imitation.warm_start == 0:
        return state, None
    rng = np.random.default_rng(np.asarray(jr.key_data(key)))
    process = process_of(demos, state.model, rng) if imitation.reach > 0.0 else None
    if process is not None:
        demos = with_neighbours(demos, state.model, process, imitation.reach, rng)
    settle = max(imitation.warm_start // SETTLING, 1)
    cloning = ContinuousCloning(BCContinuous(actor=settings.actor, settle_after=settle))
    begun = cloning.begin(state.model), demos, key
    cloned, _ = compiled(cloning, *begun)(*begun, imitation.warm_start)
    return as_clone(state, cloned.model.actor), process


def as_clone(state: TrainState[ContinuousSoftQ], actor: MLP) -> TrainState[ContinuousSoftQ]:
    """The state with this actor: the live one, the averaged one, and the one to be held to, if it is."""
    state = eqx.tree_at(lambda s: (s.model.actor, s.target.actor), state, (actor, actor))
    return state if state.clone is None else replace(state, clone=actor)
