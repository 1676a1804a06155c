"""The output and the error stream of the command line."""

import io
import os
import sys
from typing import Any

from iqlearn.errors import InputError


class Pipe(io.FileIO):
    """A stream that drops text that cannot be written, for instance because the reader has closed the pipe.

    Only the first other error on the standard output, such as a full disk, raises `InputError`.
    """

    failed = False

    def write(self, data: Any) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            if isinstance(error, BrokenPipeError) or self.failed or self.fileno() == 2:
                return len(data)
            self.failed = True
            raise InputError(f"The output cannot be written ({error.strerror}).") from error


def open_streams() -> None:
    """Make the standard streams safe to print to: without a reader, closed, or with a narrow encoding."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # fills a closed one
        pass
    os.close(number)
    for number, stream in enumerate((sys.stdout, sys.stderr), 1):
        encoding = getattr(stream, "encoding", "utf-8")
        buffer = io.BufferedWriter(Pipe(number, "w", closefd=False))
        lines = number == 2 or os.isatty(number)
        new = io.TextIOWrapper(buffer, encoding, "replace", line_buffering=lines)
        setattr(sys, "stdout" if number == 1 else "stderr", new)
