"""A first policy before inverse soft-Q learning begins: the expert's actions, cloned."""

from dataclasses import replace

import equinox as eqx

from iqlearn.algorithms import ContinuousCloning, TrainState
from iqlearn.models import ContinuousSoftQ
from iqlearn.models.networks import MLP
from iqlearn.settings import BCContinuous, IQLearnContinuous
from iqlearn.training.offline import Demonstrations
from iqlearn.training.updates import train
from iqlearn.types import PRNGKey


def warm_started(
    settings: IQLearnContinuous,
    updates: int,
    state: TrainState[ContinuousSoftQ],
    demos: Demonstrations,
    key: PRNGKey,
) -> TrainState[ContinuousSoftQ]:
    """The state with an actor that has been cloned from the demonstrations."""
    if updates == 0:
        return state
    cloning = ContinuousCloning(BCContinuous(actor=settings.actor))
    cloned, _ = train(cloning, cloning.begin(state.model), demos, key, updates)
    return as_clone(state, cloned.model.actor)


def as_clone(state: TrainState[ContinuousSoftQ], actor: MLP) -> TrainState[ContinuousSoftQ]:
    """The state with this actor: the live one, the averaged one, and the one to be held to, if it is."""
    state = eqx.tree_at(lambda s: (s.model.actor, s.target.actor), state, (actor, actor))
    return state if state.clone is None else replace(state, clone=actor)
