"""Settings as JSON and back."""

import typing
from dataclasses import fields, is_dataclass
from typing import Any

from iqlearn.errors import InputError
from iqlearn.settings.actor_critic import SAC, BCContinuous
from iqlearn.settings.common import require
from iqlearn.settings.continuous import IQLearnContinuous
from iqlearn.settings.discrete import BC, IQLearn, SoftQ

Settings = IQLearn | BC | SoftQ | IQLearnContinuous | BCContinuous | SAC
BEFORE_SQUASH = {"squash": "tanh", "target_update": "polyak", "settle_after": 0}
"""What runs of continuous actions did, of commits that did not say so yet."""
KINDS: dict[str, type[Settings]] = {kind.name: kind for kind in typing.get_args(Settings)}


def to_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain JSON values, the algorithm's name first."""
    plain = {f.name: getattr(settings, f.name) for f in fields(settings)}
    plain = {key: to_dict(value) if is_dataclass(value) else value for key, value in plain.items()}
    return {"algorithm": settings.name, **plain} if hasattr(settings, "name") else plain


def from_dict(plain: dict[str, Any]) -> Settings:
    """The settings that `to_dict` wrote.

    Raises:
        InputError: an unknown algorithm or setting, or a value out of range.
    """
    rest = dict(plain)
    name = rest.pop("algorithm", None)
    if name not in KINDS:
        raise InputError(f"Algorithm {name!r} is unknown; expected one of {', '.join(KINDS)}.")
    kind = KINDS[name]
    known = {f.name for f in fields(kind)}
    if "squash" in known and "squash" not in rest:
        rest = {key: value for key, value in BEFORE_SQUASH.items() if key in known} | rest
    for part, weight in (("online", float(bool(rest.get("state_only")))), ("offline", 0.0)):
        if isinstance(rest.get(part), dict) and rest[part].get("anchor") is None:  # what none meant in earlier commits
            rest[part] = rest[part] | {"anchor": weight}
    return build(kind, rest)


def build(kind: type[Any], plain: dict[str, Any]) -> Any:
    """A dataclass from its plain fields, nested ones and tuples included."""
    hints = typing.get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    values = {}
    for name, value in plain.items():
        require(name in known, name, value, f"a setting that {kind.__name__} has")
        if is_dataclass(hints[name]):
            value = build(hints[name], value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
