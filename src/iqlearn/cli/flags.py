"""Functions for flags that several commands have."""

from __future__ import annotations

import ast
import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import iqlearn as iq
from iqlearn import interrupts
from iqlearn.errors import InputError


def named_env(o: Namespace) -> Any:
    """Return the environment of --env, after making it once as a check; None without --env."""
    from iqlearn.envs.gym import Environment

    if o.env is None and o.env_arg:
        raise InputError("--env-arg has no effect without --env; name the environment that takes it.")
    environment = None if o.env is None else Environment.of(o.env, dict(map(parse_assignment, o.env_arg or ())))
    if environment is not None:
        _ = environment.task  # makes it, so that an error is raised now
    return environment


def capped(environment: Any, o: Namespace) -> Any:
    """Return the environment with the limit of --max-episode-steps, if that is given."""
    if o.max_episode_steps is not None and o.max_episode_steps < 1:
        raise InputError(f"--max-episode-steps is {o.max_episode_steps}; expected a number of at least 1.")
    return environment.capped(o.max_episode_steps)


def named_demos(o: Namespace) -> Any:
    """Read the demonstrations of --demos; None without --demos."""
    if o.demos is None:
        for name in ("max_demos_gib", "columns"):
            if getattr(o, name) is not None:
                raise InputError(f"{as_flag(name)} has no effect without --demos; leave it out.")
        return None
    return read_demos(o)


def read_demos(o: Namespace, source: Any = None) -> Any:
    """Read the demonstrations of `source`, by default those of --demos."""
    demos = iq.Demos.load(o.demos if source is None else source, o.max_demos_gib, columns_of(o.columns or ()))
    interrupts.check()
    return demos


def columns_of(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each field, from words FIELD=NAME,NAME.

    Raises:
        InputError: a word has another form, or two words name the same field.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        field, equals, names = word.partition("=")
        each = tuple(name for name in names.split(",") if name)
        if not (field and equals and each) or field in found:
            raise InputError(
                f"--columns is {word!r}; expected FIELD=NAME,NAME once for each field: obs=x,y act=u ep=run."
            )
        found[field] = each
    return found


def parse_assignment(word: str) -> tuple[str, Any]:
    """Return the name and the value of a word NAME=VALUE. The value is a Python or JSON literal, else a string."""
    name, equals, text = word.partition("=")
    if not (name.isidentifier() and equals):
        raise InputError(f"--env-arg is {word!r}; expected NAME=VALUE.")
    for read in (ast.literal_eval, json.loads):
        with suppress(ValueError, SyntaxError):
            return name, read(text)
    return name, text


def env_field(environment: Any, out: Any) -> dict[str, str]:
    """Return the field `env` of demonstrations that are recorded in an environment.

    Empty, with a message on the error stream, if the id alone does not make the environment.
    """
    if environment.to_dict() == {"id": environment.name, "kwargs": {}}:
        return {"env": environment.name}
    told = "names no environment, because an id alone does not make it; give --env and --env-arg to train on it"
    print(f"iqlearn: {out} {told}.", file=sys.stderr)
    return {}


def check_target(o: Namespace, *flags: str) -> None:
    """Raise `InputError` if --out cannot be written, or if one of these flags is given for a Minari dataset."""
    from iqlearn.data import formats

    for flag in flags:
        if getattr(o, flag) and formats.named(o.out):
            raise InputError(f"A Minari dataset is written once; leave {as_flag(flag)} out.")
    formats.check_target(o.out)


def as_flag(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def check_episodes(o: Namespace) -> None:
    """Raise `InputError` unless --episodes is at least 1 and --seed at least 0."""
    for name, least in (("episodes", 1), ("seed", 0)):
        if getattr(o, name) < least:
            raise InputError(f"--{name} is {getattr(o, name)}; expected a number of at least {least}.")


def has_extensions(settings: Any) -> bool:
    """Whether extensions are a setting of the algorithm."""
    return "extensions" in {f.name for f in fields(settings)}
