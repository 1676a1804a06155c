"""The loops: the device computes, the host looks."""

from iqlearn.training.offline import Demonstrations, train_offline, train_offline_seeds

__all__ = ["Demonstrations", "train_offline", "train_offline_seeds"]
