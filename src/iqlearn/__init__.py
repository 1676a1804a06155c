"""Inverse soft-Q learning: from demonstrations to a policy and a reward.

>>> import iqlearn as iq
>>> demos = iq.Demos.builtin("CartPole-v1").take(1).subsample(20)
>>> run = iq.learn(iq.recommended(demos), demos, seed=0)

Names are imported when they are first used, so that `import iqlearn` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iqlearn.algorithms import *
    from iqlearn.api import learn as learn
    from iqlearn.api import recommended as recommended
    from iqlearn.api import resume as resume
    from iqlearn.api import train_expert as train_expert
    from iqlearn.data.demos import Demos as Demos
    from iqlearn.errors import EnvironmentFault as EnvironmentFault
    from iqlearn.errors import InputError as InputError
    from iqlearn.extensions import *
    from iqlearn.networks.mlp import Network as Network
    from iqlearn.networks.policy import Policy as Policy
    from iqlearn.rewards.distil import DistilledReward as DistilledReward
    from iqlearn.rewards.recovered import RecoveredReward as RecoveredReward
    from iqlearn.rewards.wrappers import RewardWrapper as RewardWrapper
    from iqlearn.rewards.wrappers import VectorRewardWrapper as VectorRewardWrapper
    from iqlearn.runs.provenance import Interaction as Interaction
    from iqlearn.runs.provenance import Schedule as Schedule
    from iqlearn.runs.run import Run as Run
    from iqlearn.training.callbacks import Callback as Callback
    from iqlearn.training.callbacks import EarlyStopping as EarlyStopping
    from iqlearn.training.callbacks import TensorBoard as TensorBoard
    from iqlearn.training.callbacks import WandB as WandB
    from iqlearn.types import Transitions as Transitions

_HOMES = {
    "api": ("learn", "recommended", "resume", "train_expert"),
    "data.demos": ("Demos",),
    "errors": ("EnvironmentFault", "InputError"),
    "networks.mlp": ("Network",),
    "networks.policy": ("Policy",),
    "rewards.distil": ("DistilledReward",),
    "rewards.recovered": ("RecoveredReward",),
    "rewards.wrappers": ("RewardWrapper", "VectorRewardWrapper"),
    "runs.provenance": ("Interaction", "Schedule"),
    "runs.run": ("Run",),
    "training.callbacks": ("Callback", "EarlyStopping", "TensorBoard", "WandB"),
    "types": ("Transitions",),
}
_REGISTRIES = ("algorithms", "extensions")
"""Modules whose classes (`__all__`) are public here, too."""
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"iqlearn.{home}"), name)
    for module in map(import_module, (f"iqlearn.{home}" for home in _REGISTRIES if name[0].isupper())):
        if name in module.__all__:
            return getattr(module, name)
    raise AttributeError(f"module 'iqlearn' has no attribute {name!r}")


def __dir__() -> list[str]:
    registered = (name for home in _REGISTRIES for name in import_module(f"iqlearn.{home}").__all__)
    return sorted(["__version__", *(name for names in _HOMES.values() for name in names), *registered])
