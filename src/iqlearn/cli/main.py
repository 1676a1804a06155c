"""The entry point of the command line. Every error of the user is reported in one sentence."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from iqlearn import __version__, interrupts
from iqlearn.cli.commands import BEGINNINGS, COMMANDS
from iqlearn.cli.parser import SHORT, Parser, nearest
from iqlearn.cli.streams import open_streams
from iqlearn.errors import EnvironmentFault, InputError

OVERVIEW = """usage: iqlearn COMMAND [flags]

Inverse soft-Q learning: from demonstrations to a policy and a reward.

{}

`iqlearn train` learns CartPole-v1 from one built-in demonstration. `iqlearn train --env ID --demos FILE` learns
from your own. `iqlearn COMMAND --help` explains a command. `iqlearn --version` prints the version."""
GO_ON = "Where a run folder is there already, iqlearn resume goes on with its last checkpoint."
NOTHING = "Nothing was written."
STOPPED = 130
"""Exit code after Ctrl-C or a request to terminate."""
HELP = {"-h", "--help", "--help-all"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Every error that is expected is reported in one sentence.

    The exit code is 2 for bad input, 3 for a fault of the environment, 130 after Ctrl-C or a request to terminate, 1 if
    memory ran out or the environment called sys.exit, and else that of the command.
    """
    told, code = "", 0
    words = list(sys.argv[1:] if arguments is None else arguments)
    trains = bool({*words[:1]} & {*BEGINNINGS, "resume"})
    if arguments is None:
        open_streams()
    try:
        with interrupts.listening(signal.SIGINT, signal.SIGTERM), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Ended before its time", RuntimeWarning)  # `finish` reports it
            warnings.showwarning = lambda message, *_: print(f"iqlearn: {message}", file=sys.stderr)
            code = run(words) or 0
            sys.stdout.flush()
    except InputError as error:
        told, code = str(error), 2
    except EnvironmentFault as error:
        told, code = f"{error} {GO_ON}" if trains else str(error), 3
    except KeyboardInterrupt as error:  # not raised by training, which ends in order and prints how to go on
        told, code = f"Stopped. {GO_ON if trains else str(error) or NOTHING}", STOPPED
    except SystemExit as error:
        told, code = f"The environment ended the program with sys.exit({error.code!r}); expected an exception.", 1
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EACCES):
            raise
        told, code = f"{error.filename} cannot be used ({error.strerror}); expected another path.", 2
    except (MemoryError, RuntimeError, ImportError) as error:
        exhausted = "RESOURCE_EXHAUSTED", "failed to map segment", "cannot allocate memory"
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in exhausted):
            raise
        told, code = "Memory ran out. Files that were written are kept. Lower --replay, --num-envs or --batch-size.", 1
    if told:
        print(f"iqlearn: {told}", file=sys.stderr)
    if arguments is None:
        interrupts.conclude(code)
    if code:
        raise SystemExit(code)


def run(words: list[str]) -> int | None:
    """Run the command that the first words name, or print help. Return the exit code, or None for success."""
    n = 2 if words[:1] == ["demos"] else 1
    verb, words = " ".join(words[:n]), [dashed(word) for word in words[n:]]
    if verb == "--version":
        print(f"iqlearn {__version__}")
    elif verb in ("", "demos") or HELP & set(verb.split()):
        print(
            OVERVIEW.format("\n".join(f"  {name:15}{str(c.__doc__).splitlines()[0]}" for name, c in COMMANDS.items()))
        )
    elif verb not in COMMANDS:
        raise InputError(f"No command {verb!r}{nearest(verb, COMMANDS)}; expected one of {', '.join(COMMANDS)}.")
    else:
        return run_command(verb, words)


def run_command(verb: str, words: list[str]) -> int | None:
    """Run a command, or print its help. For `train` and `expert`, every setting of the chosen algorithm is a flag."""
    command, asked = COMMANDS[verb], HELP & set(words)
    has_settings = verb in BEGINNINGS
    parser = Parser(verb, command, has_settings, short=has_settings and "--help-all" not in words)
    if not has_settings:
        if asked:
            return parser.print_help()
        options = parser.read(words)
        require_device()
        return command(options)
    options, everything = parser.parse_known_args(words)[0], "--help-all" in words
    own = vars(options)
    if asked and not everything and not (own["env"] or own.get("demos") or own.get("algorithm", "iq") != "iq"):
        parser.add_short([kind for kind in SHORT if kind != "Objective" or verb == "train"])
        return parser.print_help()
    require_device()
    begun = BEGINNINGS[verb](options)
    parser.add_all(begun.settings, everything or not asked)
    if asked:
        return parser.print_help()
    given = vars(parser.read(words, f" with algorithm {begun.settings.name}"))
    return command(options, begun, {name: given[name] for name in given if name not in own})


def require_device() -> None:
    """Raise `InputError` if JAX_PLATFORMS names a device that this machine does not have."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        told = f"JAX has no device for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}"
        raise InputError(f"{told}; expected cpu, or a device of this machine and the extra for it.") from error


def dashed(word: str) -> str:
    """Return a flag with hyphens for underscores: `--a_b=c_d` becomes `--a-b=c_d`. Other words stay as they are."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if word.startswith("--") else word
