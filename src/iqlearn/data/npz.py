"""The `.npz` format of demonstrations: read, check, write. Every fault is one sentence; nothing is ever unpickled."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from iqlearn.errors import InputError
from iqlearn.files import replacing

FIELDS = ("obs", "act", "next_obs", "term", "trunc", "ep")
"""What a learner sees of each transition."""
REQUIRED = tuple(name for name in FIELDS if name != "act")
OPTIONAL = ("act", "rew", "initial_obs", "episode_return", "env")
Arrays = dict[str, np.ndarray]
Actions = Int[np.ndarray, " n"] | Float[np.ndarray, "n act"]
"""Numbers of choices, or vectors."""


def read(path: Path) -> Arrays:
    """The arrays of an `.npz` file, unchecked but free of objects.

    Raises:
        InputError: the file is missing, not an `.npz` archive, or holds something other than plain arrays.
    """
    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"No demonstrations at {path}"
        raise InputError(f"{what}: expected an .npz file; check the path.")
    arrays: Arrays = {}
    name = "archive"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n.removesuffix(".npy") for n in archive.namelist()]
        _require_fields(names, str(path))
        with np.load(path, allow_pickle=False) as archive:
            for name in names:
                if name in REQUIRED + OPTIONAL:
                    arrays[name] = archive[name]
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        zlib.error,
        MemoryError,
        OverflowError,
        RuntimeError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:
        raise InputError(
            f"{path} is damaged ({name}), or no .npz archive; expected one written by numpy.savez."
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: field {name!r} is no plain array (Python objects are never unpickled); "
            "expected numbers, save it with a numeric dtype."
        ) from error
    return arrays


def write(path: Path, arrays: Arrays) -> None:
    """Write an `.npz` file through a temporary one beside it, so that a stop leaves the old file or the new.

    Raises:
        InputError: it cannot be written.
    """
    with replacing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def check(arrays: Arrays, source: str) -> Arrays:
    """The arrays in their canonical dtypes: float32 or uint8 observations, int64 or float32 actions. Others are left
    out.

    Raises:
        InputError: one sentence for the first fault: file, field, index, what was expected.
    """
    _require_fields(arrays, source)
    checked = {name: np.asarray(arrays[name]) for name in arrays if name in REQUIRED + OPTIONAL}
    for name, array in checked.items():
        checked[name] = _as_dtype(source, name, array)
    _check_shapes(source, checked)
    for name, array in checked.items():
        if array.dtype.kind == "f":
            _forbid(source, name, ~np.isfinite(array), "a finite number", array)
    _check_episodes(source, checked)
    if "act" in checked and checked["act"].dtype.kind == "i":
        _forbid(source, "act", checked["act"] < 0, "an action number of at least 0", checked["act"])
    return checked


def _require_fields(names: Iterable[str], source: str) -> None:
    found = sorted(names)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        has = f"it has {', '.join(found)}; " if found else ""
        raise InputError(f"{source}: field {missing[0]!r} is missing; {has}expected the fields {', '.join(FIELDS)}.")


def _as_dtype(source: str, name: str, array: np.ndarray) -> np.ndarray:
    kind = array.dtype.kind
    if name == "env" and kind == "U" and array.shape == ():
        return array
    if name in ("obs", "next_obs", "initial_obs") and array.dtype == np.uint8:
        return array
    if name in ("obs", "next_obs", "initial_obs") and kind == "f":
        return _to_float32(array)
    if name in ("rew", "episode_return") and kind in "iuf":
        return _to_float32(array)
    if name == "act" and kind in "iuf":
        return _to_float32(array) if kind == "f" else array.astype(np.int64)
    if name in ("term", "trunc") and kind == "b":
        return array
    if name == "ep" and kind in "iu":
        return array.astype(np.int64)
    expected = {
        "env": "one string",
        "act": "integers (discrete) or floats (continuous)",
        "term": "bool",
        "trunc": "bool",
        "ep": "integers",
    }.get(name, "numbers" if name in ("rew", "episode_return") else "floats or uint8")
    raise InputError(f"{source}: field {name!r} has dtype {array.dtype}; expected {expected}.")


def _to_float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what overflows becomes inf, and the check for finite numbers names it
        return array.astype(np.float32)


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
    obs_shape = a["obs"].shape[1:]
    if a["obs"].ndim < 2 or a["obs"].shape[0] != n:
        more = (
            "; of an episode's T + 1 observations obs[:-1] are s and obs[1:] s'"
            if a["obs"].shape[:1] > (n,) > (0,)
            else ""
        )
        raise InputError(f"{source}: field 'obs' has shape {a['obs'].shape}; expected ({n}, coordinates){more}.")
    if a["next_obs"].shape != a["obs"].shape or a["next_obs"].dtype != a["obs"].dtype:
        raise InputError(
            f"{source}: field 'next_obs' has shape {a['next_obs'].shape} and dtype {a['next_obs'].dtype}; "
            f"expected {a['obs'].shape} and {a['obs'].dtype} as in 'obs'."
        )
    if "act" in a:
        _check_actions(source, a["act"], n)
    for name in ("obs", "act"):
        if name in a and a[name].size == 0:
            raise InputError(f"{source}: field {name!r} has shape {a[name].shape}; expected no dimension of 0.")
    episodes = len(np.unique(a["ep"]))
    for name, shape in (("initial_obs", (episodes, *obs_shape)), ("episode_return", (episodes,))):
        if name in a and a[name].shape != shape:
            raise InputError(f"{source}: field {name!r} has shape {a[name].shape}; expected {shape}.")


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
    back = np.diff(ep, prepend=ep[0]) < 0
    _forbid(source, "ep", back, "episode numbers that never fall (each episode's rows together)", ep)
    inside = np.append(ep[1:] == ep[:-1], False)
    for name in ("term", "trunc"):
        _forbid(source, name, a[name] & inside, "false, because the episode goes on in the next row", a[name])


def _forbid(source: str, name: str, bad: np.ndarray, expected: str, array: np.ndarray) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        place = index[0] if len(index) == 1 else list(index)
        raise InputError(f"{source}: field {name!r} at index {place} is {array[index]}; expected {expected}.")
