"""Frames of videos, found by their times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from iqlearn.data.formats.base import parsing
from iqlearn.errors import InputError, missing

AHEAD = 2.0
"""The decoder reads on to frames at most this many seconds ahead. It seeks to frames further ahead or behind."""


def frames_of(
    files: list[Path], file: Int[np.ndarray, " n"], time: Float[np.ndarray, " n"], fps: float
) -> Callable[[Int[np.ndarray, " k"]], UInt8[np.ndarray, "k height width 3"]]:
    """Return a function that takes row numbers in ascending order and returns the frames of these rows.

    Args:
        files: the videos.
        file: the number of each row's video.
        time: the time of each row in its video, in seconds.
        fps: frames per second. The nearest frame must be at most half a frame from the time of its row.

    Raises:
        InputError: PyAV is not installed.
    """
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise missing("PyAV, which reads videos,", "lerobot") from error
    reader: Reader | None = None

    def rows(at: Int[np.ndarray, " k"]) -> UInt8[np.ndarray, "k height width 3"]:
        nonlocal reader
        found = []
        for row in at.tolist():
            path = files[file[row]]
            if reader is None or reader.path != path:
                reader = Reader(path, 0.5 / fps)
            found.append(reader.frame(float(time[row])))
        return np.stack(found)

    return rows


class Reader:
    """An open video, which is decoded forwards and seeks where necessary."""

    def __init__(self, path: Path, slack: float) -> None:
        """Open the video at `path`. Frames may differ by at most `slack` seconds from the requested times.

        Raises:
            InputError: the video is missing or damaged.
        """
        import av

        self.path, self.slack = path, slack
        with parsing(path, "video"):
            self.container = av.open(str(path))
            self.stream: Any = self.container.streams.video[0]
            self.stream.thread_type = "AUTO"
        self.decoder: Iterator[Any] = iter(())
        self.last: Any = None
        self.following: Any = None

    def frame(self, time: float) -> UInt8[np.ndarray, "height width 3"]:
        """Return the frame nearest to a time in seconds, as RGB.

        Raises:
            InputError: no frame is within `slack` seconds, or the video is damaged.
        """
        with parsing(self.path, "video"):
            if self.last is None or not -self.slack <= time - self.last.time <= AHEAD:
                self.container.seek(max(0, int((time - self.slack) / self.stream.time_base)), stream=self.stream)
                self.decoder = self.container.decode(self.stream)
                self.last, self.following = None, next(self.decoder, None)
            while self.following is not None and (
                self.last is None or abs(self.following.time - time) <= abs(self.last.time - time)
            ):
                self.last, self.following = self.following, next(self.decoder, None)
            if self.last is None or abs(self.last.time - time) > self.slack:
                raise InputError(f"{self.path} has no frame at {time:g} s; expected one for each row of the dataset.")
            return self.last.to_ndarray(format="rgb24")
