"""Copies of an environment, in this process or each in a process of its own. Everything that they return is checked."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.util import Finalize
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper

from iqlearn import interrupts
from iqlearn.envs.spaces import checked, number
from iqlearn.envs.worker import GRACE, Copy, serve
from iqlearn.errors import EnvironmentFault
from iqlearn.types import ObsSpec

LARGEST = float(np.finfo(np.float32).max)
"""Largest absolute reward that the replay can store."""
Make = Callable[[], gym.Env[Any, Any]]


class Handle(Protocol):
    """A copy with separate methods `ask` and `answer`, so that several copies can work at the same time."""

    def ask(self, call: str, argument: Any) -> None:
        """Request `reset` with a seed, or `step` with an action."""
        ...

    def answer(self) -> Any:
        """Return the observation after a reset, or (observation, reward, terminated, truncated) after a step.

        Raises:
            EnvironmentFault: the environment failed, or returned an invalid value.
        """
        ...

    def close(self) -> None:
        """Close the environment."""
        ...


class Local:
    """A copy in this process. The call runs inside `answer`, without a timeout."""

    def __init__(self, make: Make, spec: ObsSpec) -> None:
        self._copy, self._spec = Copy(make), spec

    def ask(self, call: str, argument: Any) -> None:
        self._asked = call, argument

    def answer(self) -> Any:
        return arrived(self._copy.do(*self._asked), self._asked[0], self._spec)

    def close(self) -> None:
        self._copy.close()


class Remote:
    """A copy in a process of its own, which may hang or die.

    Args:
        timeout: seconds to wait for an answer.
    """

    def __init__(self, make: Make, spec: ObsSpec, timeout: float) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process with several threads may hang
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, CloudpickleWrapper(make)), daemon=True)
        with interrupts.deaf():
            self._process.start()
        theirs.close()
        self._spec, self._timeout, self._call = spec, timeout, ""
        self._kill = Finalize(self, self._process.kill, exitpriority=10)  # also if `close` is never called

    def ask(self, call: str, argument: Any) -> None:
        self._call = call
        with suppress(OSError):  # `answer` reports that the process has ended
            self._pipe.send((call, argument))

    def answer(self) -> Any:
        try:
            if not self._pipe.poll(self._timeout):
                raise EnvironmentFault(f"it gave no answer within {self._timeout:g} seconds (env_timeout)")
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):
            self._process.join(GRACE)
            code = self._process.exitcode or 0
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise EnvironmentFault(f"its process ended {how}") from None
        result = pickle.loads(answer)
        if isinstance(result, EnvironmentFault):
            raise result
        return arrived(result, self._call, self._spec)

    def close(self) -> None:
        self._pipe.close()  # the process then ends, unless it hangs
        self._process.join(GRACE)
        self._kill()
        self._process.join()


def arrived(result: Any, call: str, spec: ObsSpec) -> Any:
    """Check the result of a reset or step, and return it as arrays of the specification's dtypes and Python numbers.

    Returns:
        The observation of a reset, or (observation, reward, terminated, truncated) of a step.

    Raises:
        EnvironmentFault: the result is invalid.
    """
    if call == "reset":
        return checked(result, spec)
    obs, reward, terminated, truncated = result
    earned = float(number(reward, "reward"))
    if abs(earned) > LARGEST:
        raise EnvironmentFault(f"the reward is {earned:g}; expected a number that float32 can hold")
    flags = bool(number(terminated, "flag terminated")), bool(number(truncated, "flag truncated"))
    return checked(obs, spec), earned, *flags
