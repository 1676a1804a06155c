"""The fields of demonstrations: their names, dtypes and shapes. Every error message is one sentence.

An observation that is a dictionary has a field for each of its arrays, named `obs/NAME`, or `obs/A/B` where
dictionaries are nested; `next_obs` and `initial_obs` likewise.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from iqlearn.errors import InputError

FIELDS = ("obs", "act", "next_obs", "term", "trunc", "ep")
"""The fields of each transition that a learner uses."""
OBSERVED = ("obs", "next_obs", "initial_obs")
"""The fields that hold observations."""
KINDS = {
    **dict.fromkeys(OBSERVED, ("fiub", "floats or integers")),
    "act": ("iuf", "integers (discrete) or floats (continuous)"),
    **dict.fromkeys(("term", "trunc"), ("b", "bool")),
    "ep": ("iu", "integers"),
    **dict.fromkeys(("rew", "episode_return"), ("iuf", "numbers")),
    "env": ("U", "one printable string"),
}
"""The allowed kinds of dtype of each field, as NumPy's letters and in words."""
LONGEST = 4_096
"""Largest number of bytes of one value: the size of a string of 1,024 characters."""
DEEPEST = 16
"""Largest depth of nested dictionaries."""
Arrays = dict[str, np.ndarray]
Actions = Int[np.ndarray, " n"] | Float[np.ndarray, "n act"]
"""Discrete actions as integers, or continuous actions as vectors."""


def root(name: str) -> str:
    """Return the field without the keys of a dictionary: "obs" for "obs/goal"."""
    return name.partition("/")[0]


def known(name: str) -> bool:
    """Return whether a field is part of the format."""
    return name in KINDS or root(name) in OBSERVED


def flat(name: str, tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by field, in the order of their names. `None` has no leaves.

    >>> flat("obs", {"goal": 1, "arm": {"angle": 2}})
    {'obs/arm/angle': 2, 'obs/goal': 1}
    """
    if not isinstance(tree, Mapping):
        return {} if tree is None else {name: tree}
    return {field: leaf for part in sorted(tree) for field, leaf in flat(f"{name}/{part}", tree[part]).items()}


def nested(arrays: Mapping[str, Any], name: str) -> Any:
    """Return the tree whose leaves are the fields with the root `name`. `None` if there are none."""
    if name in arrays:
        return arrays[name]
    tree: dict[str, Any] = {}
    for field in sorted(field for field in arrays if root(field) == name):
        _, *path, last = field.split("/")
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = arrays[field]
    return tree or None


def require(names: Iterable[str], source: str) -> None:
    """Check that every field but `act` is present, and that all fields with observations have the same parts.

    Raises:
        InputError: a field or part is missing, a field is an array and a dictionary at once, or a name is not printable
            or too deeply nested.
    """
    found = sorted(names)
    fields = [name for name in found if known(name)]
    for name in found:
        if not name.isprintable() or name.count("/") > DEEPEST:
            wanted = f"printable characters, and at most {DEEPEST} dictionaries inside one another"
            raise InputError(f"{source}: field {name[:80]!a} is no name; expected {wanted}.")
    for name in FIELDS:
        if name != "act" and name not in map(root, fields):
            has = f"it has {', '.join(found[:20])}; " if found else ""
            raise InputError(f"{source}: field {name!r} is missing; {has}expected the fields {', '.join(FIELDS)}.")
    for name in fields:
        inner = next((other for other in fields if other.startswith(f"{name}/")), None)
        if inner is not None:
            raise InputError(
                f"{source}: field {name!r} stands beside {inner!r}; expected one array or the arrays of a dictionary, "
                "leave one of the two out."
            )
    parts = {field: {n.removeprefix(field) for n in fields if root(n) == field} for field in OBSERVED}
    for field in filter(parts.get, OBSERVED):
        for part in sorted(set.union(*parts.values()) - parts[field]):
            other = next(o for o in OBSERVED if part in parts[o])
            raise InputError(
                f"{source}: field {field + part!r} is missing; expected it beside {other + part!r}, save the same "
                "arrays of every observation."
            )


def taken_apart(arrays: Mapping[str, Any], source: str) -> Arrays:
    """Return the known fields as arrays, unchecked, with one field for each array of a dictionary.

    Raises:
        InputError: a field is missing, or is not an array.
    """
    given = {name: leaf for top in arrays for name, leaf in flat(top, arrays[top]).items()}
    require(given, source)
    return {name: _as_array(source, name, leaf) for name, leaf in given.items() if known(name)}


def check(given: Arrays, source: str) -> Arrays:
    """Check the fields and return them in their canonical dtypes.

    Observations are float32, uint8 or int32; actions int64 or float32. Integers of shape (n,) are the categories of a
    `Discrete` observation.

    Raises:
        InputError: a field is invalid. The message names file, field, index and expectation of the first error.
    """
    checked = {name: _as_dtype(source, name, array) for name, array in given.items()}
    _check_shapes(source, checked)
    for name, array in checked.items():
        if array.dtype.kind == "f":
            _forbid(source, name, ~np.isfinite(array), "a finite number", array)
        elif array.dtype.kind == "i" and array.ndim == 1 and name != "ep":
            what = "an action number" if name == "act" else "the number of a category,"
            _forbid(source, name, array < 0, f"{what} of at least 0", array)
    _check_episodes(source, checked)
    return checked


def _as_array(source: str, name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{source}: field {name!r} has rows of several lengths; expected an array.") from error


def _as_dtype(source: str, name: str, array: np.ndarray) -> np.ndarray:
    """Return a copy in the canonical dtype, in C order and in the byte order of this machine."""
    kind, (kinds, expected) = array.dtype.kind, KINDS[root(name)]
    if kind not in kinds or (name == "env" and (array.ndim or not str(array).isprintable())):
        raise InputError(f"{source}: field {name!r} has dtype {array.dtype}; expected {expected}.")
    if name in ("term", "trunc", "env") or (root(name) in OBSERVED and array.dtype == np.uint8 and array.ndim > 1):
        return np.array(array, order="C")
    if kind == "f" or name in ("rew", "episode_return"):
        dtype, limits, expected = np.float32, np.finfo(np.float32), "a finite number of 32 bits"
    else:
        bits = 64 if name == "ep" else 32
        dtype = np.int64 if name in ("act", "ep") else np.int32
        limits, expected = np.iinfo(f"int{bits}"), f"an integer of {bits} bits"
    _forbid(source, name, (array < limits.min) | (array > limits.max), expected, array)
    narrow = np.array(array, dtype, order="C")
    return narrow[:, 0] if name == "act" and dtype == np.int64 and array.shape[1:] == (1,) else narrow


def _check_shapes(source: str, a: Arrays) -> None:
    n = a["ep"].shape[0] if a["ep"].ndim == 1 else -1
    if n == 0:
        raise InputError(f"{source}: field 'ep' is empty; expected at least one transition.")
    for name in ("ep", "term", "trunc", "rew"):
        if name in a and a[name].shape != (n,):
            raise InputError(
                f"{source}: field {name!r} has shape {a[name].shape}; expected "
                + (f"({n},), one value for each entry of 'ep'." if n > 0 else "one dimension.")
            )
    episodes = len(np.unique(a["ep"]))
    for name in [name for name in a if root(name) == "obs"]:
        _check_observations(source, name, a, n, episodes)
    if "act" in a:
        _check_actions(source, a["act"], n)
    for name in [name for name in a if root(name) in ("obs", "act")]:
        if a[name].size == 0:
            raise InputError(f"{source}: field {name!r} has shape {a[name].shape}; expected no dimension of 0.")
    if "episode_return" in a and a["episode_return"].shape != (episodes,):
        shape = a["episode_return"].shape
        raise InputError(f"{source}: field 'episode_return' has shape {shape}; expected ({episodes},).")


def _check_observations(source: str, name: str, a: Arrays, n: int, episodes: int) -> None:
    """Check that an array of `obs` has a row for each transition, and that `next_obs` and `initial_obs` match it."""
    obs = a[name]
    category = obs.dtype.kind == "i" and obs.ndim == 1
    if obs.shape[:1] != (n,) or (obs.ndim < 2 and not category):
        more = ""
        if obs.shape == (n,):
            more = "; array[:, None] if it is one number, array.astype(int) if it is the number of a category"
        elif obs.shape[:1] > (n,):
            more = f"; of an episode's T + 1 observations {name}[:-1] are s and {name}[1:] s'"
        wanted = f"({n},)" if category else f"({n}, coordinates)"
        raise InputError(f"{source}: field {name!r} has shape {obs.shape}; expected {wanted}{more}.")
    for field, count in (("next_obs", n), ("initial_obs", episodes)):
        other, shape = field + name.removeprefix("obs"), (count, *obs.shape[1:])
        if other in a and (a[other].shape != shape or a[other].dtype != obs.dtype):
            raise InputError(
                f"{source}: field {other!r} has shape {a[other].shape} and dtype {a[other].dtype}; "
                f"expected {shape} and {obs.dtype} as in {name!r}."
            )


def _check_actions(source: str, act: np.ndarray, n: int) -> None:
    discrete = act.dtype.kind == "i"
    if act.shape[:1] == (n,) and act.ndim == (1 if discrete else 2):
        return
    wanted, kind = (f"({n},)", "integer") if discrete else (f"({n}, act_dim)", "float")
    more = ""
    if act.shape == (n,):
        more = ": act.astype(int) if these are numbers of choices, act[:, None] if an action is one number"
    elif discrete and act.ndim == 2:
        more = ": act.argmax(1) if choices are one-hot, act.astype(float) if actions are continuous"
    raise InputError(f"{source}: field 'act' has shape {act.shape}; expected {wanted} for {kind} actions{more}.")


def _check_episodes(source: str, a: Arrays) -> None:
    ep = a["ep"]
    back = np.append(False, ep[1:] < ep[:-1])
    _forbid(source, "ep", back, "episode numbers that never fall (each episode's rows together)", ep)
    inside = np.append(ep[1:] == ep[:-1], False)
    for name in ("term", "trunc"):
        _forbid(source, name, a[name] & inside, "false, because the episode goes on in the next row", a[name])


def _forbid(source: str, name: str, bad: np.ndarray | np.bool_, expected: str, array: np.ndarray) -> None:
    if np.any(bad):
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = index[0] if len(index) == 1 else list(index)
        raise InputError(f"{source}: field {name!r} at index {place} is {array[index]}; expected {expected}.")
