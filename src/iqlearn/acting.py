"""A run that acts in its environments while it learns."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from iqlearn import records
from iqlearn.algorithms import TrainState
from iqlearn.data import Replay, empty_replay
from iqlearn.envs.vector import VectorEnv
from iqlearn.errors import InputError
from iqlearn.groups import Diverged, Figures, finite, mean
from iqlearn.models import ContinuousSoftQ, SoftQModel
from iqlearn.run import Run
from iqlearn.settings import IQLearnContinuous, Regression
from iqlearn.settings.presets import Expert, waiting
from iqlearn.sources import load_reward
from iqlearn.start import keys_of
from iqlearn.training import (
    Data,
    Demonstrations,
    Experience,
    Rewards,
    Seen,
    interact,
    moments,
    regressed,
    remember,
    rewarded,
    train,
)
from iqlearn.types import Bounds, PRNGKey
from iqlearn.watcher import Watcher


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
        self._first = waiting(run.settings, run.interaction)[1]
        self._stop = threading.Event()
        _, self._act_key, self._train_key = keys_of(self._seed)
        self._env = VectorEnv(run.origin.env, self._acting.num_envs, self._seed, self._acting.vectorization)
        self._replay, self.done = replay_for(run), 0
        checkpoint = folder / records.CHECKPOINT if run.rows and folder is not None else None
        if checkpoint is not None:
            self._replay, self.done = experience(checkpoint, self._replay)
        self._competent = isinstance(run.settings, IQLearnContinuous) and run.settings.online.warm_start > 0
        self._regression: Regression | None = None
        if self._state.reward is not None:
            assert isinstance(run.settings, IQLearnContinuous)
            self._regression = run.settings.regression
        self._watcher: Watcher | None = None
        if demos is not None and isinstance(run.settings, IQLearnContinuous) and run.settings.state_only:
            self._watcher = Watcher(run.settings, run.spec, demos, run.state, self.done, checkpoint)
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
        watching = {} if self._watcher is None else {"guesses": self._watcher.guesses}
        return [{"replay": self._replay.packed(), "env_steps": np.int64(self.done), **watching}]

    @property
    def data(self) -> Data:
        """What the updates draw from."""
        demos = self._demos if self._watcher is None else self._watcher.demos
        return Rewards(self._replay) if demos is None else Experience(demos, self._replay)

    def compile(self) -> None:
        if self._program is None:
            lowered = train.lower(self._algorithm, self._state, self.data, self._train_key, 1)
            self._program = lowered.compile()

    def advance(self, steps: int) -> list[Figures]:
        done, last = self.done, self.done + steps
        self._env.restart(int(np.random.SeedSequence([self._seed, done]).generate_state(1)[0]) % 2**31)
        state, seen = self._state, []
        if self._watcher is not None:
            self._watcher.figures = {}
        while done < last and not self._stop.is_set():
            each = -(-min(self._acting.round_steps, last - done) // self._acting.num_envs)
            n = each * self._acting.num_envs
            acting = None if self._at_random(done) else self._actor(state)
            due = self._due(done)
            if due > 0:  # dispatched, not awaited: the device updates while the environments below are stepped
                state, metrics = self._program(state, self.data, self._train_key, due)
                self._updates += due
                seen.append((due, metrics))
            key: PRNGKey | None = self._act_key
            if self._watcher is not None and isinstance(acting, ContinuousSoftQ):
                acting, key = self._watcher.actor(acting, done), None if self._watcher.judges(done) else key
            taken = interact(self._env, acting, key, done, each, self._wandering(done))
            taken = taken if self._reward is None else rewarded(taken, self._reward)
            if seen and not finite(seen[-1][1]):
                raise Diverged(done, done + n)
            self._replay = remember(self._replay, moments(taken))
            done += n
            if self._watcher is not None and self._watcher.due(done):
                state = self._watch(state, done)
            elif self._wandering(done - n) > 0.0 and self._wandering(done) <= 0.0:
                state = self._told(state, done)
        self._state, self.done = state, done
        return [mean(seen) | ({} if self._watcher is None else self._watcher.figures)]

    def _watch(self, state: TrainState, done: int) -> TrainState:
        """The state with a clone of what the expert seems to have done. What led there is no part of what follows."""
        assert self._watcher is not None
        state = self._watcher.watch(state, self._replay, jr.fold_in(self._act_key, done), done)
        if self._watcher.over:
            state = state if self._regression is None else self._told(state, done)
            self._replay = jax.tree.map(jnp.zeros_like, self._replay)
        return state

    def _told(self, state: TrainState, done: int) -> TrainState:
        """The state with the reward regressed between the expert and what was met so far."""
        assert self._demos is not None
        assert self._regression is not None
        assert state.reward is not None
        rows, size = self._demos.transitions.rows, int(self._demos.transitions.size)
        met = self._replay.newest(done)
        expert, others = Seen(rows.obs[:size], rows.action[:size]), Seen(met.obs, met.action)
        rng, key = np.random.default_rng([self._seed, done]), jr.fold_in(self._act_key, done)
        return replace(state, reward=regressed(state.reward, expert, others, rng, key, self._regression.updates))

    def interrupt(self) -> None:
        """Make `advance` in another thread come to an end soon; what it did is of no use then."""
        self._stop.set()

    def close(self) -> None:
        self._env.close()

    def _actor(self, state: TrainState) -> SoftQModel:
        """What acts: of an imitator what it will be judged by, of an expert the newest actor."""
        return state.model if self._demos is None else self._algorithm.answer(state)

    def _at_random(self, done: int) -> bool:
        """Whether it acts at random after `done` steps."""
        if self._watcher is not None:
            return self._watcher.rounds == 0
        return not self._competent and done < self._acting.random_steps

    def _wandering(self, done: int) -> float:
        """The share of random actions after `done` steps, by which a reward is found: from 1 down to 0."""
        if self._regression is None or self._watcher is not None:
            return 0.0
        return max(1.0 - done / self._regression.steps, 0.0)

    def _due(self, done: int) -> int:
        """Updates to catch up on after `done` steps."""
        return int(self._acting.update_ratio * max(done - self._first, 0)) - self._updates


def replay_for(run: Run) -> Replay:
    """An empty replay for the run's task, as large as it can ever be filled."""
    assert run.interaction is not None
    capacity = min(run.interaction.replay, run.schedule.steps + run.interaction.round_steps)
    parts = run.interaction.num_envs / run.interaction.round_steps
    actions = run.spec.actions
    if isinstance(actions, Bounds):
        return empty_replay(run.spec.obs_shape, (len(actions.low),), np.float32, capacity, parts)
    return empty_replay(run.spec.obs_shape, (), np.int32, capacity, parts)


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
