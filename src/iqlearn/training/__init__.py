"""The loops: the device computes, the host looks."""

from iqlearn.training.imagined import Imagined, in_imagination
from iqlearn.training.offline import Demonstrations, on_device
from iqlearn.training.updates import Data, train, train_seeds

__all__ = ["Data", "Demonstrations", "Imagined", "in_imagination", "on_device", "train", "train_seeds"]
