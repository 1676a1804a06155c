"""The grid of a benchmark: methods × tasks × numbers of demonstrations × seeds, from a TOML file.

    about = "The sentence that the page begins with."
    seeds = [0, 1]
    steps = 50_000                     # flags of `iqlearn train` for every run

    [[tasks]]
    env = "Hopper-v5"                  # flags of a task
    demos = "Hopper-v5.npz"            # in the folder of --demos
    trajectories = [1, 3]              # one run for each number

    [[methods]]
    name = "DAC"
    group = "from a clone"             # methods of a group are compared; a method without one is in every group
    algorithm = "dac"                  # flags of a method
    extensions = ["cloning"]
    cloning.weight = 0

Every key but `name`, `about`, `seeds`, `group` and `extends` is a flag of `iqlearn train`, so each run of the grid is
one such command. `extends = "online"` takes every key that the file does not set from that preset.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from iqlearn.data import formats
from iqlearn.errors import InputError

PRESETS = ("quick", "offline", "online", "hard", "full")
"""The grids that ship with the package."""
TAKEN = ("out", "overwrite", "help", "help_all")
"""Flags that the benchmark sets itself, so that a grid may not set them."""
NOT_RESUMED = ("early_stopping", "tensorboard")
"""Flags that `iqlearn resume` does not continue. With them, the result of a run would depend on interruptions."""
REPEATED = ("env-arg",)
"""Flags that a command repeats for each value of a list."""
Flags = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    task: str
    trajectories: int | None
    """Number of demonstrations; None for all."""
    seed: int
    flags: Flags = field(compare=False)
    group: str = field(default="", compare=False)
    """The group of methods that this one is compared with; empty for all groups."""

    @property
    def name(self) -> str:
        """The relative path of its run folder, unique in the grid: TASK/METHOD/seed-SEED."""
        task = self.task if self.trajectories is None else f"{self.task}-{self.trajectories}"
        return "/".join((plain(task), plain(self.method), f"seed-{self.seed}"))

    def file(self, demos: Path | None) -> Path | None:
        """Return the path of its demonstrations in the folder `demos`; None if it names none, or a dataset by name."""
        named = str(self.flags.get("demos", ""))
        return (demos or Path()) / named if named and not formats.named(named) else None

    def words(self, out: Path, demos: Path | None = None) -> list[str]:
        """Return the arguments of `iqlearn` that run the cell: train and its flags.

        Args:
            out: its run folder.
            demos: the folder of the demonstrations.
        """
        flags = dict(self.flags)
        if (file := self.file(demos)) is not None:
            flags["demos"] = str(file)
        if self.trajectories is not None:
            flags["trajectories"] = self.trajectories
        return ["train", *words(flags), "--seed", str(self.seed), "--out", str(out)]


def words(flags: Flags) -> list[str]:
    """Return flags as words of a command: `--name value`, or `--name` and `--no-name` for true and false."""
    found: list[str] = []
    for name, value in flags.items():
        values = list(map(str, value if isinstance(value, list) else [value]))
        if isinstance(value, bool):
            found.append(f"--{name}" if value else f"--no-{name}")
        elif name in REPEATED:
            found += [word for one in values for word in (f"--{name}", one)]
        else:
            found += [f"--{name}", *values]
    return found


def same(some: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether two commands have the same flags with the same values, in any order."""

    def by_flag(command: Sequence[str]) -> list[list[str]]:
        starts = [i for i, word in enumerate(command) if word.startswith("--")]
        return sorted([*command[i:j]] for i, j in zip(starts, [*starts[1:], len(command)], strict=True))

    return by_flag(some) == by_flag(others)


@dataclass(frozen=True)
class Grid:
    """All runs of a benchmark."""

    name: str
    about: str
    cells: tuple[Cell, ...]
    """The runs of the first seed come first."""


def plain(name: str) -> str:
    """Return a name in which characters that not every system allows in file names are replaced by hyphens."""
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.") or "-"


def read(source: str) -> Grid:
    """Read the grid of a preset, or of a TOML file.

    Raises:
        InputError: there is no such preset or file, or a key is missing or has a value of a wrong type.
    """
    if source in PRESETS:
        return grid_of(preset(source), source)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"No grid {source!r}; expected a TOML file, or one of {', '.join(PRESETS)}.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no TOML file ({error}); expected tables [[tasks]] and [[methods]].") from error
    return grid_of(content, path.stem)


def preset(name: str) -> dict[str, Any]:
    """Return the content of the file of a preset."""
    file = resources.files("iqlearn.benchmark") / "presets" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def extended(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the content of a grid, with the keys that it does not set from the preset that it extends.

    Raises:
        InputError: there is no such preset.
    """
    own = dict(content)
    base = own.pop("extends", None)
    if base is None:
        return own
    if base not in PRESETS:
        raise InputError(f"Grid {name}: extends is {base!r}; expected a preset, one of {', '.join(PRESETS)}.")
    return extended(preset(base), base) | own


def grid_of(content: Mapping[str, Any], name: str) -> Grid:
    """Return the grid for the content of a file.

    Raises:
        InputError: a key is missing or has a value of a wrong type, or two runs have the same name.
    """
    common = extended(content, name)
    for one, several in (("task", "tasks"), ("method", "methods")):
        if one in common:
            raise InputError(f"Grid {name}: [[{one}]] is no table of a grid; expected [[{several}]].")
    tasks, methods = (tables(common.pop(part, None), part, name) for part in ("tasks", "methods"))
    seeds, about, common = common.pop("seeds", [0]), str(common.pop("about", "")), flat(common)
    if "name" in common:
        raise InputError(f"Grid {name}: name outside of a table has no effect; set it in [[tasks]] or [[methods]].")
    if any("group" in flags for flags in (common, *tasks)):
        raise InputError(f"Grid {name}: group is a key of [[methods]]; set it there, not at the top or in [[tasks]].")
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise InputError(f"Grid {name}: seeds is {seeds!r}; expected a list of whole numbers from 0 up.")
    for flags, where in [
        (common, "the grid"),
        *((one, "a task") for one in tasks),
        *((one, "a method") for one in methods),
    ]:
        check(flags, f"Grid {name}, {where}")
    if any("trajectories" in method for method in methods):
        raise InputError(f"Grid {name}: trajectories in a table of [[methods]] has no effect; set it for tasks.")
    cells = []
    for seed in seeds:
        for task in tasks:
            counts = task.get("trajectories", common.get("trajectories"))
            counts = counts if isinstance(counts, list) else [counts]
            if not counts or not all(count is None or (type(count) is int and count > 0) for count in counts):
                raise InputError(
                    f"Grid {name}, task {task['env']}: trajectories is {counts}; expected whole numbers from 1 up."
                )
            for count in counts:
                for method in methods:
                    flags = {**common, **task, **method}
                    named = {key: flags.pop(key, None) for key in ("name", "trajectories", "group")}
                    title, group = str(task.get("name", task.get("env"))), str(named["group"] or "")
                    cells.append(Cell(str(named["name"]), title, count, seed, flags, group))
    for folder, runs in Counter(cell.name for cell in cells).items():
        if runs > 1:
            raise InputError(f"Grid {name}: two runs are called {folder}; expected names that differ.")
    return Grid(name, about, tuple(cells))


def tables(found: Any, part: str, name: str) -> Sequence[dict[str, Any]]:
    """Check the tables of tasks or methods, and return them with flat keys.

    Raises:
        InputError: there is no table, or one has no name (for a task: no env).
    """
    if not (isinstance(found, list) and found and all(isinstance(one, dict) for one in found)):
        raise InputError(f"Grid {name}: [[{part}]] is missing; expected at least one such table.")
    key = "env" if part == "tasks" else "name"
    for one in found:
        if not isinstance(one.get(key), str):
            raise InputError(f"Grid {name}: a table of [[{part}]] has no {key}; expected a text.")
    return [flat(one) for one in found]


def flat(flags: Flags, prefix: str = "") -> dict[str, Any]:
    """Return flags as they are named on the command line: tables of dotted keys (`cloning.weight = 0`) are keys with
    dots, and `_` is `-`."""
    found: dict[str, Any] = {}
    for name, value in flags.items():
        key = prefix + name.replace("_", "-")
        found |= flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return found


def check(flags: Flags, where: str) -> None:
    """Refuse keys that a benchmark sets itself or cannot keep, and values of a type that no flag has.

    Whether a key is a flag of `iqlearn train` is checked by its command line.

    Raises:
        InputError: there is such a key or value.
    """
    for name, value in flags.items():
        key = name.replace("-", "_")
        if key in ("seed", "seeds"):
            raise InputError(
                f"{where}: {name} has no effect here; expected a list at the top of the file, seeds = [0]."
            )
        if key in TAKEN:
            raise InputError(f"{where}: {name} is given by the benchmark itself; leave it out.")
        if key in NOT_RESUMED:
            raise InputError(f"{where}: iqlearn resume, which continues a run, does not continue {name}; leave it out.")
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str | int | float):
                raise InputError(f"{where}: {name} is {value!r}; expected a text, a number, true, false, or a list.")
