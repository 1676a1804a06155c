"""The loops: the device computes, the host looks."""

from iqlearn.training.contrast import Seen, regressed, regressed_each
from iqlearn.training.distil import Sample, distil
from iqlearn.training.imagined import Imagined, in_imagination
from iqlearn.training.offline import Demonstrations, on_device
from iqlearn.training.online import Experience, Rewards, interact, moments, remember, remember_each, rewarded
from iqlearn.training.updates import Data, compiled, join, split
from iqlearn.training.warm import as_clone, warm_started
from iqlearn.training.watching import watched, with_actions

__all__ = [
    "Data",
    "Demonstrations",
    "Experience",
    "Imagined",
    "Rewards",
    "Sample",
    "Seen",
    "as_clone",
    "compiled",
    "distil",
    "in_imagination",
    "interact",
    "join",
    "moments",
    "on_device",
    "regressed",
    "regressed_each",
    "remember",
    "remember_each",
    "rewarded",
    "split",
    "warm_started",
    "watched",
    "with_actions",
]
