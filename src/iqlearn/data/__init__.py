"""Experience: demonstrations on the host, and what batches are drawn from on the device."""

from iqlearn.data.demos import Demos
from iqlearn.data.replay import Buffer, Moments, Replay, empty_replay, filled
from iqlearn.data.sources import Demonstrations, Experience, Rewards, Source

__all__ = [
    "Buffer",
    "Demonstrations",
    "Demos",
    "Experience",
    "Moments",
    "Replay",
    "Rewards",
    "Source",
    "empty_replay",
    "filled",
]
