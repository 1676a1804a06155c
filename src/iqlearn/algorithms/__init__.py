"""How to learn: one algorithm a file, one line here."""

from iqlearn.algorithms.bc import BehaviouralCloning
from iqlearn.algorithms.iq import InverseSoftQ
from iqlearn.algorithms.soft_q import SoftQLearning
from iqlearn.algorithms.state import Algorithm, TrainState
from iqlearn.settings import BC, IQLearn

Imitator = InverseSoftQ | BehaviouralCloning


def imitator(settings: IQLearn | BC, learner_acts: bool = False) -> Imitator:
    """The algorithm that these settings describe; `learner_acts` where its batches hold the learner's transitions."""
    return InverseSoftQ(settings, learner_acts) if isinstance(settings, IQLearn) else BehaviouralCloning(settings)


__all__ = [
    "Algorithm",
    "BehaviouralCloning",
    "Imitator",
    "InverseSoftQ",
    "SoftQLearning",
    "TrainState",
    "imitator",
]
