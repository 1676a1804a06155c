"""Inverse soft-Q learning: from demonstrations to a policy and a reward.

>>> import iqlearn as iq
>>> demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
>>> run = iq.learn(iq.recommended(demos), demos, seed=0)

Names are imported when they are first used, so that `import iqlearn` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iqlearn.algorithms import BC, SAC, BCContinuous, IQLearn, IQLearnContinuous, SoftQLearning
    from iqlearn.api import learn, recommended, resume, train_expert
    from iqlearn.data import Demos
    from iqlearn.errors import InputError
    from iqlearn.extensions import ActionInference, Cloning, ModelRollouts, RewardRegression
    from iqlearn.networks.mlp import Network
    from iqlearn.networks.policy import Policy
    from iqlearn.rewards import DistilledReward, RecoveredReward, RewardWrapper, VectorRewardWrapper
    from iqlearn.runs.provenance import Interaction, Schedule
    from iqlearn.runs.run import Run
    from iqlearn.training.callbacks import Callback, EarlyStopping, TensorBoard, WandB
    from iqlearn.types import Transitions

_HOMES = {
    "algorithms": ("BC", "BCContinuous", "IQLearn", "IQLearnContinuous", "SAC", "SoftQLearning"),
    "api": ("learn", "recommended", "resume", "train_expert"),
    "data": ("Demos",),
    "errors": ("InputError",),
    "extensions": ("ActionInference", "Cloning", "ModelRollouts", "RewardRegression"),
    "networks.mlp": ("Network",),
    "networks.policy": ("Policy",),
    "rewards": ("DistilledReward", "RecoveredReward", "RewardWrapper", "VectorRewardWrapper"),
    "runs.provenance": ("Interaction", "Schedule"),
    "runs.run": ("Run",),
    "training.callbacks": ("Callback", "EarlyStopping", "TensorBoard", "WandB"),
    "types": ("Transitions",),
}
__version__ = "0.1.0"
__all__ = [
    "BC",
    "SAC",
    "ActionInference",
    "BCContinuous",
    "Callback",
    "Cloning",
    "Demos",
    "DistilledReward",
    "EarlyStopping",
    "IQLearn",
    "IQLearnContinuous",
    "InputError",
    "Interaction",
    "ModelRollouts",
    "Network",
    "Policy",
    "RecoveredReward",
    "RewardRegression",
    "RewardWrapper",
    "Run",
    "Schedule",
    "SoftQLearning",
    "TensorBoard",
    "Transitions",
    "VectorRewardWrapper",
    "WandB",
    "learn",
    "recommended",
    "resume",
    "train_expert",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"iqlearn.{home}"), name)
    raise AttributeError(f"module 'iqlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
