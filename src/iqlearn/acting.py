"""Runs that act in their environments while they learn, stacked into one program."""

import threading
from collections.abc import Sequence
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
from iqlearn.envs.vector import Step, VectorEnv
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
    compiled,
    interact,
    join,
    moments,
    regressed_each,
    remember,
    remember_each,
    rewarded,
    split,
)
from iqlearn.types import Bounds, PRNGKey, RewardFunction
from iqlearn.watcher import Watcher


class Online:
    """Runs that act in their environments: the device updates all of them while the host steps those of each.

    `advance` begins with new episodes, whose reset seeds follow from the run's seed and the steps done. So a run that
    goes on from a checkpoint is the run that never stopped, bit for bit where it is alone.
    """

    def __init__(
        self, runs: Sequence[Run], demos: Sequence[Demonstrations], folders: Sequence[Path | None] | None = None
    ) -> None:
        first = runs[0]
        assert first.interaction is not None
        self._algorithm, self._acting = first.algorithm, first.interaction
        self._seeds, self._n = [run.schedule.seed for run in runs], len(runs)
        self._states, self._updates = join([run.state for run in runs]), int(first.state.step)
        self._demos: Demonstrations | None = join(demos) if demos else None
        self._first = waiting(first.settings, first.interaction)[1]
        self._stop = threading.Event()
        keys = [keys_of(seed) for seed in self._seeds]
        self._act_key, self._train_key = join([key for _, key, _ in keys]), join([key for *_, key in keys])
        going_on = [folder / records.CHECKPOINT for folder in folders or [] if first.rows and folder is not None]
        self._replay, self.done = experience(going_on, runs)
        self._envs = [environment(run) for run in runs]
        self._competent = isinstance(first.settings, IQLearnContinuous) and first.settings.online.warm_start > 0
        self._regression: Regression | None = None
        if first.state.reward is not None:
            assert isinstance(first.settings, IQLearnContinuous)
            self._regression = first.settings.regression
        self._watcher: Watcher | None = None
        if demos and isinstance(first.settings, IQLearnContinuous) and first.settings.state_only:
            (of_all,) = demos  # what inference did is judged run by run
            checkpoint = going_on[0] if going_on else None
            self._watcher = Watcher(first.settings, first.spec, of_all, first.state, self.done, checkpoint)
        self._reward = paid_by(first)
        self._program: Any = None

    @property
    def states(self) -> list[TrainState]:
        return split(self._states, self._n)

    @property
    def extras(self) -> list[dict[str, Any]]:
        watching = {} if self._watcher is None else {"guesses": self._watcher.guesses}
        replays = split(self._replay, self._n)
        return [{"replay": replay.packed(), "env_steps": np.int64(self.done), **watching} for replay in replays]

    @property
    def data(self) -> Data:
        """What the updates draw from."""
        demos = self._demos if self._watcher is None else self._watcher.demos
        return Rewards(self._replay) if demos is None else Experience(demos, self._replay)

    def compile(self) -> None:
        if self._program is None:
            begun = self._states, self.data, self._train_key
            self._program = compiled(self._algorithm, *begun, seeds=self._n > 1)

    def advance(self, steps: int) -> list[Figures]:
        done, last = self.done, self.done + steps
        for seed, env in zip(self._seeds, self._envs, strict=True):
            env.restart(int(np.random.SeedSequence([seed, done]).generate_state(1)[0]) % 2**31)
        states, seen = self._states, []
        if self._watcher is not None:
            self._watcher.figures = {}
        while done < last and not self._stop.is_set():
            each = -(-min(self._acting.round_steps, last - done) // self._acting.num_envs)
            n = each * self._acting.num_envs
            acting = None if self._at_random(done) else self._actor(states)
            due = self._due(done)
            if due > 0:  # dispatched, not awaited: the device updates while the environments below are stepped
                states, metrics = self._program(states, self.data, self._train_key, due)
                self._updates += due
                seen.append((due, metrics))
            key: PRNGKey | None = self._act_key
            if self._watcher is not None and isinstance(acting, ContinuousSoftQ):
                acting, key = self._watcher.actor(acting, done), None if self._watcher.judges(done) else key
            taken = interact(self._envs, acting, key, done, each, self._wandering(done))
            taken = [part if self._reward is None else rewarded(part, self._reward) for part in taken]
            if seen and not finite(seen[-1][1]):
                raise Diverged(done, done + n, [not finite(of_run) for of_run in split(seen[-1][1], self._n)])
            self._replay = remembered(self._replay, taken)
            done += n
            if self._watcher is not None and self._watcher.due(done):
                states = self._watch(states, done)
            elif self._wandering(done - n) > 0.0 and self._wandering(done) <= 0.0:
                states = self._told(states, done)
        self._states, self.done = states, done
        return [of_run | ({} if self._watcher is None else self._watcher.figures) for of_run in mean(seen, self._n)]

    def _watch(self, state: TrainState, done: int) -> TrainState:
        """The state with a clone of what the expert seems to have done. What led there is no part of what follows."""
        assert self._watcher is not None
        state = self._watcher.watch(state, self._replay, jr.fold_in(self._act_key, done), done)
        if self._watcher.over:
            state = state if self._regression is None else self._told(state, done)
            self._replay = jax.tree.map(jnp.zeros_like, self._replay)
        return state

    def _told(self, states: TrainState, done: int) -> TrainState:
        """The states with the reward of each regressed between its expert and what it met so far."""
        assert self._regression is not None
        every, demos, replays = (split(tree, self._n) for tree in (states, self._demos, self._replay))
        nets = [state.reward for state in every]
        keys = join([jr.fold_in(key, done) for key in split(self._act_key, self._n)])
        rngs = [np.random.default_rng([seed, done]) for seed in self._seeds]
        expert, others = [], []
        for part, replay in zip(demos, replays, strict=True):
            rows, size, met = part.transitions.rows, int(part.transitions.size), replay.newest(done)
            expert.append(Seen(rows.obs[:size], rows.action[:size]))
            others.append(Seen(met.obs, met.action))
        found = regressed_each(nets, expert, others, rngs, keys, self._regression.updates)
        return join([replace(state, reward=net) for state, net in zip(every, split(found, self._n), strict=True)])

    def interrupt(self) -> None:
        """Make `advance` in another thread come to an end soon; what it did is of no use then."""
        self._stop.set()

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _actor(self, states: TrainState) -> SoftQModel:
        """What acts: of an imitator what it will be judged by, of an expert the newest actor."""
        return states.model if self._demos is None else self._algorithm.answer(states)

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


def environment(run: Run) -> VectorEnv:
    """What the run acts in."""
    assert run.interaction is not None
    assert run.origin.env is not None
    return VectorEnv(run.origin.env, run.interaction.num_envs, run.schedule.seed, run.interaction.vectorization)


def paid_by(run: Run) -> RewardFunction | None:
    """The reward that an expert learns from in the place of the environment's, if it does."""
    if run.origin.reward is None:
        return None
    assert isinstance(run.settings, Expert)
    return load_reward(run.origin.reward, run.spec).at_discount(run.settings.gamma)


def remembered(replay: Replay, taken: Sequence[Sequence[Step]]) -> Replay:
    """The replay, stacked where there are several runs, with the steps of each."""
    new = [moments(steps) for steps in taken]
    if len(new) == 1:
        return remember(replay, new[0])
    room = max(len(part.frames) for part in new)
    return remember_each(replay, jax.tree.map(lambda *leaves: np.stack(leaves), *(part.padded(room) for part in new)))


def replay_for(run: Run) -> Replay:
    """An empty replay for the run's task, as large as it can ever be filled."""
    assert run.interaction is not None
    capacity = min(run.interaction.replay, run.schedule.steps + run.interaction.round_steps)
    parts = run.interaction.num_envs / run.interaction.round_steps
    actions = run.spec.actions
    if isinstance(actions, Bounds):
        return empty_replay(run.spec.obs_shape, (len(actions.low),), np.float32, capacity, parts)
    return empty_replay(run.spec.obs_shape, (), np.int32, capacity, parts)


def experience(checkpoints: Sequence[Path], runs: Sequence[Run]) -> tuple[Replay, int]:
    """The replays that the runs' checkpoints hold, and the steps that filled each. Without checkpoints they are empty.

    Raises:
        InputError: there is none, or it is of another task, or they do not stand at the same step.
    """
    like = replay_for(runs[0])
    if not checkpoints:
        return join([like for _ in runs]), 0
    replays, done = [], []
    for checkpoint in checkpoints:
        packed = records.read_part(checkpoint, "replay", like)
        try:
            replays.append(packed.unpacked(like))
        except ValueError as error:
            raise InputError(f"{checkpoint} holds another replay ({error}); expected the run's own.") from error
        done.append(int(records.read_part(checkpoint, "env_steps", np.int64(0))))
    if len(set(done)) > 1:
        raise InputError(f"Runs that go on together stand at steps {done}; expected the same one, go on one by one.")
    return join(replays), done[0]
