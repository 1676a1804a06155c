"""Demonstrations: the episodes of an expert, as typed arrays on the host."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from iqlearn.data import alignment, fields, formats, inspection
from iqlearn.data.formats import base, npz
from iqlearn.data.formats.base import Reading
from iqlearn.errors import InputError
from iqlearn.types import Obs, ObsSpec, TaskSpec, Transitions, require_few, rows

BUILTIN = ("CartPole-v1", "Pendulum-v1", "iqlearn/GridWorld-v0", "iqlearn/PointMazeWall-v0")
"""Tasks whose demonstrations ship with the package. The files are named after their ids (after the slash)."""
HELD_OUT = 10
"""Largest number of the left-out episodes that `take` keeps as `held_out`."""


@dataclass(frozen=True, eq=False)
class Demos:
    """Transitions of whole or sub-sampled episodes, one after another; checked when loaded.

    An observation is one array or a (nested) dictionary of arrays. `rew` is the true reward. It is kept for evaluation
    and never reaches a learner: `transitions` leaves it out.

    >>> demos = Demos.builtin("CartPole-v1").take(1).subsample(20)
    >>> len(demos), demos.episodes, demos.selection
    (25, 1, (('take', 1, None), ('subsample', 20, 0, None)))
    """

    obs: Obs
    act: fields.Actions | None
    """The expert's actions. None where only observations were recorded."""
    next_obs: Obs
    term: Bool[np.ndarray, " n"]
    """Whether the episode terminated at this transition."""
    trunc: Bool[np.ndarray, " n"]
    """Whether the episode was truncated by its time limit at this transition."""
    ep: Int[np.ndarray, " n"]
    """Number of the episode. The rows of an episode are contiguous and in order of time."""
    initial_obs: Obs
    """First observation of each episode, kept when sub-sampling drops the first row."""
    rew: Float[np.ndarray, " n"] | None = None
    episode_return: Float[np.ndarray, " episodes"] | None = None
    """True return of each whole episode, kept when sub-sampling drops rows."""
    expert_return: float | None = None
    """Mean true return of the expert over the whole file, also where only a part of it was taken."""
    env: str | None = None
    """Gymnasium id of the environment, where the file names it."""
    source: str = "memory"
    """Where the demonstrations come from: a file's name, or "builtin:ID"."""
    path: str | None = None
    """Absolute path of the file they were loaded from."""
    selection: tuple[tuple[Any, ...], ...] = ()
    """The selection steps so far: ("take", n, seed), ("subsample", every, offset, seed), ("leave_out", number, ...)."""
    choices: int | None = None
    """Number of discrete actions, where it was given (`with_choices`)."""
    columns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """The column map, where one was given: the columns of a table, or keys of a group, that make up each field."""
    max_gib: float | None = None
    """The given size limit in GiB. None without a limit, and for an `.npz` file, whose limit is given each time."""
    held_out: Demos | None = field(default=None, repr=False)
    """At most ten of the episodes that the last `take` left out, evenly spaced. None if it left out none. Policies are
    evaluated on them, and no learner is trained on them."""
    thinned: int = 1
    """Every `thinned`-th transition of the source was kept, because of its size. 1 means all."""
    notes: tuple[str, ...] = ()
    """Assumptions of the reader, and remarks on coordinates that lose precision in float32."""

    def __len__(self) -> int:
        return len(self.ep)

    @classmethod
    def load(cls, source: str | Path, max_gib: float | None = None, columns: Mapping[str, Any] | None = None) -> Demos:
        """Read demonstrations of any format: `.npz`, Minari, HDF5 (robomimic, D4RL), LeRobot, Hugging Face, Parquet,
        Arrow or CSV. Nothing is unpickled.

        Args:
            source: a file, the folder of a dataset, a folder of several of these, or `minari:ID`.
            max_gib: the size in GiB that the demonstrations may take. An `.npz` file that unpacks to more is refused
                (by default 0.25, or 100 times its own size where that is more); of other formats, and of a folder as a
                whole, only every n-th transition is kept (by default 4).
            columns: the columns of a table, or the keys of a dictionary such as `proprio/pos`, that make up each field:
                one name or several. Images of LeRobot datasets are read only if they are named.

        Raises:
            InputError: the source is missing, damaged, too large or of no known format, or a package that reads it is
                not installed. The message names source, field and index.

        >>> iq.Demos.load("run.csv", columns={"obs": ["x", "v"], "act": "force", "ep": "trial"})
        """
        given = {
            field: (names,) if isinstance(names, str) else tuple(names) for field, names in (columns or {}).items()
        }
        if max_gib is not None and not 0.0 < max_gib < math.inf:
            raise InputError(f"max_gib (--max-demos-gib) is {max_gib}; expected a finite number above 0.")
        reading = Reading(tuple(given.items()), max_gib)
        if formats.named(str(source)):
            return cls._read(str(source), str(source), str(source), reading)
        path = Path(source)
        parts = {part: reading if formats.mapped(part) else Reading((), max_gib) for part in formats.files_in(path)}
        if not parts:
            return cls._read(path, path.name, str(path.resolve()), reading)
        size = sum(formats.size(part, how) for part, how in parts.items())
        every = base.step_of(size, reading)
        each = [cls._read(part, f"{path.name}/{part.name}", None, how, every) for part, how in parts.items()]
        demos = cls.merged(each, path.name)
        facts = {"path": str(path.resolve()), "columns": reading.columns, "max_gib": max_gib, "thinned": every}
        return replace(demos, **facts, notes=(*demos.notes, *base.thinned(size, every)))

    @classmethod
    def _read(
        cls, source: str | Path, name: str, path: str | None, reading: Reading, every: int | None = None
    ) -> Demos:
        """Read one source. `every` is the thinning step of its folder; by default the size of the source sets it."""
        with formats.opened(source, reading) as it:
            alone = base.step_of(it.size, reading) if it.thins else 1
            arrays, assumed = it.read(every or alone)
            told = base.thinned(it.size, alone) if every is None else ()
        demos = cls.from_arrays(arrays, name)
        if every is not None and not it.thins:
            demos = replace(demos.subsample(every), selection=())
        limit = reading.max_gib if it.thins else None  # an .npz file needs trust, so its limit is given each time
        facts = {"path": path, "columns": reading.columns, "max_gib": limit, "thinned": every or alone}
        return replace(demos, **facts, notes=(*assumed, *told, *demos.notes))

    @classmethod
    def merged(cls, parts: Sequence[Demos], source: str = "memory") -> Demos:
        """Return the episodes of several demonstrations of one task, one after another, numbered from 0.

        Raises:
            InputError: `parts` differ in their fields, shapes or types, or are empty.
        """
        if not parts:
            raise InputError(f"No demonstrations to merge into {source}; expected at least one.")
        arrays = [part.arrays() for part in parts]
        names = [set(one) - {"env"} for one in arrays]
        optional = {"rew", "episode_return"}
        for part, other in zip(parts[1:], names[1:], strict=True):
            for name in sorted((names[0] ^ other) - optional):
                raise InputError(f"{parts[0].source} and {part.source} differ: only one has field {name!r}.")
            for name in sorted((names[0] & other) - optional):
                has, wanted = ((a.shape[1:], a.dtype) for a in (part.arrays()[name], arrays[0][name]))
                if has != wanted:
                    told = f"{part.source}: field {name!r} has rows of shape {has[0]} and {has[1]}"
                    raise InputError(f"{told}; expected {wanted[0]} and {wanted[1]}, as {parts[0].source} has.")
        joined = {name: np.concatenate([one[name] for one in arrays]) for name in set.intersection(*names)}
        counts = [np.unique(one["ep"], return_inverse=True)[1] for one in arrays]
        first = np.cumsum([0, *(part.episodes for part in parts[:-1])])
        joined["ep"] = np.concatenate([number + at for number, at in zip(counts, first, strict=True)])
        envs = {part.env for part in parts}
        if len(envs) == 1 and None not in envs:
            joined["env"] = np.array(envs.pop())
        demos = cls.from_arrays(joined, source)
        return replace(demos, notes=tuple(f"{part.source}: {note}" for part in parts for note in part.notes))

    @classmethod
    def builtin(cls, env: str) -> Demos:
        """Return the demonstrations of a task that ship with the package, made by `benchmarks/make_*_demos.py`.

        Raises:
            InputError: the package has no demonstrations of that task.
        """
        if env not in BUILTIN:
            raise InputError(
                f"No built-in demonstrations for {env!r}; expected one of {', '.join(BUILTIN)}, "
                "or give a file with --demos."
            )
        with resources.as_file(resources.files("iqlearn.data") / "builtin" / f"{env.rpartition('/')[2]}.npz") as path:
            return cls.from_arrays(npz.read(path), source=f"builtin:{env}")

    @classmethod
    def find(
        cls,
        source: str,
        path: str | None,
        selection: Sequence[Sequence[Any]] = (),
        max_gib: float | None = None,
        columns: Sequence[tuple[str, tuple[str, ...]]] = (),
    ) -> Demos:
        """Read the demonstrations with this `source`, `path`, `selection` and `columns` again, within `max_gib`.

        Raises:
            InputError: the file is missing or damaged, or the demonstrations were built in Python.
        """
        if path is not None:
            return cls.load(path, max_gib, dict(columns)).select(selection)
        if source.startswith("builtin:"):
            return cls.builtin(source.removeprefix("builtin:")).select(selection)
        raise InputError(
            f"The demonstrations {source!r} were put together in Python, so no file holds them; expected a `Demos`, "
            "give the same one again: iq.resume(DIR, demos)."
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], source: str = "memory") -> Demos:
        """Build demonstrations from arrays of the documented format: `obs`, `act`, `next_obs`, `term`, `trunc`, `ep`,
        optionally `rew`.

        Observations may be dictionaries of arrays, or separate fields (`obs/NAME`). Demonstrations without `act` can
        be used for imitation from observations only (`state_only`).

        Raises:
            InputError: as `load`.
        """
        given = fields.taken_apart(arrays, source)
        a = fields.check(given, source)
        first = np.unique(a["ep"], return_index=True)[1]
        obs, initial = fields.nested(a, "obs"), fields.nested(a, "initial_obs")
        rew, returns = a.get("rew"), a.get("episode_return")
        if rew is not None and returns is None:
            returns = np.add.reduceat(rew, first, dtype=np.float32)
        return cls(
            **{name: fields.nested(a, name) for name in fields.FIELDS},
            initial_obs=jax.tree.map(lambda x: x[first], obs) if initial is None else initial,
            rew=rew,
            episode_return=returns,
            expert_return=None if returns is None else float(returns.mean()),
            env=str(a["env"]) if "env" in a else None,
            source=source,
            notes=inspection.blurred(given),
        )

    def save(self, path: str | Path) -> None:
        """Write a file that `load` reads: `.npz`, `.parquet`, `.arrow` or `.csv` by the suffix. `minari:ID` writes into
        Minari's local database. A file is written completely or not at all.

        Raises:
            InputError: the format is unknown or cannot hold these demonstrations, a package is not installed, or the
                file cannot be written.
        """
        formats.write(path, self.arrays())

    def arrays(self) -> fields.Arrays:
        """Return the arrays of the documented format by field. Fields without values are left out."""
        known = self._fields(*fields.FIELDS, "initial_obs", "rew", "episode_return")
        return known if self.env is None else {**known, "env": np.array(self.env)}

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return rows(self.initial_obs)

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Number of rows of each episode."""
        return np.unique(self.ep, return_counts=True)[1]

    @property
    def every(self) -> int:
        """Environment steps from one row of an episode to the next, after thinning by the reader and `subsample`."""
        return self.thinned * math.prod(step[1] for step in self.selection if step[0] == "subsample")

    @property
    def longest(self) -> int:
        """Number of steps that the longest episode has at least.

        Rows are `every` steps apart, but a terminal row is kept wherever it is. Steps left out at the end do not count.
        """
        last = np.append(np.diff(self.ep) != 0, True)
        late = (self.lengths > 1) & self.term[last]  # by how much the terminal row follows its predecessor is unknown
        return int(((self.lengths - 1) * self.every + 1 - late * (self.every - 1)).max())

    @property
    def discrete(self) -> bool:
        """Whether actions are discrete (integers) rather than vectors.

        Raises:
            InputError: there are no actions.
        """
        return self.actions.ndim == 1

    @property
    def actions(self) -> fields.Actions:
        """The expert's actions.

        Raises:
            InputError: no actions were recorded.
        """
        if self.act is None:
            raise InputError(
                f"{self.source}: field 'act' is missing; expected the expert's actions, "
                "only training with --state-only does without them."
            )
        return self.act

    @property
    def obs_spec(self) -> ObsSpec:
        """The arrays of an observation. A `Discrete` one has as many choices as the data show."""
        return inspection.observed(self)

    @property
    def transitions(self) -> Transitions:
        """The transitions (s, a, s', d) for a learner, on the device, without rewards.

        Raises:
            InputError: there are no actions.
        """
        action = self.actions.astype(np.int32 if self.discrete else np.float32)
        return Transitions(*jax.tree.map(jnp.asarray, (self.obs, action, self.next_obs, self.term)))

    def with_choices(self, n: int) -> Demos:
        """Return the same demonstrations with `n` as the number of discrete actions, for use without an environment.

        Raises:
            InputError: `n` is below 1 or above 100,000, actions are continuous, or the expert took an action outside of
                0 to n − 1.
        """
        if n < 1 or (self.act is not None and not self.discrete):
            wanted = "a number of at least 1" if n < 1 else f"none, because the actions of {self.source} are continuous"
            raise InputError(f"--actions is {n}; expected {wanted}.")
        require_few(n, "discrete actions (--actions)")
        if self.act is not None:
            inspection.check_choices(self.act, n, f"{self.source}: field 'act'", "as --actions says")
        return replace(self, choices=n)

    def without_actions(self) -> Demos:
        """Return the demonstrations without their actions (state-only imitation) and without `held_out`."""
        return replace(self, act=None, held_out=None)

    def with_placeholders(self, spec: TaskSpec) -> Demos:
        """Return the same transitions. Missing actions are replaced by zeros of the task's action shape and kind."""
        if self.act is not None:
            return self
        dtype = np.int64 if spec.discrete else np.float32
        return replace(self, act=np.zeros((len(self), *spec.action_shape), dtype))

    def take(self, n: int, seed: int | None = None) -> Demos:
        """Return `n` episodes: the first ones, or with a seed a random choice (in the file's order).

        Raises:
            InputError: `n` is not between 1 and the number of episodes.
        """
        if not 1 <= n <= self.episodes:
            there = (
                f"{self.episodes} of {self.source} are left"
                if self.selection
                else f"{self.source} holds {self.episodes}"
            )
            raise InputError(f"{n} trajectories asked for, but {there}; expected a number from 1 to {self.episodes}.")
        order = np.arange(self.episodes) if seed is None else np.random.default_rng(seed).permutation(self.episodes)
        part, others = self._episodes(np.sort(order[:n]), "take", n, seed), np.sort(order[n:])
        if len(others) == 0:
            return part
        few = others[np.linspace(0, len(others) - 1, min(len(others), HELD_OUT)).astype(int)]
        left = replace(self._episodes(few, "take"), selection=self.selection, held_out=None)
        return replace(part, held_out=left)

    def leave_out(self, *numbers: int) -> Demos:
        """Return all episodes except those with these numbers (`ep`).

        Raises:
            InputError: no episode is left.
        """
        others = np.flatnonzero(~np.isin(np.unique(self.ep), numbers))
        if len(others) == 0:
            raise InputError(
                f"{self.source} holds no other episodes than {numbers}; expected one more, leave fewer out."
            )
        return self._episodes(others, "leave_out", *numbers)

    def subsample(self, every: int, offset: int = 0, seed: int | None = None) -> Demos:
        """Return every `every`-th transition of each episode, starting at `offset`; s' stays the true next state.
        Terminal transitions are kept as well, because without them no episode would appear to terminate.

        With a seed, the offset of each episode is drawn at random instead, from those that leave it a transition.

        Raises:
            InputError: `every` is not positive, `offset` is not in [0, every), or an episode has no transition left.
        """
        if every < 1 or not 0 <= offset < every:
            wanted = "every (--subsample) ≥ 1 and 0 ≤ offset < every"
            raise InputError(f"Sub-sampling every {every} from {offset}; expected {wanted}.")
        lengths = self.lengths
        place = np.arange(len(self)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        start = np.full(self.episodes, offset)
        if seed is not None:
            start = np.random.default_rng(seed).integers(np.minimum(every, lengths))
        keep = (place % every == np.repeat(start, lengths)) | self.term
        if len(np.unique(self.ep[keep])) < self.episodes:
            raise InputError(
                f"Sub-sampling {self.source} from offset {offset} leaves an episode without transitions; "
                f"the shortest has {lengths.min()}, expected an offset below that."
            )
        return self._rows(keep, "subsample", every, offset, seed)

    def select(self, selection: Sequence[Sequence[Any]]) -> Demos:
        """Apply the steps of a `selection`, one after the other, and return the result.

        Raises:
            InputError: as for `take`, `subsample` and `leave_out`.
        """
        part = self
        for name, *arguments in selection:
            part = {"take": part.take, "subsample": part.subsample, "leave_out": part.leave_out}[name](*arguments)
        return part

    def check_task(self, spec: TaskSpec, env: str) -> None:
        """Check observations, and actions if there are any, against the spaces of the environment `env`.

        Raises:
            InputError: they disagree. The message names the field, the index and the expected value.
        """
        inspection.check(self, spec, env)

    def task_spec(self) -> TaskSpec:
        """Return the task as inferred from the demonstrations, for use without an environment.

        The number of discrete actions is the given one, else the largest in the data plus 1. The bounds of continuous
        actions are [−1, 1], extended to the range of the data where it is wider.

        Raises:
            InputError: there are no actions and their number was not given, or the data show more than 1,000 choices.
        """
        return inspection.task(self)

    def sha256(self) -> str:
        """Return the SHA-256 digest of all that a learner uses: names, types, shapes and bytes of the arrays."""
        digest = hashlib.sha256()
        for name, given in self._fields(*fields.FIELDS, "initial_obs").items():
            array = np.ascontiguousarray(given)
            digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"<Demos {self.source}: {len(self)} transitions of {self.episodes} episodes>"

    def remarks(self) -> list[str]:
        """Return remarks on data that are valid but probably a mistake in the recording: rows that do not follow one
        another, episodes without an end (both only where no rows were left out), one-hot actions, coordinates that are
        constant, nearly constant or repeated, outliers, and actions that are shifted in time. The notes of the reader
        are included."""
        shift = alignment.shifted(self)
        return inspection.remarks(self) + ([shift] if shift else [])

    def summary(self) -> dict[str, Any]:
        """Return counts, shapes, ranges and returns as plain JSON values."""
        return inspection.summary(self)

    def _fields(self, *names: str) -> fields.Arrays:
        return {field: array for name in names for field, array in fields.flat(name, getattr(self, name)).items()}

    def _episodes(self, chosen: Int[np.ndarray, " k"], name: str, *arguments: int | None) -> Demos:
        part = self._rows(np.isin(self.ep, np.unique(self.ep)[chosen]), name, *arguments)
        initial = jax.tree.map(lambda x: x[chosen], self.initial_obs)
        return replace(
            part,
            initial_obs=initial,
            episode_return=None if self.episode_return is None else self.episode_return[chosen],
        )

    def _rows(self, keep: Bool[np.ndarray, " n"], name: str, *arguments: int | None) -> Demos:
        step = (name, *(None if argument is None else int(argument) for argument in arguments))
        kept = {field: jax.tree.map(lambda x: x[keep], getattr(self, field)) for field in (*fields.FIELDS, "rew")}
        return replace(self, **kept, selection=(*self.selection, step))
