"""Experience: demonstrations on the host, and what batches are drawn from on the device."""

from iqlearn.data.demos import Demos
from iqlearn.data.replay import Buffer, NewTransitions, Replay, empty_replay, filled
from iqlearn.data.sources import Demonstrations, Experience, RewardedReplay, Source

__all__ = [
    "Buffer",
    "Demonstrations",
    "Demos",
    "Experience",
    "NewTransitions",
    "Replay",
    "RewardedReplay",
    "Source",
    "empty_replay",
    "filled",
]
