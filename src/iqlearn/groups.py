"""What a session advances: seeds stacked into one program offline, or one run with its environments online."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from iqlearn import records
from iqlearn.algorithms import TrainState
from iqlearn.data import Replay, empty_replay
from iqlearn.envs.vector import VectorEnv
from iqlearn.errors import InputError
from iqlearn.models import SoftQModel
from iqlearn.run import Run, load_reward
from iqlearn.settings import IQLearnContinuous
from iqlearn.settings.presets import Expert
from iqlearn.start import keys_of
from iqlearn.training import (
    Data,
    Demonstrations,
    Experience,
    Rewards,
    interact,
    moments,
    remember,
    rewarded,
    train,
    train_seeds,
)
from iqlearn.types import Bounds

Figures = dict[str, float]


class Diverged(Exception):
    """A loss was not finite; the states from before are kept."""

    def __init__(self, first: int, last: int) -> None:
        super().__init__(first, last)
        self.first, self.last = first, last


class Group(Protocol):
    """Runs that advance together."""

    done: int
    """Steps done: of the environment online, updates offline."""

    @property
    def states(self) -> list[TrainState]: ...

    @property
    def extras(self) -> list[dict[str, Any]]:
        """What a checkpoint of each run holds beside the state, as named trees."""
        ...

    def compile(self) -> None:
        """Make the program ready, so that time is measured without it."""
        ...

    def advance(self, steps: int) -> list[Figures]:
        """Do that many steps; mean metrics of each run.

        Raises:
            Diverged: a loss was not finite.
        """
        ...

    def close(self) -> None: ...


class Offline:
    """Some of the runs, stacked into one program."""

    def __init__(self, runs: Sequence[Run], data: Sequence[Data]) -> None:
        self._algorithm, self._n = runs[0].algorithm, len(runs)
        self.done = int(runs[0].state.step)
        self._states = self._join([run.state for run in runs])
        self._keys = self._join([keys_of(run.schedule.seed)[2] for run in runs])
        self._data = self._join(data)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return self._split(self._states)

    @property
    def extras(self) -> list[dict[str, Any]]:
        return [{} for _ in range(self._n)]

    def compile(self) -> None:
        if self._program is None:
            loop = train if self._n == 1 else train_seeds
            self._program = loop.lower(self._algorithm, self._states, self._data, self._keys, 1).compile()

    def advance(self, steps: int) -> list[Figures]:
        states, metrics = self._program(self._states, self._data, self._keys, steps)
        metrics = jax.device_get(metrics)
        if not finite(metrics):
            raise Diverged(self.done, self.done + steps)
        self._states, self.done = states, self.done + steps
        return [{name: float(x) for name, x in of_run.items()} for of_run in self._split(metrics)]

    def close(self) -> None:
        """Nothing is held."""

    def _join(self, trees: Sequence[Any]) -> Any:
        """One tree with a leading axis of runs; a single run goes without."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def _split(self, tree: Any) -> list[Any]:
        return [tree] if self._n == 1 else [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(self._n)]


class Online:
    """One run that acts in its environments: the device updates while the host steps them.

    `advance` begins with new episodes, whose reset seeds follow from the run's seed and the steps done. So a run that
    goes on from a checkpoint is the run that never stopped, bit for bit.
    """

    def __init__(self, run: Run, demos: Demonstrations | None, folder: Path | None = None) -> None:
        assert run.interaction is not None
        assert run.origin.env is not None
        self._algorithm, self._acting, self._seed = run.algorithm, run.interaction, run.schedule.seed
        self._state, self._demos, self._updates = run.state, demos, int(run.state.step)
        _, self._act_key, self._train_key = keys_of(self._seed)
        self._env = VectorEnv(run.origin.env, self._acting.num_envs, self._seed, self._acting.vectorization)
        self._replay, self.done = replay_for(run), 0
        if run.rows and folder is not None:
            self._replay, self.done = experience(folder / records.CHECKPOINT, self._replay)
        self._competent = isinstance(run.settings, IQLearnContinuous) and run.settings.online.warm_start > 0
        self._reward = None if run.origin.reward is None else load_reward(run.origin.reward, run.spec)
        if self._reward is not None:
            assert isinstance(run.settings, Expert)
            self._reward = self._reward.at_discount(run.settings.gamma)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return [self._state]

    @property
    def extras(self) -> list[dict[str, Any]]:
        return [{"replay": self._replay.packed(), "env_steps": np.int64(self.done)}]

    @property
    def data(self) -> Data:
        """What the updates draw from."""
        return Rewards(self._replay) if self._demos is None else Experience(self._demos, self._replay)

    def compile(self) -> None:
        if self._program is None:
            lowered = train.lower(self._algorithm, self._state, self.data, self._train_key, 1)
            self._program = lowered.compile()

    def advance(self, steps: int) -> list[Figures]:
        done, last = self.done, self.done + steps
        self._env.restart(int(np.random.SeedSequence([self._seed, done]).generate_state(1)[0]) % 2**31)
        state, seen = self._state, []
        while done < last:
            each = -(-min(self._acting.round_steps, last - done) // self._acting.num_envs)
            n = each * self._acting.num_envs
            acting = self._actor(state) if self._competent or done >= self._acting.random_steps else None
            due = self._due(done)
            if due > 0:  # dispatched, not awaited: the device updates while the environments below are stepped
                state, metrics = self._program(state, self.data, self._train_key, due)
                self._updates += due
                seen.append((due, metrics))
            taken = interact(self._env, acting, self._act_key, done, each)
            taken = taken if self._reward is None else rewarded(taken, self._reward)
            if seen and not finite(seen[-1][1]):
                raise Diverged(done, done + n)
            self._replay = remember(self._replay, moments(taken))
            done += n
        self._state, self.done = state, done
        return [mean(seen)]

    def close(self) -> None:
        self._env.close()

    def _actor(self, state: TrainState) -> SoftQModel:
        """What acts: of an imitator what it will be judged by, of an expert the newest actor."""
        return state.model if self._demos is None else self._algorithm.answer(state)

    def _due(self, done: int) -> int:
        """Updates to catch up on after `done` steps."""
        acting = self._acting
        return int(acting.update_ratio * max(done - acting.random_steps, 0)) - self._updates


def finite(metrics: Mapping[str, Any]) -> bool:
    """Whether every metric, the loss and the norms of its gradients among them, is a number."""
    return all(np.all(np.isfinite(value)) for value in metrics.values())


def mean(seen: Sequence[tuple[int, Mapping[str, Any]]]) -> Figures:
    """Mean metrics over the updates of several calls; nothing before the first one."""
    if not seen:
        return {}
    total = sum(n for n, _ in seen)
    fetched = [(n, jax.device_get(metrics)) for n, metrics in seen]
    return {name: float(sum(n * m[name] for n, m in fetched)) / total for name in fetched[0][1]}


def replay_for(run: Run) -> Replay:
    """An empty replay for the run's task, as large as it can ever be filled."""
    assert run.interaction is not None
    capacity = min(run.interaction.replay, run.schedule.steps + run.interaction.round_steps)
    actions = run.spec.actions
    if isinstance(actions, Bounds):
        return empty_replay(run.spec.obs_shape, (len(actions.low),), np.float32, capacity)
    return empty_replay(run.spec.obs_shape, (), np.int32, capacity)


def experience(checkpoint: Path, like: Replay) -> tuple[Replay, int]:
    """The replay that a checkpoint holds, and the steps that filled it.

    Raises:
        InputError: there is none, or it is of another task.
    """
    packed = records.read_part(checkpoint, "replay", like)
    try:
        return packed.unpacked(like), int(records.read_part(checkpoint, "env_steps", np.int64(0)))
    except ValueError as error:
        raise InputError(f"{checkpoint} holds another replay ({error}); expected the run's own.") from error
