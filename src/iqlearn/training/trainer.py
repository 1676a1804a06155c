"""The host's part of training: acting, starting updates on the device, evaluating, and calling the callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from itertools import chain
from threading import Thread
from typing import Any

import jax
import numpy as np

from iqlearn import interrupts
from iqlearn.data.demos import Demos
from iqlearn.data.replay import NewTransitions, Replay
from iqlearn.evaluation.returns import Evaluator, normalised, reset_seed
from iqlearn.files import Row
from iqlearn.networks.policy import Policy
from iqlearn.runs.run import Run
from iqlearn.training import guard
from iqlearn.training.callbacks import Callback, EachEvaluation
from iqlearn.training.diagnostics import Diagnostics
from iqlearn.training.learner import Learner
from iqlearn.training.loop import Program, join, program, split

GRACE = 10.0
"""Seconds that runs have to finish their rounds after a request to stop. If one takes longer, for instance because its
environment hangs, no environment is closed."""
ROUND = 1_000
"""Updates of an offline round."""
RANDOM_EPISODES = 50
"""Number of episodes of the random policy. Their mean return is the zero of the normalised return."""
Figures = dict[str, float]


class Diverged(Exception):
    """A loss or a weight was not finite. Arguments: the steps before and after that, and a flag for each run."""


class Group:
    """Learners with the same settings that one program updates. States and sources of several learners are stacked."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners, self.n = learners, len(learners)
        self.keys = join([learner.streams.updates for learner in learners])
        self.updates = int(learners[0].state.step)
        self.program: Program | None = None
        self.figures: list[tuple[int, Any]] = []
        self.stack()

    @property
    def done(self) -> int:
        """Steps done by each learner."""
        return self.learners[0].done

    def stack(self) -> None:
        """Stack the learners' states and sources."""
        self.states = join([learner.state for learner in self.learners])
        self.sources = join([learner.source for learner in self.learners])

    def unstack(self) -> None:
        """Give each learner its state and source."""
        parts = split(self.states, self.n), split(self.sources, self.n)
        for learner, state, source in zip(self.learners, *parts, strict=True):
            learner.state, learner.source = state, source

    def compile(self) -> None:
        """Compile the loop. Groups compile one after the other: XLA has ended a process that compiled two at once."""
        if self.program is None:
            first = self.learners[0].algorithm
            self.program = program(first, self.states, self.sources, self.keys, self.n)

    def round(self, target: int) -> list[bool]:
        """Run a round up to at most `target` steps in all: act and update online, only update offline.

        Online, the steps of the round are rounded up to a multiple of `num_envs`.

        Returns:
            For each run, whether a figure of its updates was not finite.
        """
        interaction, done, begun = self.learners[0].run.interaction, self.done, len(self.figures)
        if interaction is None:
            n, taken = min(target - done, ROUND), []
            self.update(n)
        else:
            each = -(-min(interaction.steps_per_round, target - done) // interaction.num_envs)
            n = each * interaction.num_envs
            states = split(self.states, self.n)
            behaviours = [learner.behaviour(state) for learner, state in zip(self.learners, states, strict=True)]
            due = int(interaction.update_ratio * max(done - self.learners[0].first_update, 0)) - self.updates
            if due > 0:  # dispatched, not awaited: the device updates while the environments below are stepped
                self.update(due)
            pairs = zip(self.learners, behaviours, strict=True)
            taken = [learner.act(behaviour, each) for learner, behaviour in pairs]
        new = [split(figures, self.n) for _, figures in self.figures[begun:]]
        if taken:
            self.sources = replace(self.sources, replay=remember(self.sources.replay, taken))
        for learner in self.learners:
            learner.done += n
        return [not all(finite(part[i]) for part in new) for i in range(self.n)]

    def update(self, updates: int) -> None:
        """Run this many updates in the compiled loop."""
        assert self.program is not None
        self.states, self.sources, figures = self.program(self.states, self.sources, self.keys, updates)
        self.figures.append((updates, figures))
        self.updates += updates

    def after_round(self, before: int) -> None:
        """Let the extensions that wake after the steps since `before` change the learners."""
        first = self.learners[0]
        if any(extension.wakes(before, first.done, first.phase) for extension in first.extensions):
            self.unstack()
            for learner in self.learners:
                learner.after_round(before)
            self.stack()

    def metrics(self) -> list[Figures]:
        """Return the mean figures of each learner since the last call."""
        found, self.figures, each = self.figures, [], [{} for _ in self.learners]
        if found:
            total = sum(updates for updates, _ in found)
            fetched = [(updates, jax.device_get(figures)) for updates, figures in found]
            means = {name: sum(updates * f[name] for updates, f in fetched) / total for name in fetched[0][1]}
            each = [{name: float(x) for name, x in figures.items()} for figures in split(means, self.n)]
        for figures, learner in zip(each, self.learners, strict=True):
            figures |= learner.figures
            learner.figures = {}
        return each


class Trainer:
    """Trains runs that differ only in seed and demonstrations, side by side."""

    def __init__(self, learners: Sequence[Learner], callbacks: Sequence[Callback | Callable[[Any], Any]]) -> None:
        first = learners[0].run
        self.runs = [learner.run for learner in learners]
        """The runs as of the last evaluation."""
        self.steps, self.done = first.schedule.steps, learners[0].done
        """Total steps and steps done: environment steps online, updates offline."""
        self.learners = learners
        self.groups = [Group(part) for part in together(learners)]
        self._callbacks = [c if isinstance(c, Callback) else EachEvaluation(c) for c in callbacks]
        self._stopped = self._hanging = False
        environment = first.origin.environment
        self._evaluator: Evaluator | None = None
        if environment is not None and first.schedule.evaluations:
            lanes, acting = first.schedule.eval_envs, first.interaction
            if acting is not None and acting.vectorization == "async":
                lanes = min(lanes, acting.num_envs)  # no more processes than the learner has
            self._evaluator = Evaluator(environment, lanes, **({} if acting is None else acting.stepping))
        horizon = (environment and environment.time_limit) or 0
        labelled = not first.settings.state_only  # else actions are inferred first, and nothing is pretrained at step 0
        self._diagnostics = [
            None if learner.demos is None else Diagnostics(learner.demos, learner.task.obs, horizon, labelled)
            for learner in learners
        ]
        pretrained = labelled and any(part.pretrains for part in (first.settings, *first.settings.extensions))
        self._pretrained = self._evaluator is not None and pretrained
        guarded = any(part.guards and (labelled or not part.pretrains) for part in first.settings.extensions)
        self._guarded = self._evaluator is not None and guarded
        self._random: float | None = None
        self._before, self._started = first.result.get("seconds", 0.0), time.perf_counter()
        self._updates, self._busy = 0, 0.0

    @property
    def rate(self) -> float:
        """Updates per second, summed over all runs. The time includes acting, but not compilation and evaluations."""
        return self._updates / max(self._busy, 1e-9)

    def run(self) -> list[Run]:
        """Train until all steps are done, a callback or a signal stops training, or a loss or a weight is not finite.

        Return the runs as of their last evaluation.
        """
        self._call("on_start")
        try:
            if self._pretrained and not self.runs[0].rows:
                self.evaluate()
                self._call("on_evaluation")
            while self.done < self.steps and not self._stopped:
                begun, target = self.done, min(self.done + self.runs[0].schedule.chunk, self.steps)
                try:
                    self._advance(target)
                    self.evaluate()
                except FloatingPointError as error:  # the action of a policy is not finite
                    raise Diverged(begun, target, self._not_finite()) from error
                self._call("on_evaluation")
            self._settle([{"status": "completed" if self.done >= self.steps else "stopped"}] * len(self.runs))
        except Diverged as error:
            first, last, which = error.args
            lost = {"status": "diverged", "diverged_between": [first, last]}
            self._settle([lost if it else {"status": "interrupted"} for it in which])
        except BaseException as error:
            # A signal to all processes of the group also ends environments, whose error arrives here.
            interrupted = isinstance(error, KeyboardInterrupt) or interrupts.requested()
            self._settle([{"status": "interrupted" if interrupted else "failed"}] * len(self.runs))
            if not interrupted:
                raise
        finally:
            try:
                self._call("on_end")
            finally:
                for closed in (*self.learners, *([self._evaluator] if self._evaluator else [])) * (not self._hanging):
                    closed.close()
        return self.runs

    def checkpoints(self) -> list[dict[str, Any]]:
        """Return the current checkpoint of each run, from which it can be resumed."""
        for group in self.groups:
            group.unstack()
        return [learner.checkpoint() for learner in self.learners]

    def _advance(self, target: int) -> None:
        """Run rounds until `target` steps are done or a callback stops training.

        Raises:
            Diverged: a loss was not finite.
        """
        for learner in self.learners:
            learner.begin_episodes()
        for group in self.groups:
            group.compile()
        while self.done < target and not self._stopped:
            interrupts.check()
            started, before = time.perf_counter(), sum(group.updates * group.n for group in self.groups)
            lost = list(chain.from_iterable(self._each(partial(Group.round, target=target))))
            if any(lost):
                raise Diverged(self.done, self.groups[0].done, lost)
            for group in self.groups:
                group.after_round(self.done)
            self._busy += time.perf_counter() - started
            self._updates += sum(group.updates * group.n for group in self.groups) - before
            self.done = self.groups[0].done
            self._call("on_round")

    def _not_finite(self) -> list[bool]:
        """Return for each learner whether its model has a weight that is not finite."""
        for group in self.groups:
            group.unstack()
        return [not finite(learner.state.model) for learner in self.learners]

    def _each(self, work: Callable[[Group], Any]) -> list[Any]:
        """Call `work` with each group in parallel and return the results.

        After a request to stop, wait at most `GRACE` seconds for the groups.
        """
        if len(self.groups) == 1:
            return [work(self.groups[0])]
        futures = [in_thread(work, group) for group in self.groups]
        try:
            with interrupts.Foreign():
                wait(futures)
        except KeyboardInterrupt:
            self._hanging = bool(wait(futures, GRACE).not_done)
            raise
        return [future.result() for future in futures]

    def evaluate(self) -> None:
        """Add a row to each run: the mean figures since the last evaluation, and the returns of its policy.

        Raises:
            Diverged: a weight is not finite.
        """
        figures = [of_run for group in self.groups for of_run in group.metrics()]
        if any(lost := self._not_finite()):
            raise Diverged(self.runs[0].rows[-1]["step"] if self.runs[0].rows else 0, self.done, lost)
        each = zip(self.runs, self.learners, self._diagnostics, figures, strict=True)
        self.runs = [self._evaluated(*of_run) for of_run in each]  # at once: an interruption changes no run
        for group in self.groups:
            if any(learner.state is not run.state for learner, run in zip(self.learners, self.runs, strict=True)):
                group.stack()  # the guard rolled back

    def _evaluated(self, run: Run, learner: Learner, told: Diagnostics | None, figures: Figures) -> Run:
        """Return the run with the row of this evaluation. If the guard finds trouble, roll the learner back."""
        model, updates = run.settings.policy(learner.state), int(learner.state.step)
        row: Row = {"step": self.done}
        if run.interaction is not None:
            row["updates"] = updates
        returns = np.zeros(0)
        if self._evaluator is not None:
            seed = reset_seed("in_training", run.schedule.seed)
            if self._random is None:
                first = reset_seed("in_training", 0)
                self._random = float(self._evaluator.random_returns(RANDOM_EPISODES, first).mean())
            act = partial(Policy(model, seed), deterministic=not run.schedule.sampled)
            played = self._evaluator.play(act, run.schedule.eval_episodes, seed)
            returns = np.array([episode.rew.sum() for episode in played])
            row |= {f"return_{name}": float(getattr(returns, name)()) for name in ("mean", "std", "min", "max")}
            if told is not None:
                row |= told.of_episodes(played, run.reward_of(model) if updates else None)
        row |= {} if told is None else told.of_model(model)
        mean = float(returns.mean()) if len(returns) else None
        expert = expert_return(run, learner.demos)
        seconds = self._before + time.perf_counter() - self._started
        earned = {"mean_return": mean, "normalised_return": normalised(mean, expert, self._random)}
        result = run.result | {
            "status": "running",
            "expert_return": expert,
            "random_return": self._random,
            "updates": updates,
            "env_steps": 0 if run.interaction is None else self.done,
            "env_restarts": learner.restarts + (self._evaluator.restarts if self._evaluator else 0),
            "seconds": seconds,
            "seconds_at": [*run.result.get("seconds_at", []), seconds],
            "updates_per_second": self.rate,
            "seeds_together": len(self.runs),
            **{f"last_{name}": value for name, value in earned.items()},
        }
        run, learner.left = replace(run, last=model, state=learner.state, rows=[*run.rows, row | figures]), None
        best = None if told is None else guard.best(run.rows, told.noise)
        if best is None or best == len(run.rows) - 1:
            learner.best = None if best is None else learner.state
            kept = {} if best is None else {"best_step": self.done}
            return replace(run, model=model, result=result | earned | kept | {"returns": returns.tolist()})
        assert told is not None
        back = run.result.get("guard", [])
        wrong = guard.trouble(run.rows, told.noise, run.target) if self._guarded else None
        if wrong is not None and len(back) < guard.RETURNS and self.done < self.steps:
            learner.go_back(guard.caution(run.rows))
            result["guard"] = [*back, {"step": self.done, "because": wrong}]
        return replace(run, result=result)

    def _settle(self, facts: Sequence[dict[str, Any]]) -> None:
        self.runs = [replace(r, result={**r.result, **more}) for r, more in zip(self.runs, facts, strict=True)]

    def _call(self, hook: str) -> None:
        for callback in self._callbacks:
            with interrupts.finishing():  # a request to stop does not interrupt the files that a callback writes
                self._stopped = bool(getattr(callback, hook)(self)) or self._stopped


def expert_return(run: Run, demos: Demos | None) -> float | None:
    """Return the mean return of the expert, or None if it is unknown or if an episode of the expert is longer than the
    environment's time limit, because returns cannot be compared then."""
    return None if demos is None or run.exceeded(demos) else demos.expert_return


def finite(tree: Any) -> bool:
    """Whether every number in the tree is finite."""
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def in_thread(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Call a function in a thread that does not keep the process alive, and return its future."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def remember(replay: Replay, taken: Sequence[Any]) -> Replay:
    """Return the replay with the steps of each run added. The replay of several runs is stacked."""
    new = [NewTransitions.of(steps) for steps in taken]
    if len(new) == 1:
        return _extend(replay, new[0])
    return _extend_each(replay, jax.tree.map(lambda *x: np.stack(x), *new))


_extend = jax.jit(Replay.extend, donate_argnums=0)
_extend_each = jax.jit(jax.vmap(Replay.extend), donate_argnums=0)


def together(learners: Sequence[Learner]) -> list[Sequence[Learner]]:
    """Return the learners in groups: on a CPU one for each run, so that no result depends on the machine's number of
    cores or on which seeds are trained together; on a GPU a single group."""
    return [learners] if jax.default_backend() != "cpu" else [[learner] for learner in learners]
