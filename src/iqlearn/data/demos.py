"""Demonstrations: what an expert did, episode by episode, as typed arrays on the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from iqlearn.data import agreement, facts, npz, parts
from iqlearn.data.scale import standard, whitening
from iqlearn.errors import InputError
from iqlearn.types import ObservationScale, TaskSpec, Transitions

BUILTIN = ("CartPole-v1", "iqlearn/GridWorld-v0", "iqlearn/PointMazeWall-v0")
"""Tasks whose demonstrations ship with the package, each in the file of its name after the slash."""


@dataclass(frozen=True, eq=False)
class Demos:
    """Transitions of whole or sub-sampled episodes, one after another; checked when loaded.

    `rew` is the true reward. It is kept for evaluation and never reaches a learner: `transitions` leaves it out.

    >>> demos = Demos.builtin("CartPole-v1").take(1).subsample(20)
    >>> len(demos), demos.episodes
    (25, 1)
    """

    obs: Shaped[np.ndarray, "n *obs"]
    act: npz.Actions | None
    """What the expert did; none where only observations were recorded."""
    next_obs: Shaped[np.ndarray, "n *obs"]
    term: Bool[np.ndarray, " n"]
    """The episode truly ended here."""
    trunc: Bool[np.ndarray, " n"]
    """The episode met its time limit here."""
    ep: Int[np.ndarray, " n"]
    """Number of the episode; each one's rows stand together, in order of time."""
    initial_obs: Shaped[np.ndarray, "episodes *obs"]
    """First observation of each episode, kept when sub-sampling drops its row."""
    rew: Float[np.ndarray, " n"] | None = None
    episode_return: Float[np.ndarray, " episodes"] | None = None
    """True return of each whole episode, kept when sub-sampling drops rows."""
    expert_return: float | None = None
    """Mean true return of the expert over the whole file, whatever part of it was taken."""
    env: str | None = None
    """Gymnasium id of the environment, where the file names it."""
    source: str = "memory"
    """Where the demonstrations come from: a file's name, or "builtin:ID"."""

    def __len__(self) -> int:
        return len(self.ep)

    @classmethod
    def load(cls, path: str | Path) -> Demos:
        """Read an `.npz` file of the documented format. Nothing is unpickled.

        Raises:
            InputError: the file is missing, damaged or not of the format; names file, field and index.
        """
        return cls.from_arrays(npz.read(Path(path)), source=Path(path).name)

    @classmethod
    def builtin(cls, env: str) -> Demos:
        """Demonstrations that ship with the package, made by `benchmarks/make_*_demos.py`.

        Raises:
            InputError: no demonstrations of that task ship.
        """
        if env not in BUILTIN:
            raise InputError(
                f"No built-in demonstrations for {env!r}; expected one of {', '.join(BUILTIN)}, "
                "or give a file with --demos."
            )
        with resources.as_file(resources.files("iqlearn.data") / "builtin" / f"{env.rpartition('/')[2]}.npz") as path:
            return cls.from_arrays(npz.read(path), source=f"builtin:{env}")

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], source: str = "memory") -> Demos:
        """From the arrays of the documented format: `obs`, `act`, `next_obs`, `term`, `trunc`, `ep`, perhaps `rew`.

        Without `act` they are good for imitation from observations only (`state_only`).

        Raises:
            InputError: as `load`.
        """
        a = npz.check(arrays, source)
        first = np.flatnonzero(np.diff(a["ep"], prepend=a["ep"][0] - 1))
        rew, returns = a.get("rew"), a.get("episode_return")
        if rew is not None and returns is None:
            returns = np.add.reduceat(rew, first, dtype=np.float32)
        return cls(
            **{name: a.get(name) for name in npz.FIELDS},  # pyright: ignore[reportArgumentType]
            initial_obs=a.get("initial_obs", a["obs"][first]),
            rew=rew,
            episode_return=returns,
            expert_return=None if returns is None else float(returns.mean()),
            env=str(a["env"]) if "env" in a else None,
            source=source,
        )

    def save(self, path: str | Path) -> None:
        """Write the `.npz` file that `load` reads, at once or not at all."""
        npz.write(Path(path), self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the documented format, what is unknown left out."""
        names = (*npz.FIELDS, "initial_obs", "rew", "episode_return")
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return known if self.env is None else {**known, "env": np.array(self.env)}

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.initial_obs)

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Rows of each episode."""
        return np.unique(self.ep, return_counts=True)[1]

    @property
    def discrete(self) -> bool:
        """Whether actions are numbers of choices rather than vectors.

        Raises:
            InputError: there are no actions.
        """
        return self.actions.ndim == 1

    @property
    def actions(self) -> npz.Actions:
        """What the expert did.

        Raises:
            InputError: that was not recorded.
        """
        if self.act is None:
            raise InputError(
                f"{self.source}: field 'act' is missing; expected the expert's actions, "
                "only training with --state-only does without them."
            )
        return self.act

    @property
    def transitions(self) -> Transitions:
        """What a learner sees, on the device: (s, a, s', d), without rewards.

        Raises:
            InputError: there are no actions.
        """
        action = self.actions.astype(np.int32 if self.discrete else np.float32)
        return Transitions(*map(jnp.asarray, (self.obs, action, self.next_obs, self.term)))

    def without_actions(self) -> Demos:
        """What is left where the expert could only be watched."""
        return replace(self, act=None)

    def placeholders(self, spec: TaskSpec) -> Demos:
        """The same transitions with zeros of the task's kind for actions, where nothing may read the expert's."""
        size, dtype = ((), np.int64) if spec.discrete else ((len(spec.bounds.low),), np.float32)
        return replace(self, act=np.zeros((len(self), *size), dtype))

    def take(self, n: int, seed: int | None = None) -> Demos:
        """`n` episodes: the first ones, or with a seed a random choice (in the file's order).

        Raises:
            InputError: there are fewer.
        """
        chosen = parts.episodes(self, n, seed)
        numbers = np.unique(self.ep)[chosen]
        returns = None if self.episode_return is None else self.episode_return[chosen]
        kept = self._rows(np.isin(self.ep, numbers))
        return replace(kept, initial_obs=self.initial_obs[chosen], episode_return=returns)

    def subsample(self, every: int, offset: int = 0, seed: int | None = None) -> Demos:
        """Every `every`-th transition of each episode, from its `offset`-th on; s' stays the true next state. A
        transition that truly ended its episode stays as well: without it the expert would seem never to end one.

        With a seed each episode's offset is drawn at random instead, from those that leave it a transition.

        Raises:
            InputError: `every` is not positive, or `offset` not in [0, every).
        """
        return self._rows(parts.rows(self, every, offset, seed))

    def check_task(self, spec: TaskSpec, env: str) -> None:
        """Compare shapes and actions, where there are any, with those of the environment `env`.

        Raises:
            InputError: they disagree; names field, index and what the environment has.
        """
        agreement.check(self, spec, env)

    def task_spec(self) -> TaskSpec:
        """The task as far as the demonstrations tell, where no environment is named.

        As many choices as were seen; continuous actions are taken to be in [−1, 1], or in the range that was seen
        where that is wider.

        Raises:
            InputError: there are no actions, so the task's are unknown.
        """
        return agreement.told(self)

    def observation_scale(self) -> ObservationScale:
        """How a network sees observations, from the mean and spread of s and s'.

        Whitening for discrete actions, where small data and small networks gain from it; standardising a coordinate at
        a time for continuous ones, where a learner goes far from the data.
        """
        seen = np.concatenate([self.obs, self.next_obs])
        return whitening(seen) if self.discrete else standard(seen)

    def sha256(self) -> str:
        """Fingerprint of everything a learner sees: names, types, shapes and bytes of the arrays."""
        return facts.fingerprint({name: getattr(self, name) for name in (*npz.FIELDS, "initial_obs")})

    def __repr__(self) -> str:
        return f"<Demos {self.source}: {len(self)} transitions of {self.episodes} episodes>"

    def remarks(self) -> list[str]:
        """What no rule forbids but a loop that records seldom means: rows that do not follow one another, episodes
        without an end, one-hot actions."""
        return facts.remarks(self)

    def summary(self) -> dict[str, Any]:
        """Counts, shapes, ranges and returns as plain JSON values."""
        return facts.summary(self)

    def _rows(self, keep: Bool[np.ndarray, " n"]) -> Demos:
        rows = {name: getattr(self, name)[keep] for name in npz.FIELDS if getattr(self, name) is not None}
        return replace(self, **rows, rew=None if self.rew is None else self.rew[keep])
