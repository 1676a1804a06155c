"""The one error that a user can cause, and the checks of settings that raise it."""

import typing
from typing import Literal


class InputError(Exception):
    """Input that cannot be used. The message says what is wrong, where, what was expected and what to do.

    The command line prints the message and exits with code 2. Nothing is lost or overwritten.
    """


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
        require(0 <= value < float("inf"), name, value, "a number of at least 0")


def require_share(settings: object, *names: str, least: float = 0.0) -> None:
    """Raise `InputError` unless every named setting is in [least, 1]."""
    for name in names:
        value = getattr(settings, name)
        require(least <= value <= 1.0, name, value, f"a number in [{least:g}, 1]")


def require_discount(gamma: float) -> None:
    """Raise `InputError` unless `gamma` is in [0, 1)."""
    require(0.0 <= gamma < 1.0, "gamma", gamma, "a number in [0, 1)")


def require_choices(settings: object) -> None:
    """Raise `InputError` unless every setting with named choices has one of them."""
    for name, hint in typing.get_type_hints(type(settings)).items():
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            require(getattr(settings, name) in choices, name, getattr(settings, name), f"one of {', '.join(choices)}")
