"""Import of the modules that define environments. A module that only a file names is imported only if it is trusted."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from iqlearn.errors import InputError


class Untrusted(InputError):
    """A file names a module that is not trusted."""


def load(env_id: str) -> None:
    """Import the module of `MODULE:ID`. The current folder is searched, too.

    Raises:
        InputError: the module or the id is empty, or the module raises an error of its own.
        ImportError: there is no such module.
    """
    module, colon, name = env_id.partition(":")
    if not colon:
        return
    if not (module and name):
        raise InputError(f"No environment {env_id!r}; expected a Gymnasium id such as CartPole-v1, or MODULE:ID.")
    if not PathFinder.find_spec(module.partition(".")[0]) and spec_of(module):
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and module.startswith(str(error.name)):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        file, line = (
            (error.filename, error.lineno) if isinstance(error, SyntaxError) else (place.filename, place.lineno)
        )
        told = f"Module {module} of environment {env_id!r} cannot be imported: {file}, line {line}"
        raise InputError(f"{told}, raised {type(error).__name__}: {error}; expected a module that imports.") from error


def require_trusted(source: str | EnvSpec, file: Path) -> None:
    """Raise `Untrusted` unless the modules that a file names for an environment are trusted.

    The file may come from somebody else. The module of an id is trusted if it was imported before. An entry point of a
    specification is trusted if it is the registered one, or an environment or wrapper of a module that was imported
    before. Any other module must lie in the folder of the file or in one above that; a warning reports its import.

    Args:
        source: the id or specification.
        file: the run folder or file of demonstrations that names it.

    Raises:
        Untrusted: the module is not trusted.
    """
    if isinstance(source, str):
        name, entries = source, [source] if ":" in source else []
    else:
        name, known = source.id, gym.registry.get(source.id)
        entries = [source.entry_point, *(wrapper.entry_point for wrapper in source.additional_wrappers)]
        entries = [str(entry) for entry in entries if known is None or entry != known.entry_point]
    for entry in entries:
        module, _, attribute = entry.partition(":")
        found = getattr(sys.modules.get(module), attribute, None)
        if isinstance(source, str) and module in sys.modules:
            continue
        if isinstance(found, type) and issubclass(found, gym.Env | gym.Wrapper):
            continue
        place = beside(module, file)
        if place is None:
            told = f"{file} names environment {name!r}. Its module {module!r} is not imported, because whoever made the"
            remedy = f"add --trust (in Python trust=True, or name it yourself: env={name!r})"
            raise Untrusted(f"{told} file chose it; if you trust it, {remedy}.")
        if module not in sys.modules:
            warnings.warn(f"{file} names environment {name!r}: {place} is imported.", stacklevel=2)


def beside(module: str, file: Path) -> Path | None:
    """Return the path of the module if it lies in the folder of the file or in one above that. Nothing is imported."""
    spec = spec_of(module)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin).resolve()
    folder = place.parent.parent if spec.submodule_search_locations else place.parent
    return place if file.resolve().is_relative_to(folder) else None


def spec_of(module: str) -> ModuleSpec | None:
    """Return the spec of the module's top-level package on Python's path or in the current folder. Nothing is imported.

    None if there is no such package.
    """
    return PathFinder.find_spec(module.partition(".")[0], [*sys.path, os.getcwd()])
