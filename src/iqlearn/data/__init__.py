"""Where experience lives: demonstrations on the host, buffers on the device."""

from iqlearn.data.buffer import Buffer, filled
from iqlearn.data.demos import Demos
from iqlearn.data.replay import Moments, Replay, empty_replay

__all__ = ["Buffer", "Demos", "Moments", "Replay", "empty_replay", "filled"]
