"""Ctrl-C and SIGTERM are requests to stop. Training reads them at safe points: `check`.

An exception that a signal raises just anywhere can be lost in a callback of other code, or leave half of a change.
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
"""The handlers that are replaced. A signal that the user handles or ignores stays the user's."""
LAST = 3
"""The signal that ends the process at once."""
TOLD = b"\niqlearn: stopping; pressing Ctrl-C three times ends the process at once.\n"

_received: list[int] = []  # signals are of the whole process, so this is too


class _Thread(threading.local):
    foreign = finishing = False


_thread = _Thread()


@contextmanager
def listening(*signals: signal.Signals) -> Iterator[None]:
    """Take these signals as requests to stop (default: SIGINT). The third one ends the process and its workers.

    Has no effect inside another one, outside of the main thread, and on signals that the user handles.
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
    """From now on a signal ends the process at once, with this exit code: all that is left is the interpreter's end."""
    for s, handler in DEFAULTS.items():
        if signal.getsignal(s) == handler:
            signal.signal(s, lambda *_: os._exit(code))


def requested() -> bool:
    """Whether a signal asked to stop."""
    return bool(_received)


def check() -> None:
    """A safe point.

    Raises:
        KeyboardInterrupt: a signal asked to stop, and what is done here need not be finished.
    """
    if _received and not _thread.finishing:
        raise KeyboardInterrupt


@contextmanager
def finishing() -> Iterator[None]:
    """A region that is finished after a request to stop: it has no safe points."""
    outer, _thread.finishing = _thread.finishing, True
    try:
        yield
    finally:
        _thread.finishing = outer


class Foreign:
    """A region of code that is not ours and may block, such as a step of an environment. A signal raises there."""

    def __enter__(self) -> None:
        self.outer, _thread.foreign = _thread.foreign, True
        if _received:
            _leave()

    def __exit__(self, *_: object) -> None:
        _thread.foreign = self.outer


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started here do not hear Ctrl-C, which a terminal sends to the whole process group."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # begun later, it would let the signal through again
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
    """Raise, once: while the regions are left, another signal must not."""
    _thread.foreign = False
    raise KeyboardInterrupt


def _count(signals: socket.socket, heeded: frozenset[int]) -> None:
    """Count the signals in a thread of its own: the main thread hears none while it waits in C."""
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
