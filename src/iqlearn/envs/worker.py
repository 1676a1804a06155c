"""One copy of an environment, and the worker process that may run it.

This module and its imports load quickly, because every worker process loads them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeLimit

from iqlearn.errors import EnvironmentFault

SEQUENCE = (tuple, list)
GRACE = 5.0
"""Seconds that a process has to close its environment before it is ended."""


def build(source: str | EnvSpec | Callable[..., Any], kwargs: dict[str, Any], cap: int | None) -> Any:
    """Return a new environment. If `cap` is given, its episodes are truncated after `cap` steps."""
    known = isinstance(source, str | EnvSpec)
    env: Any = gym.make(source, disable_env_checker=True, **kwargs) if known else source(**kwargs)
    return env if cap is None else TimeLimit(env, cap)


class Copy:
    """An environment whose failures all become `EnvironmentFault`. It is made at the first reset.

    Args:
        make: makes the environment.
        alone: whether the copy has a process of its own. That process ignores Ctrl-C, so a KeyboardInterrupt comes from
            the environment and is a failure too.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]], alone: bool = False) -> None:
        self._make, self._alone = make, alone
        self._env: gym.Env[Any, Any] | None = None

    def do(self, call: str, argument: Any) -> Any:
        """Return the result of `reset(seed)` or `step(action)`.

        Raises:
            EnvironmentFault: the environment raised, tried to exit the program, or returned a value of the wrong form.
        """
        try:
            return getattr(self, call)(argument)
        except EnvironmentFault:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._alone:
                raise
            told = f"{call} raised {type(error).__name__}: {one_line(error) or 'no message'}"
            if "to unpack" in str(error):  # in a wrapper
                told += "; expected that step returns (observation, reward, terminated, truncated, info)"
            raise EnvironmentFault(told) from error

    def reset(self, seed: int | None) -> Any:
        """Begin an episode and return its first observation."""
        self._env = self._env or self._make()
        result = self._env.reset(seed=seed)
        if not (isinstance(result, SEQUENCE) and len(result) == 2 and isinstance(result[1], Mapping)):
            raise EnvironmentFault(f"reset returned {brief(result)}; expected (observation, info)")
        return result[0]

    def step(self, action: Any) -> tuple[Any, Any, Any, Any]:
        """Take one step and return (observation, reward, terminated, truncated)."""
        assert self._env is not None
        result: Any = self._env.step(action)
        if not (isinstance(result, SEQUENCE) and len(result) == 5):
            size = f"{len(result)} values" if isinstance(result, SEQUENCE) else brief(result)
            raise EnvironmentFault(f"step returned {size}; expected (observation, reward, terminated, truncated, info)")
        obs, reward, terminated, truncated, _ = result
        return obs, reward, terminated, truncated

    def close(self) -> None:
        """Close the environment. Errors while closing are ignored."""
        with suppress(Exception, SystemExit):
            if self._env is not None:
                self._env.close()


def serve(pipe: Connection, make: Any) -> None:
    """Answer the calls that arrive through the pipe until its other end is closed or the parent process has ended."""
    for name in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group; the parent process handles them
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    copy = Copy(make, alone=True)
    with suppress(EOFError, OSError):
        while True:
            call, argument = pipe.recv()
            try:
                answer = pickle.dumps(copy.do(call, argument))
            except EnvironmentFault as fault:
                fault.add_note(traceback.format_exc())
                answer = pickle.dumps(fault)
            except Exception as error:
                answer = pickle.dumps(EnvironmentFault(f"{call} returned what cannot be pickled: {one_line(error)}"))
            pipe.send_bytes(answer)
    copy.close()


def _end_with(parent: Any) -> None:
    """Wait until the parent process has ended, then end this process after `GRACE` seconds, even if it is busy."""
    parent.join()
    time.sleep(GRACE)
    os._exit(1)


def brief(value: Any) -> str:
    """Return a value as one line of at most 60 characters, for messages."""
    text = one_line(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(what: object) -> str:
    """Return text on one line, without a full stop at its end."""
    return " ".join(str(what).split()).rstrip(".")
