"""The loops: the device computes, the host looks."""

from iqlearn.training.offline import Demonstrations, on_device
from iqlearn.training.updates import train, train_seeds

__all__ = ["Demonstrations", "on_device", "train", "train_seeds"]
