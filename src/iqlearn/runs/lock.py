"""The lock of a run folder: one process at a time trains in it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from iqlearn.errors import InputError
from iqlearn.files import PARTIAL

if os.name == "nt":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
FAR = 1 << 30
"""The position that is locked on Windows: beyond the text, so that other processes can read who holds the lock."""


@contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Make the folders, lock them for this process, and delete files that a killed process left half-written.

    The system releases the lock of a process that dies.

    Raises:
        InputError: another process holds the lock of a folder, or a folder cannot be written.
    """
    with ExitStack() as held:
        for folder in dict.fromkeys(folders):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((folder / LOCK).open("a+", encoding="utf-8"))
                _lock(file, folder)
                for left in folder.glob(f"*{PARTIAL}"):
                    left.unlink(missing_ok=True)
            except OSError as error:
                raise InputError(
                    f"{folder} cannot be written ({error.strerror}); expected a folder for the run, choose another "
                    "--out."
                ) from error
        yield


def _lock(file: IO[str], folder: Path) -> None:
    try:
        if os.name == "nt":
            file.seek(FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        holder = file.read() or "another process"
        raise InputError(
            f"{folder} is in use by {holder}; wait until it has ended, or choose another folder."
        ) from error
    except OSError:  # a file system without locks
        return
    with suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
