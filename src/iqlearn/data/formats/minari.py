"""Minari datasets: `minari:ID` in the local database, or the folder of a dataset."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from iqlearn import interrupts
from iqlearn.data.fields import Arrays, flat, nested, root
from iqlearn.data.formats.base import Episode, Opened, Reading, joined, only, parsing, selected, summed
from iqlearn.errors import InputError, missing

PREFIX = "minari:"
CHANGED = "the environment is {} with keyword arguments or wrappers; give it with --env and --env-arg"
SUPPORTED = spaces.Box | spaces.Discrete | spaces.MultiBinary | spaces.MultiDiscrete | spaces.Dict | spaces.Tuple


def matches(path: Path) -> bool:
    """Return whether a folder holds a Minari dataset."""
    return data_of(path) is not None


def data_of(path: Path) -> Path | None:
    """Return the folder with the data of a dataset. None if `path` is not a dataset."""
    for folder in (path, path / "data"):
        about = folder / "metadata.json"
        if about.is_file() and b"minari_version" in about.read_bytes():
            return folder
    return None


@contextmanager
def opened(path: str | Path, reading: Reading) -> Iterator[Opened]:
    """Open the episodes of a dataset. The column map names keys of dictionary observations.

    Raises:
        InputError: Minari is not installed, the dataset does not exist or is damaged, or its observations or actions
            are not arrays.
    """
    try:
        import minari
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise missing("Minari, which reads its datasets,", "minari") from error
    source, folder = str(path), None if str(path).startswith(PREFIX) else data_of(Path(path))
    with parsing(source, "Minari dataset"):
        if folder is None:
            name = source.removeprefix(PREFIX)
            local = minari.list_local_datasets()
            if name not in local:
                has = f"there are {', '.join(sorted(local))}; " if local else ""
                told = f"No Minari dataset {name!r} on this machine"
                raise InputError(f"{told}; {has}get it with: minari download {name}.")
            folder = Path(get_dataset_path(name)) / "data"
        metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        for key in ("observation_space", "action_space"):
            if key not in metadata:  # without it, Minari would make the environment that the file names
                told = f"{folder / 'metadata.json'} lacks {key!r}"
                raise InputError(f"{told}; expected a dataset that states its spaces.")
        dataset = minari.MinariDataset(folder)
    if not arrays_only(dataset.observation_space):
        told = f"{source}: observations are {dataset.observation_space}"
        raise InputError(f"{told}; expected arrays, or dictionaries or tuples of these.")
    if not isinstance(dataset.action_space, spaces.Box | spaces.Discrete):
        raise InputError(f"{source}: actions are {dataset.action_space}; expected a Box or Discrete ones.")
    only(reading, source, obs="keys of a dictionary")
    seen = selected(f"{source}: observations", parts_of(dataset.observation_space), reading)
    size = float(dataset.total_steps * (2 * numbers(seen) + numbers(dataset.action_space) + 14))
    with parsing(source, "Minari dataset"):
        spec = dataset.env_spec
        plain = spec is not None and not spec.kwargs and not spec.additional_wrappers
        told = [] if spec is None or plain else [CHANGED.format(spec.id)]
        name = spec.id if spec and plain else None
        yield Opened(size, lambda every: joined(source, episodes(source, dataset, reading), every, name, told))


def episodes(source: str, dataset: Any, reading: Reading) -> Iterator[Episode]:
    """Yield the episodes of a dataset, one at a time."""
    for data in dataset.iterate_episodes():
        steps = len(data.rewards)
        yield Episode(
            steps,
            selected(f"{source}: observations", as_tree(data.observations), reading),
            as_tree(data.actions),
            rew=np.asarray(data.rewards),
            term=bool(steps and data.terminations[-1]),
            trunc=bool(steps and data.truncations[-1]),
        )


def as_tree(values: Any) -> Any:
    """Return observations or actions as a tree of arrays. The parts of a tuple are named 0, 1 etc."""
    if isinstance(values, tuple):
        return {str(i): as_tree(part) for i, part in enumerate(values)}
    if isinstance(values, dict):
        return {name: as_tree(part) for name, part in values.items()}
    return np.asarray(values)


def arrays_only(space: spaces.Space[Any]) -> bool:
    """Return whether a space consists of arrays."""
    inner = space.spaces if isinstance(space, spaces.Dict | spaces.Tuple) else ()
    parts = inner.values() if isinstance(inner, dict) else inner
    return isinstance(space, SUPPORTED) and all(map(arrays_only, parts))


def parts_of(space: spaces.Space[Any]) -> Any:
    """Return the parts of a space as a tree, arranged as in `as_tree`."""
    if isinstance(space, spaces.Dict):
        return {name: parts_of(part) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return {str(i): parts_of(part) for i, part in enumerate(space.spaces)}
    return space


def numbers(tree: Any) -> int:
    """Return the number of bytes that one value of every space of a tree takes in total."""
    return sum(
        math.prod(space.shape or ()) * (1 if space.dtype == np.uint8 else 4) for space in flat("", tree).values()
    )


def write(target: str, arrays: Arrays) -> None:
    """Write a dataset `minari:ID` into the local database. Its spaces are inferred from the arrays.

    Raises:
        InputError: Minari is not installed, the dataset exists already, the id is invalid, there are no actions, or
            rows were left out.
    """
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
        from minari.storage import get_dataset_path
    except ImportError as error:
        raise missing("Minari, which writes its datasets,", "minari") from error
    name = target.removeprefix(PREFIX)
    check_target(target)
    if "act" not in arrays:
        raise InputError(f"{target} cannot hold demonstrations without actions; write an .npz file.")
    if not summed(arrays):
        raise InputError(f"{target} cannot hold sub-sampled demonstrations; expected all rows, write an .npz file.")
    ep = arrays["ep"]
    bounds = [*np.unique(ep, return_index=True)[1].tolist(), len(ep)]
    buffers, buffer = [], cast(Any, EpisodeBuffer)  # its arguments are declared as lists
    for number, (start, stop) in enumerate(pairwise(bounds)):
        seen = {n: a[start:stop] for n, a in arrays.items() if root(n) in ("obs", "next_obs")}
        obs, after = (nested(seen, field) for field in ("obs", "next_obs"))
        if not same(obs, after):
            told = f"{target} cannot hold episode {number}, whose rows do not follow one another"
            raise InputError(f"{told}; expected whole episodes, write an .npz file.")
        buffers.append(
            buffer(
                id=number,
                observations=whole(obs, after),
                actions=arrays["act"][start:stop],
                rewards=arrays.get("rew", np.zeros(len(ep)))[start:stop].astype(np.float64),
                terminations=arrays["term"][start:stop],
                truncations=arrays["trunc"][start:stop],
            )
        )
    about: dict[str, Any] = {
        "observation_space": space_of(nested(arrays, "obs")),
        "action_space": space_of(arrays["act"]),
    }
    env = made(str(arrays["env"])) if "env" in arrays else None
    place = Path(get_dataset_path(name))
    interrupts.check()
    try:
        with parsing(target, "target of a Minari dataset"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing author, description etc.
            minari.create_dataset_from_buffers(name, buffers, env=env, **about)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)  # an incomplete dataset would be in the way of all others
        raise


def check_target(target: str) -> None:
    """Check that a dataset can be written.

    Raises:
        InputError: Minari is not installed, the id is invalid, or the dataset exists already.
    """
    try:
        import minari
        from minari.dataset.minari_dataset import parse_dataset_id
    except ImportError as error:
        raise missing("Minari, which writes its datasets,", "minari") from error
    name = target.removeprefix(PREFIX)
    try:
        parse_dataset_id(name)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name!r} is no id of a Minari dataset; expected NAMESPACE/NAME-v0.") from error
    if ".." in name:
        raise InputError(f"{name!r} is no id of a Minari dataset; expected NAMESPACE/NAME-v0.")
    with parsing(target, "database of Minari datasets"):
        there = name in minari.list_local_datasets()
    if there:
        raise InputError(f"There is a Minari dataset {name!r} already; choose another id, or: minari delete {name}.")


def made(env: str) -> str | None:
    """Return the id of an environment if Gymnasium can make it here, else None, because Minari would refuse it.

    None is also returned for `MODULE:ID`: a converted file may come from somebody else, and its module would be
    imported.
    """
    if ":" in env:
        warnings.warn(f"The dataset names no environment, because {env!r} names a module", stacklevel=2)
        return None
    try:
        gym.make(env).close()
    except Exception as error:
        warnings.warn(f"The dataset names no environment, because {env!r} cannot be made here: {error}", stacklevel=2)
        return None
    return env


def same(obs: Any, next_obs: Any) -> bool:
    """Return whether each observation equals the next observation of the row before."""
    pairs = zip(flat("", obs).values(), flat("", next_obs).values(), strict=True)
    return all(np.array_equal(s[1:], t[:-1]) for s, t in pairs)


def whole(obs: Any, next_obs: Any) -> Any:
    """Return the T + 1 observations of an episode."""
    if isinstance(obs, dict):
        return {name: whole(obs[name], next_obs[name]) for name in obs}
    return np.concatenate([obs, next_obs[-1:]])


def space_of(tree: Any) -> spaces.Space[Any]:
    """Return a space that holds these values: an unbounded `Box`, or a `Discrete` space of categories from 0."""
    if isinstance(tree, dict):
        return spaces.Dict({name: space_of(part) for name, part in tree.items()})
    if tree.ndim == 1:
        return spaces.Discrete(int(tree.max()) + 1)
    if tree.dtype == np.uint8:
        return spaces.Box(0, 255, tree.shape[1:], np.uint8)
    least, most = (-np.inf, np.inf) if tree.dtype.kind == "f" else (np.iinfo(tree.dtype).min, np.iinfo(tree.dtype).max)
    return spaces.Box(least, most, tree.shape[1:], tree.dtype.type)
