"""Inverse soft-Q learning: from demonstrations to a policy and a reward.

>>> import iqlearn as iq
>>> demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
>>> run = iq.learn(iq.IQLearn(), demos, seed=0)

Names are imported when they are first used, so that `import iqlearn` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iqlearn.data import Demos
    from iqlearn.errors import InputError
    from iqlearn.learning import learn, learn_seeds, resume
    from iqlearn.models import Policy
    from iqlearn.reward import DistilledReward, RecoveredReward
    from iqlearn.run import Run
    from iqlearn.settings import (
        BC,
        BCContinuous,
        Interaction,
        IQLearn,
        IQLearnContinuous,
        Network,
        Schedule,
    )
    from iqlearn.types import Transitions
    from iqlearn.wrappers import RewardWrapper, VectorRewardWrapper

_HOMES = {
    "BC": "settings",
    "Demos": "data",
    "IQLearn": "settings",
    "IQLearnContinuous": "settings",
    "Interaction": "settings",
    "BCContinuous": "settings",
    "InputError": "errors",
    "Network": "settings",
    "Policy": "models",
    "DistilledReward": "reward",
    "RecoveredReward": "reward",
    "RewardWrapper": "wrappers",
    "VectorRewardWrapper": "wrappers",
    "Run": "run",
    "Schedule": "settings",
    "Transitions": "types",
    "learn": "learning",
    "learn_seeds": "learning",
    "resume": "learning",
}
__version__ = "0.1.0"
__all__ = [
    "BC",
    "BCContinuous",
    "Demos",
    "DistilledReward",
    "IQLearn",
    "IQLearnContinuous",
    "InputError",
    "Interaction",
    "Network",
    "Policy",
    "RecoveredReward",
    "RewardWrapper",
    "Run",
    "Schedule",
    "Transitions",
    "VectorRewardWrapper",
    "learn",
    "learn_seeds",
    "resume",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"iqlearn.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'iqlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
