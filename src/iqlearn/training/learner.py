"""One run in training: its state, the source of its batches, and the environment that it acts in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Shaped

from iqlearn.algorithms.base import Algorithm, Behaviour, Now, TrainState
from iqlearn.data.demos import Demos
from iqlearn.data.replay import Replay, empty_replay
from iqlearn.data.sources import Demonstrations, Experience, RewardedReplay, Source
from iqlearn.envs.stepper import Step, Stepper, random_observations
from iqlearn.errors import InputError
from iqlearn.files import Arrays
from iqlearn.networks import encoders
from iqlearn.networks.descent import compiled
from iqlearn.networks.soft_q import SoftQ
from iqlearn.runs.provenance import Interaction
from iqlearn.runs.run import Run
from iqlearn.training.streams import Streams
from iqlearn.types import Obs, PRNGKey, RewardFunction, Transitions, rows

RANDOM_OBSERVATIONS = 2_000
"""Number of observations of a random policy whose statistics scale an expert's networks."""
Tell = Callable[[str, float], object]


class Learner:
    """One run: its state, the source of its batches, and the environment that it acts in."""

    def __init__(
        self,
        run: Run,
        demos: Demos | None,
        reward: RewardFunction | None = None,
        room: tuple[int, int] | None = None,
    ) -> None:
        """Set up a run before its first update.

        Args:
            run: the run; its model and figures are not read.
            demos: the demonstrations as the learner may see them; none for an expert.
            reward: a reward that an expert learns from instead of the environment's.
            room: numbers of transitions and episodes to which demonstrations are padded, so that runs can be stacked.
        """
        self.run, self.demos, self.reward = run, demos, reward
        self.algorithm = run.settings
        self.task = run.task if demos is None or run.settings.scaling == "none" else run.task.spanned(demos.act)
        """The task as the networks see it: with `scaling`, actions are scaled too."""
        self.streams = Streams.of(run.schedule.seed)
        self.extensions = self.algorithm.extensions
        self.done = 0
        """Steps done: environment steps online, updates offline."""
        self.demonstrations: Any = None if demos is None else Demonstrations.of(demos, *(room or ()))
        self.state = self.initial()
        self.source: Any = self.initial_source()
        self.stepper: Stepper | None = None
        self.figures: dict[str, float] = {}
        """Figures of extensions since the last evaluation."""
        self.best: TrainState | None = None
        """The state at the evaluation whose policy the run returns; none if no evaluation has an occupancy distance."""
        self.left: SoftQ | None = None
        """The model of the last evaluation if the guard rolled back from it; else none, and `state` has that model."""
        self.phase, self.first_update = steps_before_updates(self.algorithm, run.interaction or Interaction())

    def initial(self) -> TrainState:
        """Return the state before preparation, with the initial state of each extension."""
        if self.demos is not None:
            seen = jax.tree.map(lambda *x: np.concatenate(x), self.demos.obs, self.demos.next_obs)
        else:
            assert self.run.origin.environment is not None
            seen = random_observations(self.run.origin.environment, RANDOM_OBSERVATIONS, self.streams.reset_seed(0))
        encoder = encoders.fit(self.task.obs, seen, self.algorithm.scaling, self.algorithm.saturation)
        begun = encoder, self.streams.weights
        state = compiled(type(self.algorithm).init, (self.algorithm, self.task), *begun)(*begun)
        for i, extension in reversed(list(enumerate(self.extensions))):  # the first one copies the others' states
            key = jr.fold_in(self.streams.begin, i)
            part = extension.begin(self.task, self.algorithm, state, self.demonstrations, key)
            state = replace(state, aux=state.aux | {extension.name: part})
        return state

    def initial_source(self) -> Source:
        """Return the first source: offline the demonstrations, for an expert an empty replay, otherwise both."""
        if self.run.interaction is None:
            assert self.demonstrations is not None
            return self.demonstrations
        replay = self.new_replay()
        return RewardedReplay(replay) if self.demonstrations is None else Experience(self.demonstrations, replay)

    def new_replay(self) -> Replay:
        """Return an empty replay with room for all transitions of the run, but at most for `Interaction.replay`."""
        interaction = self.run.interaction or Interaction()
        capacity = min(interaction.replay, self.run.schedule.steps + interaction.steps_per_round)
        return empty_replay(self.task, capacity, interaction.num_envs / interaction.steps_per_round)

    def now(self, extension: int, stream: PRNGKey, labelled: bool = True, tell: Tell = lambda text, share: None) -> Now:
        """Return the record that the hooks of extension number `extension` receive. Its key comes from `stream`."""
        key = jr.fold_in(jr.fold_in(stream, extension), self.done)

        def again(state: TrainState, demos: Demonstrations) -> TrainState:
            others = [i for i in range(len(self.extensions)) if i != extension]
            return self.prepared(
                state, demos, others, jr.fold_in(self.streams.rounds, len(self.extensions)), True, tell
            )

        known, source = self.demonstrations, self.source
        return Now(
            self.task, self.algorithm, known, self.state, source, key, labelled, self.done, self.phase, again, tell
        )

    def prepared(
        self,
        state: TrainState,
        demos: Demonstrations,
        which: Sequence[int],
        stream: PRNGKey,
        labelled: bool,
        tell: Tell,
    ) -> TrainState:
        """Return the state after the extensions with the numbers `which` have prepared it, in that order."""
        for i in which:
            now = self.now(i, stream, labelled, tell)._replace(state=state, demos=demos)
            state = self.extensions[i].prepare(now)
        return state

    def prepare(self, tell: Tell) -> None:
        """Prepare the algorithm and every extension, before the first update of a new run."""
        if self.demonstrations is not None:
            labelled, which = not self.algorithm.state_only, range(len(self.extensions))
            own = self.now(len(which), self.streams.preparation, labelled, tell)
            self.state = self.algorithm.prepare(own)
            self.state = self.prepared(self.state, self.demonstrations, which, self.streams.preparation, labelled, tell)

    def connect(self) -> None:
        """Let the extensions change the source of batches."""
        for i, extension in enumerate(self.extensions):
            self.source = extension.source(self.now(i, self.streams.sources))

    def behaviour(self, state: TrainState) -> Behaviour:
        """Return how to act now.

        The first extension that returns a behaviour decides. Otherwise the policy acts, with random actions in the
        first `random_steps` steps unless the algorithm pretrains a policy.
        """
        assert self.run.interaction is not None
        model = state.model if self.demonstrations is None else self.algorithm.policy(state)
        for extension in self.extensions:
            found = extension.behaviour(state.aux[extension.name], model, self.done)
            if found is not None:
                return found
        first = self.done < self.run.interaction.random_steps and not self.algorithm.pretrains
        return Behaviour(model, random=float(first))

    def begin_episodes(self) -> None:
        """Begin new episodes, with reset seeds that depend on the seed and the steps done. Offline, do nothing."""
        if self.run.interaction is None:
            return
        if self.stepper is None:
            environment, acting = self.run.origin.environment, self.run.interaction
            assert environment is not None
            self.stepper = Stepper(environment, acting.num_envs, **acting.stepping)
        seed = self.streams.reset_seed(self.done + 1)
        self.stepper.reset(seed)
        self.stepper.seed_actions(seed)

    @property
    def restarts(self) -> int:
        """How often a copy of the environment was restarted."""
        return self.run.result.get("env_restarts", 0) + (self.stepper.restarts if self.stepper else 0)

    def act(self, behaviour: Behaviour, steps: int) -> list[Step]:
        """Act `steps` times in every copy of the environment and return these steps.

        A step in which a copy fails is dropped for all copies, and another one is taken.
        """
        assert self.stepper is not None
        model, taken, i = on_processor(behaviour.model), [], self.done
        while len(taken) < steps:
            action = self.random_actions() if behaviour.random > 0.0 else np.zeros(0)
            if behaviour.random < 1.0:
                numbers = self.streams.acting, self.streams.exploration, i, behaviour.random
                chosen, strays = _choose(model, self.stepper.obs, *numbers, deterministic=behaviour.deterministic)
                action = np.where(strays, action, chosen) if behaviour.random > 0.0 else np.asarray(chosen)
            step = self.stepper.step(action)
            if not step.lost.any():
                taken.append(step)
                i += 1
            elif taken:  # the next step in the replay does not continue this one
                taken[-1].ended[:] = True
        return taken if self.reward is None else paid(taken, self.reward)

    def random_actions(self) -> Shaped[np.ndarray, "n *act"]:
        """Return actions drawn uniformly over the span of `task` and clipped to the bounds, one for each copy."""
        assert self.stepper is not None
        drawn = self.stepper.random_actions()
        if self.task.span is None:
            return drawn
        (low, high), (least, most) = (np.array(part[:2]) for part in (self.task.span, self.task.bounds))
        share = (drawn - least) / np.where(most > least, most - least, 1.0)
        return np.clip(low + (high - low) * share, least, most)

    def after_round(self, before: int) -> None:
        """Let the extensions that wake after the steps from `before` to `done` change state and source.

        At the end of the extensions' phase, empty the replay if one of them has `empties_replay`.
        """
        for i, extension in enumerate(self.extensions):
            if extension.wakes(before, self.done, self.phase):
                self.state, self.source, more = extension.after_round(self.now(i, self.streams.rounds))
                self.figures |= more
        if before < self.phase <= self.done and any(extension.empties_replay for extension in self.extensions):
            self.source = replace(self.source, replay=self.new_replay())

    def go_back(self, caution: float) -> None:
        """Roll back to the best policy and critics, and multiply the learning rates by `caution`. The extensions keep
        their current states.

        If the averaged actor was evaluated, it also becomes the live actor: the live actor of that evaluation may be
        worse.
        """
        assert self.best is not None
        model, rate = self.algorithm.policy(self.best), caution * self.state.rate
        self.left = self.algorithm.policy(self.state)
        self.state = replace(self.best, model=model, aux=self.state.aux, step=self.state.step, rate=rate)

    def checkpoint(self) -> dict[str, Any]:
        """Return the arrays from which the run can be resumed. Its figures are not included."""
        kept = {name: part for name, part in (("best", self.best), ("left", self.left)) if part is not None}
        return {"state": self.state, "source": self.source.saved(), "done": np.int32(self.done)} | kept

    def restore(self, found: Arrays) -> None:
        """Restore the run from a checkpoint.

        Raises:
            InputError: the checkpoint is of another run.
        """
        self.state = found.tree(self.state, "['state']")
        self.done = int(found.tree(np.int32(0), "['done']"))
        self.connect()
        try:
            saved = found.tree(self.source.saved(), "['source']", any_shape=True)
            self.source = self.source.restored(saved)
        except ValueError as error:
            raise InputError(f"{found.path} holds another replay ({error}); expected the run's own.") from error
        self.best = found.tree(self.state, "['best']") if "best_step" in self.run.result else None
        last = self.algorithm.policy(self.state)
        if found.has("['left']"):
            last = self.left = found.tree(last, "['left']")
        model = last if self.best is None else self.algorithm.policy(self.best)
        self.run = replace(self.run, model=model, last=last, state=self.state)

    def close(self) -> None:
        """Close the environment."""
        if self.stepper is not None:
            self.stepper.close()


def steps_before_updates(algorithm: Algorithm, interaction: Interaction) -> tuple[int, int]:
    """Return the environment steps of the extensions' phase, and all environment steps before the first update."""
    phase = max((extension.phase for extension in algorithm.extensions), default=0)
    if any(extension.empties_replay for extension in algorithm.extensions):
        return phase, phase + max(interaction.random_steps, interaction.steps_per_round)
    return phase, max(phase, interaction.random_steps)


@partial(jax.jit, static_argnames="deterministic")
def _choose(
    model: SoftQ, obs: Obs, acting: PRNGKey, exploration: PRNGKey, step: Any, share: Any, deterministic: bool
) -> tuple[Shaped[Array, "n *act"], Bool[Array, "n *_"]]:
    """Return the policy's actions in step number `step`, and which copies act at random instead (a `share` of all)."""
    action = model.act(obs, None if deterministic else jr.fold_in(acting, step))
    shape = rows(obs), *[1] * (action.ndim - 1)
    return action, jr.bernoulli(jr.fold_in(exploration, step), share, shape)


def on_processor(model: SoftQ) -> SoftQ:
    """Return the model on the CPU if JAX uses another device, so that acting does not wait for updates there."""
    if jax.default_backend() == "cpu":
        return model
    try:
        return jax.device_put(model, jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told not to use the CPU
        return model


def paid(steps: Sequence[Step], reward: RewardFunction) -> list[Step]:
    """Return the same steps with the rewards of `reward` instead of the environment's."""
    parts = [(step.obs, step.action, step.next_obs, step.terminal) for step in steps]
    rows: Any = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    judged = reward(Transitions(*rows)).reshape(len(steps), -1)
    return [step._replace(reward=row) for step, row in zip(steps, judged, strict=True)]
