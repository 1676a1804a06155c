"""The entry point and the parser of the command line. Every error of the user is reported in one sentence. Slow
modules are imported when they are needed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import errno
import inspect
import os
import re
import signal
import sys
import typing
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn

from iqlearn import __version__, interrupts
from iqlearn.cli.commands import BEGINNINGS, COMMANDS, check_family, has_extensions, named_extensions, pop_fields
from iqlearn.cli.streams import open_streams
from iqlearn.errors import EnvironmentFault, InputError

OVERVIEW = """usage: iqlearn COMMAND [flags]

Inverse soft-Q learning: from demonstrations to a policy and a reward.

{}

`iqlearn train` learns CartPole-v1 from one built-in demonstration. `iqlearn train --env ID --demos FILE` learns
from your own. `iqlearn COMMAND --help` explains a command. `iqlearn --version` prints the version."""
ROW = re.compile(r"(--[\w-]+|[A-Z]+)(?: ([^\s[]\S*))?(?: \[(\S+)\])?  (\S.*)")
"""A line of a docstring that declares a flag: name, placeholder of the value, [default], and help."""
OPTIONAL = "optional"
"""The default of a positional argument that may be left out."""
GO_ON = "Where a run folder is there already, iqlearn resume goes on with its last checkpoint."
NOTHING = "Nothing was written."
STOPPED = 130
"""Exit code after Ctrl-C or a request to terminate."""
HELP = {"-h", "--help", "--help-all"}
SHORT = {
    "Schedule": ("evaluations", "eval_episodes", "sampled", "seed"),
    "Interaction": ("num_envs",),
    "Objective": ("divergence", "value_term", "state_only"),
    "SoftLearning": ("gamma", "temperature"),
    "Algorithm": ("learning_rate", "batch_size"),
}
"""The settings in the short help, by the class that declares them."""
RARE = ("--trust", "--max-demos-gib", "--actions")
"""Flags of `train` and `expert` that the short help leaves out."""
NOT_FLAGS = ("steps", "extensions", "reason")
"""Fields without a flag of their own: commands declare --steps and --extensions, and `reason` is set by the library."""


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
    parser = Parser(verb, verb in BEGINNINGS and "--help-all" not in words)
    if verb not in BEGINNINGS:
        if asked:
            return parser.print_help()
        options = parser.read(words)
        require_device()
        return command(options, *([check_train] if verb == "benchmark" else []))
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


def check_train(words: Sequence[str]) -> None:
    """Check the flags of `iqlearn train` without making the environment and without reading the demonstrations.

    The kind of the actions is not known then, so a flag counts if the algorithm has it for either kind. The ranges of
    the settings of the algorithm and its extensions are checked by `iqlearn train` itself.

    Raises:
        InputError: a flag is unknown or has a wrong value.
    """
    from iqlearn.algorithms import ALGORITHMS
    from iqlearn.runs.provenance import Interaction, Schedule

    options = parser_of(None).parse_known_args([*words])[0]
    check_family(options)
    faults = []
    for name, kind in ALGORITHMS.items():
        if kind.family == options.algorithm:
            try:
                given = vars(parser_of(kind).read([*words], f" with algorithm {name}"))
                changes = {name: given[name] for name in given if name not in vars(options)}
                named_extensions(options, kind)
                Interaction(**pop_fields(changes, Interaction))
                Schedule(Schedule.steps if options.steps is None else options.steps, **pop_fields(changes, Schedule))
                return
            except InputError as error:
                faults.append(error)
    raise faults[0]


@cache
def parser_of(kind: Any) -> Parser:
    """Return the parser of `iqlearn train` with the flags of this class of settings; only its own flags for None."""
    parser = Parser("train", True)
    if kind is not None:
        parser.add_all(kind(), True)
    return parser


def require_device() -> None:
    """Raise `InputError` if JAX_PLATFORMS names a device that this machine does not have."""
    import jax

    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        told = f"JAX has no device for JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')!r}"
        raise InputError(f"{told}; expected cpu, or a device of this machine and the extra for it.") from error


class Parser(argparse.ArgumentParser):
    """The parser of a command, built from its docstring. Settings that are not given are absent from the result.

    Errors raise `InputError`. With `short`, the flags of `RARE` are not in the help.
    """

    def __init__(self, verb: str, short: bool) -> None:
        about, rows = [], []
        for line in inspect.cleandoc(str(COMMANDS[verb].__doc__)).splitlines():
            if row := ROW.fullmatch(line):
                rows.append([*row.groups()])
            elif rows:
                rows[-1][-1] += f" {line.strip()}"
            else:
                about.append(line)
        named = [(word or name, left) for name, word, left, _ in rows if name.isupper()]
        places = "".join(f"[{name}] " if left == OPTIONAL else f"{name} " for name, left in named)
        super().__init__(
            prog=f"iqlearn {verb}",
            usage=f"iqlearn {verb} {places}[flags]",
            description="\n".join(about).rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.groups = {"flags": self.add_argument_group("flags")}
        for name, word, default, text in rows:
            text = text.replace("{families}", ", ".join(families()))
            self.add_own(name, word, default, argparse.SUPPRESS if short and name in RARE else text)
        self.groups["flags"].add_argument("-h", "--help", action="store_true", help="Show this help.")
        if verb in BEGINNINGS:
            self.groups["flags"].add_argument("--help-all", action="store_true", help="Show every flag, by group.")

    def add_own(self, name: str, word: str | None, default: str | None, text: str) -> None:
        """Add a flag of the command, or a positional argument."""
        read = READERS.get(word or name, str)
        how: dict[str, Any] = {"metavar": word or name, "type": read, "help": described(text, default)}
        if word is None and name.startswith("--"):
            how = {"action": "store_true", "help": text}
        elif word is not None and "|" in word:
            how["choices"] = word.split("|")
        elif word is not None and word.endswith("..."):
            how |= {"nargs": "+", "metavar": word.rstrip(".")}
        elif word is not None and "=" in word:
            how["action"] = "append"
        if default == OPTIONAL:
            how |= {"nargs": "?", "help": text}
        elif default is not None:
            how |= {"required": True, "help": text} if default == "required" else {"default": read(default)}
        self.groups["flags"].add_argument(name if name.startswith("--") else name.lower(), **how)

    def read(self, words: list[str], where: str = "") -> argparse.Namespace:
        """Return the parsed flags, lists as tuples.

        Raises:
            InputError: a flag is unknown, is missing or has a wrong value. The message on an unknown flag includes
                `where`.
        """
        known = {name for action in self._actions for name in action.option_strings}
        for flag in (word.partition("=")[0] for word in words if word.startswith("--")):
            if flag not in known:
                told = f"{self.prog}{where} has no flag {flag}{nearest(flag, known)}"
                raise InputError(f"{told}; see {self.prog} --help.")
        options = self.parse_args(words)
        for name, value in vars(options).items():
            setattr(options, name, tuple(value) if isinstance(value, list) else value)
        return options

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[0].upper()}{message[1:]}; see {self.prog} --help.")

    def add(self, name: str, hint: Any, text: str, default: Any, group: str) -> None:
        """Add the flag of a setting. With an empty `text` the help does not show it."""
        kinds, flag = typing.get_args(hint), name.replace("_", "-")
        optional, hint = NoneType in kinds, kinds[0] if NoneType in kinds else hint
        how: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        if typing.get_origin(hint) is Literal:
            how |= {"choices": typing.get_args(hint), "metavar": "NAME"}
            text += f" One of {', '.join(how['choices'])}." if text else ""
        elif hint is not bool:
            how["metavar"] = "N" if int in (hint, *kinds) else "X"
            read = READERS[how["metavar"]]
            how["type"] = wraps(read)(lambda x: None if x.lower() == "none" else read(x)) if optional else read
            how |= {"nargs": "*"} if typing.get_origin(hint) is tuple else {}
        how["help"] = described(text, default) if text else argparse.SUPPRESS
        if group not in self.groups:
            self.groups[group] = self.add_argument_group(group)
        if hint is bool and default is True:
            how["action"] = argparse.BooleanOptionalAction
        elif hint is bool:
            how["action"] = "store_true"
            opposite: dict[str, Any] = {"action": "store_false", "help": argparse.SUPPRESS}
            self.add_argument(f"--no-{flag}", **(how | opposite))
        self.groups[group].add_argument(f"--{flag}", **how)

    def add_fields(self, kind: Any, values: Any, group: str, prefix: str = "", everything: bool = True) -> None:
        """Add the settings of a class with these values as defaults. Unless `everything`, the help shows few."""
        hints, classes = typing.get_type_hints(kind), declared()[0]
        for name in (f.name for f in fields(kind) if f.name not in NOT_FLAGS or prefix):
            value = getattr(values, name)
            if is_dataclass(hints[name]):
                self.add_fields(hints[name], value, f"layers of the {name}", f"{name}.", everything)
                continue
            shown = everything or (not prefix and any(name in names for names in SHORT.values()))
            declaring = (classes[k.__name__] for k in kind.__mro__ if name in classes.get(k.__name__, ()))
            texts = filter(None, (lines[name][1] for lines in declaring))  # empty if only the default differs
            self.add(prefix + name, hints[name], next(texts) if shown else "", value, group)

    def add_all(self, settings: Any, everything: bool) -> None:
        """Add the settings of the schedule, the interaction, the algorithm and each extension."""
        from iqlearn.extensions import EXTENSIONS
        from iqlearn.runs.provenance import Interaction, Schedule

        self.add_fields(Schedule, Schedule(), "evaluation", "", everything)
        self.add_fields(Interaction, Interaction(), "acting, online", "", everything)
        self.add_fields(type(settings), settings, f"algorithm {settings.name}", "", everything)
        for name, kind in EXTENSIONS.items() if has_extensions(settings) else ():
            self.add_fields(kind, kind(), f"extension {name}", f"{name}.", everything)

    def add_short(self, kinds: Iterable[str]) -> None:
        """Add the settings of the short help, as read from the sources: importing their classes would take seconds."""
        classes, choices = declared()
        for kind in kinds:
            for name in SHORT[kind]:
                line, text = classes[kind][name]
                value = ast.literal_eval(line.value or "None") if kind in ("Schedule", "Interaction") else None
                self.add(name, eval(ast.unparse(line.annotation), choices), text, value, "settings")


@cache
def declared() -> tuple[dict[str, dict[str, tuple[ast.AnnAssign, str]]], dict[str, Any]]:
    """Read from the sources the fields of every class with their docstrings, and every named `Literal`."""
    classes: dict[str, dict[str, tuple[ast.AnnAssign, str]]] = {}
    choices: dict[str, Any] = {"Literal": Literal}
    for path in Path(__file__).parents[1].glob("*/*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                for line, after in zip(node.body, [*node.body[1:], None], strict=True):
                    if isinstance(line, ast.AnnAssign):
                        text = ast.literal_eval(after.value) if isinstance(after, ast.Expr) else ""
                        classes.setdefault(node.name, {})[ast.unparse(line.target)] = line, " ".join(text.split())
            elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
                choices[ast.unparse(node.targets[0])] = eval(ast.unparse(node.value), choices)
    return classes, choices


@cache
def families() -> list[str]:
    """Return the families of algorithms that learn from demonstrations, sorted. They are read from the sources."""
    lines = [settings["family"][0] for settings in declared()[0].values() if "family" in settings]
    return sorted({ast.literal_eval(line.value) for line in lines if line.value is not None} - {"expert"})


def described(text: str, default: Any) -> str:
    """Return a help text for argparse, with the default if there is one."""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    known = shown is not None and shown is not False and shown != ""
    return text.replace("%", "%%") + (f" (default: {shown})" if known else "")


def whole(text: str) -> int:
    """Return a whole number. It may be written as 1e4 or 10_000."""
    with suppress(ValueError):
        return int(text)
    if not float(text).is_integer():
        raise ValueError
    return int(float(text))


def named(text: str) -> str:
    """Return a name, which must not be empty."""
    if not text:
        raise ValueError
    return text


def place(text: str) -> Path:
    """Return a path, which must not be empty."""
    return Path(named(text))


whole.__name__, named.__name__, place.__name__ = "whole number", "name", "path"  # as argparse calls them
READERS: dict[str, Callable[..., Any]] = {
    "N": whole,
    "K": whole,
    "X": float,
    "DIR": place,
    "ZIP": place,
    "FILE": place,
    "FOLDER": place,
    "REWARD": place,
    "TARGET": named,
}
"""The function that reads a value, by its placeholder in the help. Values with other placeholders are strings."""


def dashed(word: str) -> str:
    """Return a flag with hyphens for underscores: `--a_b=c_d` becomes `--a-b=c_d`. Other words stay as they are."""
    flag, equals, value = word.partition("=")
    return flag.replace("_", "-") + equals + value if word.startswith("--") else word


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a clause that names the most similar known word; empty if none is similar."""
    return "".join(f"; the nearest is {other}" for other in difflib.get_close_matches(word, known, 1))
