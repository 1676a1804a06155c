"""How to learn: one algorithm a file, one line here."""

from iqlearn.algorithms.bc import BehaviouralCloning
from iqlearn.algorithms.bc_continuous import ContinuousCloning
from iqlearn.algorithms.iq import InverseSoftQ
from iqlearn.algorithms.iq_continuous import InverseSoftActorCritic
from iqlearn.algorithms.sac import SoftActorCritic
from iqlearn.algorithms.soft_q import SoftQLearning
from iqlearn.algorithms.state import Algorithm, TrainState
from iqlearn.settings import BC, BCContinuous, IQLearn, IQLearnContinuous, Settings, SoftQ


def algorithm(settings: Settings, learner_acts: bool = False) -> Algorithm:
    """The algorithm that these settings describe; `learner_acts` where its batches hold the learner's transitions."""
    if isinstance(settings, IQLearn):
        return InverseSoftQ(settings, learner_acts)
    if isinstance(settings, IQLearnContinuous):
        return InverseSoftActorCritic(settings, learner_acts)
    if isinstance(settings, BC):
        return BehaviouralCloning(settings)
    if isinstance(settings, BCContinuous):
        return ContinuousCloning(settings)
    return SoftQLearning(settings) if isinstance(settings, SoftQ) else SoftActorCritic(settings)


__all__ = [
    "Algorithm",
    "BehaviouralCloning",
    "ContinuousCloning",
    "InverseSoftActorCritic",
    "InverseSoftQ",
    "SoftActorCritic",
    "SoftQLearning",
    "TrainState",
    "algorithm",
]
