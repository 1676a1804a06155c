"""Every setting of every algorithm: frozen dataclasses, the same in Python, on the command line and in `config.json`.

Nothing here imports anything heavy, so that `iqlearn --help` answers at once. The string below a field is its help.
"""

from iqlearn.settings.actor_critic import SAC, ActorCritic, BCContinuous
from iqlearn.settings.common import (
    Activation,
    DivergenceName,
    Form,
    Network,
    Objective,
    Squash,
    TargetUpdate,
    ValueTerm,
    require,
    require_positive,
)
from iqlearn.settings.continuous import Imitation, Inference, IQLearnContinuous, Regression
from iqlearn.settings.discrete import BC, Imagination, IQLearn, SoftQ
from iqlearn.settings.schedule import Interaction, Schedule, Vectorization
from iqlearn.settings.serial import Settings, from_dict, to_dict

__all__ = [
    "BC",
    "SAC",
    "Activation",
    "ActorCritic",
    "BCContinuous",
    "DivergenceName",
    "Form",
    "IQLearn",
    "IQLearnContinuous",
    "Imagination",
    "Imitation",
    "Inference",
    "Interaction",
    "Network",
    "Objective",
    "Regression",
    "Schedule",
    "Settings",
    "SoftQ",
    "Squash",
    "TargetUpdate",
    "ValueTerm",
    "Vectorization",
    "from_dict",
    "require",
    "require_positive",
    "to_dict",
]
