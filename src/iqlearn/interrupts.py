"""Ctrl-C and SIGTERM as requests to stop. Training checks for a request at safe points, by calling `check`.

An exception that a signal raises at an arbitrary point can be lost in a callback of other code, or leave a change
half done.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import NoReturn

DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""The only handlers that are replaced. A signal that the user handles or ignores is left alone."""
LAST = 3
"""Number of signals after which the process ends at once."""
TOLD = b"\niqlearn: stopping; pressing Ctrl-C three times ends the process at once.\n"

_received: list[int] = []  # global, because signals belong to the whole process


class _Thread(threading.local):
    foreign = finishing = False


_thread = _Thread()


@contextmanager
def listening(*signals: signal.Signals) -> Iterator[None]:
    """Treat these signals as requests to stop (default: SIGINT). The third signal ends the process and its workers.

    This has no effect inside another `listening` block, outside of the main thread, and on signals that the user
    handles or ignores.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {s: signal.getsignal(s) for s in signals or (signal.SIGINT,) if main}
    before = {s: handler for s, handler in before.items() if handler == DEFAULTS[s]}
    if not before:
        yield
        return
    _received.clear()
    there, here = socket.socketpair()
    here.setblocking(False)
    wakeup = signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_count, args=(there, frozenset(before)), daemon=True).start()
    try:
        for s in before:
            signal.signal(s, _receive)
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
        signal.set_wakeup_fd(wakeup)
        here.close()
        _received.clear()


def conclude(code: int) -> None:
    """Let SIGINT and SIGTERM end the process at once with this exit code.

    It is called when only the shutdown of the interpreter is left.
    """
    for s, handler in DEFAULTS.items():
        if signal.getsignal(s) == handler:
            signal.signal(s, lambda *_: os._exit(code))


def requested() -> bool:
    """Return whether a signal asked to stop."""
    return bool(_received)


def check() -> None:
    """Mark a safe point, where a request to stop takes effect.

    Raises:
        KeyboardInterrupt: a signal asked to stop, and this is not inside a `finishing` block.
    """
    if _received and not _thread.finishing:
        raise KeyboardInterrupt


@contextmanager
def finishing() -> Iterator[None]:
    """Disable `check` in a block, so that the block is finished after a request to stop."""
    outer, _thread.finishing = _thread.finishing, True
    try:
        yield
    finally:
        _thread.finishing = outer


class Foreign:
    """A region of external code that may block, such as a step of an environment. A signal raises there at once."""

    def __enter__(self) -> None:
        self.outer, _thread.foreign = _thread.foreign, True
        if _received:
            _leave()

    def __exit__(self, *_: object) -> None:
        _thread.foreign = self.outer


@contextmanager
def deaf() -> Iterator[None]:
    """Block Ctrl-C in processes that are started here, because a terminal sends it to the whole process group."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # if it started later, it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(number: int, _: object) -> None:
    _received.append(number)
    if _thread.foreign:
        _leave()


def _leave() -> NoReturn:
    """Raise `KeyboardInterrupt` once. Another signal must not raise while the regions are being left."""
    _thread.foreign = False
    raise KeyboardInterrupt


def _count(signals: socket.socket, heeded: frozenset[int]) -> None:
    """Count the signals in a separate thread, because the main thread runs no handlers while it waits in C code."""
    count = 0
    with signals:
        while numbers := signals.recv(64):
            before, count = count, count + sum(number in heeded for number in numbers)
            if before == 0 < count:
                os.write(2, TOLD)
            if count >= LAST:
                _end()


def _end() -> None:
    try:
        for process in multiprocessing.active_children():
            process.kill()
    finally:
        os._exit(128 + signal.SIGINT)
