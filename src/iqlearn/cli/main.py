"""From words to a command that runs. Every mistake is told in one sentence. Modules that load slowly are imported late."""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import os
import signal
import sys
import threading
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple

from iqlearn import __version__
from iqlearn.cli.commands import COMMANDS
from iqlearn.errors import InputError

HELP = ("-h", "--help", "--help-all")
OVERVIEW = """usage: iqlearn COMMAND [flags]

Inverse soft-Q learning: from demonstrations to a policy and a reward.

{commands}

`iqlearn train` learns CartPole-v1 from one built-in demonstration. `iqlearn train --env ID --demos FILE` learns
from your own. `iqlearn COMMAND --help` explains a command, and `iqlearn --version` prints the version."""
SHORT = {
    "Schedule": ("evaluations", "eval_episodes", "sampled", "seed"),
    "Interaction": ("num_envs",),
    "Objective": ("divergence", "value_term", "state_only"),
    "SoftLearning": ("gamma", "temperature"),
    "Learning": ("learning_rate", "batch_size"),
}
"""The settings in the short help, by the class that declares them."""
LAST = ("steps", "tensorboard", "out", "overwrite")
"""Flags of commands that the help shows after the others."""
NOT_FLAGS = ("steps", "extensions", "reason")
"""Settings that are set otherwise."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit code 2 and one sentence for bad input, 130 after Ctrl-C or a request to terminate."""
    try:
        with stopping_alike(), plain_warnings():
            run(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(f"iqlearn: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # training itself ends in order, and says how to go on
        print("iqlearn: stopped; iqlearn resume goes on with a run folder that is there already.", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of a pipe has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def stopping_alike() -> Iterator[None]:
    """SIGTERM, by which services and queues end a program, stops it as Ctrl-C does: a run keeps what it has."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings about what a command asked for are printed as sentences; its last lines say how a run ended."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def told(message: Any, category: Any, filename: str, *more: Any) -> None:
            if Path(filename).parent != Path(__file__).parent:
                show(message, category, filename, *more)
            elif not issubclass(category, RuntimeWarning):
                print(f"iqlearn: {message}", file=sys.stderr)

        warnings.showwarning = told
        yield


def run(words: list[str]) -> None:
    """Run the command that the first words name, or print help."""
    n = 2 if words[:1] == ["demos"] else 1
    verb, words = " ".join(words[:n]), [dashed(word) for word in words[n:]]
    if verb == "--version":
        print(f"iqlearn {__version__}")
        return
    if verb in ("", "demos") or set(HELP) & set(verb.split()):
        lines = (f"  {name:15}{str(kind.__doc__).splitlines()[0]}" for name, kind in COMMANDS.items())
        print(OVERVIEW.format(commands="\n".join(lines)))
        return
    if verb not in COMMANDS:
        raise InputError(f"No command {verb!r}{nearest(verb, COMMANDS)}; expected one of {', '.join(COMMANDS)}.")
    kind: Any = COMMANDS[verb]
    own = sorted(flags_of(kind, None, "flags"), key=lambda flag: flag.name in LAST)
    asked = set(HELP) & set(words)
    parser = Parser(verb, kind, own)
    if not hasattr(kind, "defaults"):
        parser.print_help() if asked else kind(**parser.values(words)).run()
        return
    command, short = kind(**parser.values(words, own_only=True)), "--help-all" not in asked
    if asked and short and not command.named:
        Parser(verb, kind, [*own, *short_flags(command.left_out)]).print_help()
        return
    default = command.defaults()
    parser = Parser(verb, kind, [*own, *settings_flags(default, short)], f" with algorithm {default.name}")
    if asked:
        parser.print_help()
    else:
        values = parser.values(words)
        command.run({name: values[name] for name in values.keys() - {flag.name for flag in own}})


class Flag(NamedTuple):
    """A flag as a dataclass declares it."""

    name: str
    """With the name of the part before it: `critic.hidden`."""
    hint: Any
    help: str | None
    """None is left out of the help."""
    default: Any
    group: str


def flags_of(kind: Any, default: Any, group: str, prefix: str = "", short: bool = False) -> Iterator[Flag]:
    """The flags of a dataclass, and of those in it. `default` holds its values; none takes those of the class."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        value = f.default if default is None else getattr(default, f.name)
        if is_dataclass(hints[f.name]):
            yield from flags_of(hints[f.name], value, f"{f.name}: layers", f"{f.name}.", short)
        elif default is None or f.name not in NOT_FLAGS:
            shown = not short or any(f.name in names for names in SHORT.values())
            text = next(declared()[0][k.__name__][f.name] for k in kind.__mro__ if f.name in declared()[0][k.__name__])
            yield Flag(prefix + f.name, hints[f.name], text[2] if shown else None, value, group)


def settings_flags(default: Any, short: bool) -> Iterator[Flag]:
    """The flags of a run with this algorithm: its schedule, its acting, its settings and those of its extensions."""
    from iqlearn.extensions import EXTENSIONS
    from iqlearn.runs.provenance import Interaction, Schedule

    yield from flags_of(Schedule, Schedule(), "evaluation", short=short)
    yield from flags_of(Interaction, Interaction(), "acting online", short=short)
    yield from flags_of(type(default), default, f"algorithm {default.name}", short=short)
    if "extensions" in {f.name for f in fields(default)}:
        for name, kind in EXTENSIONS.items():
            yield from flags_of(kind, kind(), f"extension {name}", f"{name}.", short)


def short_flags(left_out: Sequence[str]) -> Iterator[Flag]:
    """The settings in the short help, without an import of their classes, which takes seconds."""
    classes, aliases = declared()
    for kind, names in SHORT.items():
        for name in names if kind not in left_out else ():
            hint, value, text = classes[kind][name]
            yield Flag(name, eval(hint, {"Literal": Literal} | aliases), text, ast.literal_eval(value), "settings")


@cache
def declared() -> tuple[Mapping[str, dict[str, tuple[str, str, str]]], dict[str, Any]]:
    """What the sources say: annotation, default and docstring of each field by its class, and the named choices."""
    classes: dict[str, dict[str, tuple[str, str, str]]] = {}
    aliases: dict[str, Any] = {}
    package = Path(__file__).parents[1]
    for folder in ("cli", "runs", "networks", "objectives", "extensions", "algorithms"):
        for path in package.glob(f"{folder}/*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef):
                    found = classes.setdefault(node.name, {})
                    for line, text in pairwise(node.body):
                        if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Expr):
                            value = "None" if line.value is None else ast.unparse(line.value)
                            about = " ".join(ast.literal_eval(text.value).split())
                            found[ast.unparse(line.target)] = ast.unparse(line.annotation), value, about
                elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Literal["):
                    aliases[ast.unparse(node.targets[0])] = eval(ast.unparse(node.value), {"Literal": Literal})
    return classes, aliases
