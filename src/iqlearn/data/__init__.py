"""Where experience lives: demonstrations on the host, buffers on the device."""

from iqlearn.data.buffer import Buffer, empty, filled
from iqlearn.data.demos import Demos

__all__ = ["Buffer", "Demos", "empty", "filled"]
