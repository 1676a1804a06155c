"""Exceptions for bad input and for failing environments, and checks of settings."""

import dataclasses
import json
import numbers
import typing
from functools import cache
from importlib.metadata import distribution
from types import NoneType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

TYPES: dict[Any, tuple[type, str]] = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "a text"),
}
"""The class of a setting's value and its name in error messages, by the annotation of the setting."""


class InputError(Exception):
    """Input that cannot be used. The message says what is wrong, where, what was expected and what to do.

    The command line prints the message and exits with code 2.
    """


class EnvironmentFault(Exception):
    """An environment that passed its first check raised an error, hung, died or returned an invalid value.

    The message names the environment, the copy, the reset seed and the step. The run keeps its last checkpoint. The
    command line prints the message and exits with code 3.
    """


def missing(what: str, extra: str) -> InputError:
    """Return the error for a package of an extra that is not installed, with the command that installs the extra.

    The command installs from the place that iqlearn was installed from (PEP 610).
    """
    origin = json.loads(distribution("iqlearn").read_text("direct_url.json") or "{}")
    url, option = origin.get("url", ""), "-e " if origin.get("dir_info", {}).get("editable") else ""
    place = f"{unquote(urlsplit(url).path)}[{extra}]" if url.startswith("file:") else f"iqlearn[{extra}]"
    if "vcs_info" in origin:
        place += f" @ {origin['vcs_info']['vcs']}+{url}"
    return InputError(f"{what} is not installed; install it with: pip install {option}'{place}'.")


def require(holds: bool, setting: str, value: object, expected: str) -> None:
    """Raise `InputError` with the setting, its value and what was expected, unless `holds`."""
    if not holds:
        raise InputError(f"Setting {setting} is {value!r}; expected {expected}.")


def require_positive(settings: object, *names: str) -> None:
    """Raise `InputError` unless every named setting is a finite number above 0."""
    for name in names:
        value = getattr(settings, name)
        require(0 < value < float("inf"), name, value, "a finite number above 0")


def require_not_negative(settings: object, *names: str) -> None:
    """Raise `InputError` unless every named setting is a finite number of at least 0."""
    for name in names:
        value = getattr(settings, name)
        require(0 <= value < float("inf"), name, value, "a finite number of at least 0")


def require_share(settings: object, *names: str) -> None:
    """Raise `InputError` unless every named setting is in [0, 1]."""
    for name in names:
        value = getattr(settings, name)
        require(0.0 <= value <= 1.0, name, value, "a number in [0, 1]")


def require_discount(gamma: float) -> None:
    """Raise `InputError` unless `gamma` is in [0, 1)."""
    require(0.0 <= gamma < 1.0, "gamma", gamma, "a number in [0, 1)")


@cache
def hints_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a class."""
    return typing.get_type_hints(kind)


def require_types(settings: Any) -> None:
    """Raise `InputError` unless every setting has its annotated type: a literal, an int, a number, a bool, a string, a
    dataclass of settings, or a tuple.

    Of the items of a tuple, only dataclasses are checked. NumPy numbers are converted to Python numbers.
    """
    hints = hints_of(type(settings))
    for name in (f.name for f in dataclasses.fields(settings)):
        hint, value, kinds = hints[name], getattr(settings, name), typing.get_args(hints[name])
        if NoneType in kinds:
            hint = NoneType if value is None else kinds[0]
        if typing.get_origin(hint) is Literal:
            require(value in kinds, name, value, f"one of {', '.join(kinds)}")
        elif hint in TYPES:
            kind, expected = TYPES[hint]
            require(isinstance(value, kind) and isinstance(value, bool) == (hint is bool), name, value, expected)
            object.__setattr__(settings, name, typing.cast(Any, hint)(value))
        elif typing.get_origin(hint) is tuple:
            of = kinds[0] if isinstance(kinds[0], type) and dataclasses.is_dataclass(kinds[0]) else object
            fits = isinstance(value, tuple | list) and all(isinstance(item, of) for item in value)
            require(fits, name, value, "several values" if of is object else f"objects of {of.__name__}")
        elif dataclasses.is_dataclass(hint):
            kind = typing.cast(type, hint)
            require(isinstance(value, kind), name, value, f"an object of {kind.__name__}")
