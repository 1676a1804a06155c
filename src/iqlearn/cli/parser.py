"""The parser of a command. Docstrings of commands and fields of settings become flags. Slow modules are imported when
they are needed.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache, wraps
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn

from iqlearn.cli.flags import has_extensions
from iqlearn.errors import InputError

ROW = re.compile(r"(--[\w-]+|[A-Z]+)(?: ([^\s[]\S*))?(?: \[(\S+)\])?  (\S.*)")
"""A line of a docstring that declares a flag: name, placeholder of the value, [default], and help."""
OPTIONAL = "optional"
"""The default of a positional argument that may be left out."""
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


class UnknownFlag(InputError):
    """A flag that a command does not have."""


class Parser(argparse.ArgumentParser):
    """The parser of a command, built from its docstring. Settings that are not given are absent from the result.

    Errors raise `InputError`.
    """

    def __init__(self, verb: str, command: Callable[..., Any], has_settings: bool, short: bool) -> None:
        """Declare the flags of the command.

        Args:
            verb: name of the command.
            command: the function whose docstring declares the flags.
            has_settings: whether settings become flags too, with `add_all` or `add_short`.
            short: leave the flags of `RARE` out of the help.
        """
        about, rows = [], []
        for line in inspect.cleandoc(str(command.__doc__)).splitlines():
            if row := ROW.fullmatch(line):
                rows.append([*row.groups()])
            elif rows:
                rows[-1][-1] += f" {line.strip()}"
            else:
                about.append(line)
        named = [(word or name, left) for name, word, left, _ in rows if name.isupper()]
        places = "".join(f"[{name}] " if left == OPTIONAL else f"{name} " for name, left in named)
        places += "".join(f"{name} {word} " for name, word, left, _ in rows if left == "required")
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
        if has_settings:
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
            needed = {"required": True, "help": f"{text} (required)"}
            how |= needed if default == "required" else {"default": read(default)}
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
                raise UnknownFlag(f"{told}; see {self.prog} --help.")
        options, unread = self.parse_known_args(words)
        if unread:
            at = max((i for i, word in enumerate(words) if word == unread[0]), default=0)
            after = next((f" after {word}" for word in reversed(words[:at]) if word.startswith("--")), "")
            raise InputError(f"Unexpected argument {unread[0]!r}{after}; see {self.prog} --help.")
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


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a clause that names the most similar known word; empty if none is similar."""
    return "".join(f"; the nearest is {other}" for other in difflib.get_close_matches(word, known, 1))
