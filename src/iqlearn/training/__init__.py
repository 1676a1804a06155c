"""The loops: the device computes, the host looks."""

from iqlearn.training.imagined import Imagined, in_imagination
from iqlearn.training.offline import Demonstrations, on_device
from iqlearn.training.online import Experience, Rewards, interact, moments, remember
from iqlearn.training.updates import Data, train, train_seeds
from iqlearn.training.warm import warm_started

__all__ = [
    "Data",
    "Demonstrations",
    "Experience",
    "Imagined",
    "Rewards",
    "in_imagination",
    "interact",
    "moments",
    "on_device",
    "remember",
    "train",
    "train_seeds",
    "warm_started",
]
