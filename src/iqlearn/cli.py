"""The command line: from words to a command that runs, every mistake told in a sentence."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Union, cast

import tyro
from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, subcommand

from iqlearn import __version__
from iqlearn.errors import InputError
from iqlearn.flags import Demonstrations, Evaluate, Resume, Reward, Train, TrainExpert
from iqlearn.settings import IQLearnContinuous, Schedule
from iqlearn.settings.presets import KINDS, Role, default_steps

DESCRIPTION = """Inverse soft-Q learning: from demonstrations to a policy and a reward.

`iqlearn train` learns CartPole from one built-in demonstration; `iqlearn train --env ID --demos FILE` learns from your
own; `iqlearn COMMAND --help` explains every flag."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 2 and one sentence for bad input, 130 after Ctrl-C or a request to terminate."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"iqlearn {__version__}")
        return
    try:
        with stopping_alike():
            command = tyro.cli(
                command_for(arguments),
                args=arguments,
                prog="iqlearn",
                description=DESCRIPTION,
                config=(FlagCreatePairsOff, OmitSubcommandPrefixes),
            )
            command.run()
    except InputError as error:
        print(f"iqlearn: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # training itself ends in order, and says how to go on
        print("iqlearn: stopped; a run folder that is there already goes on with iqlearn resume.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of a pipe has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stopping_alike() -> Iterator[None]:
    """The signal by which services and queues end a program stops it as Ctrl-C does: a run keeps what it has."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command_for(arguments: Sequence[str]) -> Any:
    """The type of the command line: which settings become flags is decided by a few words, read before the others."""
    verb = next((word for word in arguments if not word.startswith("-")), "train")
    env, demos = value_of("--env", arguments), value_of("--demos", arguments)
    trains = verb in ("train", "expert")
    try:
        discrete = not trains or discrete_actions(env, demos)
    except InputError:
        if not {"--help", "-h"} & set(arguments):
            raise
        discrete = True  # help is there whatever is wrong with the rest
    role = cast(Role, "bc" if value_of("--algorithm", arguments) == "bc" else "iq")
    imitator, expert = cast(tuple[Any, Any], (KINDS[role, discrete], KINDS["expert", discrete]))
    acts = verb == "expert" or "--online" in arguments
    acts = acts or (role == "iq" and not discrete and env is not None and "--offline" not in arguments)
    schedule = Schedule(steps=default_steps((expert if verb == "expert" else imitator)(), acts))
    regressed = imitator is IQLearnContinuous and value_of("--form", arguments) == "regressed"
    learner = IQLearnContinuous.regressed() if regressed else imitator()
    train = subcommand("train", default=Train(learner=learner, schedule=schedule))
    make = subcommand("expert", default=TrainExpert(learner=expert(), schedule=schedule, env=tyro.MISSING))
    return Union[  # noqa: UP007
        Annotated[Train[imitator], train],
        Annotated[TrainExpert[expert], make],
        Annotated[Resume, subcommand("resume")],
        Annotated[Evaluate, subcommand("evaluate")],
        Annotated[Reward, subcommand("reward")],
        Annotated[Demonstrations, subcommand("demos")],
    ]


def discrete_actions(env: str | None, demos: str | None) -> bool:
    """Whether actions are discrete, as the environment or else the file says.

    Raises:
        InputError: there is no such environment or file.
    """
    if env is not None:
        from iqlearn.envs import gym

        return gym.task_spec(env).discrete
    if demos is not None:
        from iqlearn.data import Demos

        recorded = Demos.load(Path(demos))
        return recorded.discrete if recorded.act is not None else discrete_actions(recorded.env, None)
    return True


def value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """The word after a flag, if it is given."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(flag + "="):
            return word.partition("=")[2]
    return None
