"""The host's part of training: it acts, lets the device update, evaluates, and calls the callbacks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import Any

import jax
import numpy as np

from iqlearn.data.replay import NewTransitions, Replay
from iqlearn.evaluation.occupancy import ExpertStates
from iqlearn.evaluation.returns import Evaluator, normalised, reset_seed
from iqlearn.files import Row
from iqlearn.networks.policy import Policy
from iqlearn.runs.run import Run
from iqlearn.training.callbacks import Callback, EachEvaluation
from iqlearn.training.learner import Learner
from iqlearn.training.loop import Program, join, program, split

RANDOM_EPISODES = 50
"""Episodes of the random policy that is the zero of the normalised return."""
Figures = dict[str, float]


class Diverged(Exception):
    """A loss was not finite: between which steps, and in which runs."""


class Group:
    """Learners of the same settings, which one program updates. With several, states and sources are stacked."""

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
        """Compile the loop. Groups do so one after the other: XLA has ended a process with two at once."""
        if self.program is None:
            first = self.learners[0].algorithm
            self.program = program(first, self.states, self.sources, self.keys, self.n)

    def round(self, target: int) -> list[bool]:
        """A round of at most so many steps: act and update online, only update offline. Gives which runs diverged."""
        interaction, done, begun = self.learners[0].run.interaction, self.done, len(self.figures)
        if interaction is None:
            self.update(target - done)
            n, taken = target - done, []
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
        return [any(not np.isfinite(x).all() for part in new for x in part[i].values()) for i in range(self.n)]

    def update(self, updates: int) -> None:
        """Call the compiled loop."""
        assert self.program is not None
        self.states, self.sources, figures = self.program(self.states, self.sources, self.keys, updates)
        self.figures.append((updates, figures))
        self.updates += updates

    def after_round(self, before: int) -> None:
        """Let extensions that wake change the learners."""
        first = self.learners[0]
        if any(extension.wakes(before, first.done, first.phase) for extension in first.extensions):
            self.unstack()
            for learner in self.learners:
                learner.after_round(before)
            self.stack()

    def metrics(self) -> list[Figures]:
        """The mean figures of each learner since the last call."""
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
        """Steps in all and done: environment steps online, updates offline."""
        self.learners = learners
        self.groups = [Group(part) for part in together(learners, first.interaction is None)]
        self._callbacks = [c if isinstance(c, Callback) else EachEvaluation(c) for c in callbacks]
        self._stopped = False
        environment = first.origin.environment
        self._evaluator: Evaluator | None = None
        if environment is not None and first.schedule.evaluations:
            lanes, acting = first.schedule.eval_envs, first.interaction
            if acting is not None and acting.vectorization == "async":
                lanes = min(lanes, acting.num_envs)  # as many processes as the learner has
            self._evaluator = Evaluator(environment, lanes, **({} if acting is None else acting.stepping))
        self._expert_states = [
            None if learner.demos is None else ExpertStates(learner.demos.obs, learner.task.obs) for learner in learners
        ]
        self._random: float | None = None
        self._before, self._started = first.result.get("seconds", 0.0), time.perf_counter()
        self._updates, self._busy = 0, 0.0

    @property
    def rate(self) -> float:
        """Updates a second of all runs together, with acting, without compilation."""
        return self._updates / max(self._busy, 1e-9)

    def run(self) -> list[Run]:
        """Train until all steps are done, a callback stops, Ctrl-C, or a loss that is not finite."""
        self._call("on_start")
        try:
            with ThreadPoolExecutor(len(self.groups)) as pool:
                while self.done < self.steps and not self._stopped:
                    begun, target = self.done, min(self.done + self.runs[0].schedule.chunk, self.steps)
                    try:
                        self._advance(pool, target)
                        self.evaluate()
                    except FloatingPointError as error:  # the action of a policy is not finite
                        raise Diverged(begun, target, self._not_finite()) from error
                    self._call("on_evaluation")
            self._settle([{"status": "completed" if self.done >= self.steps else "stopped"}] * len(self.runs))
        except KeyboardInterrupt:
            self._settle([{"status": "interrupted"}] * len(self.runs))
        except Diverged as error:
            first, last, which = error.args
            lost = {"status": "diverged", "diverged_between": [first, last]}
            self._settle([lost if it else {"status": "interrupted"} for it in which])
        except BaseException:
            self._settle([{"status": "failed"}] * len(self.runs))
            raise
        finally:
            for closed in (*self.learners, *([self._evaluator] if self._evaluator else [])):
                closed.close()
            self._call("on_end")
        return self.runs

    def checkpoints(self) -> list[dict[str, Any]]:
        """What each run needs to be resumed, as of now."""
        for group in self.groups:
            group.unstack()
        return [learner.checkpoint() for learner in self.learners]

    def _advance(self, pool: ThreadPoolExecutor, target: int) -> None:
        """Do rounds until so many steps are done.

        Raises:
            Diverged: a loss was not finite.
        """
        for learner in self.learners:
            learner.begin_episodes()
        for group in self.groups:
            group.compile()
        while self.done < target and not self._stopped:
            started, before = time.perf_counter(), sum(group.updates * group.n for group in self.groups)
            lost = list(chain.from_iterable(self._each(pool, partial(Group.round, target=target))))
            if any(lost):
                raise Diverged(self.done, self.groups[0].done, lost)
            for group in self.groups:
                group.after_round(self.done)
            self._busy += time.perf_counter() - started
            self._updates += sum(group.updates * group.n for group in self.groups) - before
            self.done = self.groups[0].done
            self._call("on_round")

    def _not_finite(self) -> list[bool]:
        """Which policies have weights that are not finite."""
        for group in self.groups:
            group.unstack()
        policies = [learner.algorithm.policy(learner.state) for learner in self.learners]
        return [any(not np.isfinite(x).all() for x in jax.tree.leaves(policy)) for policy in policies]

    def _each(self, pool: ThreadPoolExecutor, work: Callable[[Group], Any]) -> list[Any]:
        """`work` of each group, side by side. After Ctrl-C it waits until all are done."""
        if len(self.groups) == 1:
            return [work(self.groups[0])]
        futures = [pool.submit(work, group) for group in self.groups]
        try:
            return [future.result() for future in futures]
        except KeyboardInterrupt:
            while not all(future.done() for future in futures):
                with suppress(KeyboardInterrupt):
                    wait(futures)
            raise

    def evaluate(self) -> None:
        """Add a row to each run: the mean figures since the last evaluation, and the returns of its policy."""
        figures = [of_run for group in self.groups for of_run in group.metrics()]
        for group in self.groups:
            group.unstack()
        each = zip(self.runs, self.learners, self._expert_states, figures, strict=True)
        self.runs = [self._evaluated(*of_run) for of_run in each]  # at once: an interruption leaves all as it was

    def _evaluated(self, run: Run, learner: Learner, states: ExpertStates | None, figures: Figures) -> Run:
        """The run with the row of this evaluation."""
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
            if states is not None:
                visited = jax.tree.map(lambda *parts: np.concatenate(parts), *(episode.obs for episode in played))
                row["occupancy_distance"] = round(states.distance(visited), 6)  # as `metrics.csv` keeps it
        mean = float(returns.mean()) if len(returns) else None
        expert = None if learner.demos is None else learner.demos.expert_return
        result = run.result | {
            "status": "running",
            "returns": returns.tolist(),
            "mean_return": mean,
            "normalised_return": normalised(mean, expert, self._random),
            "expert_return": expert,
            "random_return": self._random,
            "updates": updates,
            "env_steps": 0 if run.interaction is None else self.done,
            "env_restarts": learner.restarts + (self._evaluator.restarts if self._evaluator else 0),
            "seconds": self._before + time.perf_counter() - self._started,
            "updates_per_second": self.rate,
            "seeds_together": len(self.runs),
        }
        run = replace(run, model=model, state=learner.state, rows=[*run.rows, row | figures], result=result)
        if "occupancy_distance" in row and row["occupancy_distance"] == min(run.distances):
            run.result["best_step"] = self.done
        return run

    def _settle(self, facts: Sequence[dict[str, Any]]) -> None:
        self.runs = [replace(r, result={**r.result, **more}) for r, more in zip(self.runs, facts, strict=True)]

    def _call(self, hook: str) -> None:
        for callback in self._callbacks:
            self._stopped = bool(getattr(callback, hook)(self)) or self._stopped


def remember(replay: Replay, taken: Sequence[Any]) -> Replay:
    """The replay, stacked for several runs, with the steps of each."""
    new = [NewTransitions.of(steps) for steps in taken]
    if len(new) == 1:
        return _extend(replay, new[0])
    return _extend_each(replay, jax.tree.map(lambda *x: np.stack(x), *new))


_extend = jax.jit(Replay.extend, donate_argnums=0)
_extend_each = jax.jit(jax.vmap(Replay.extend), donate_argnums=0)


def together(learners: Sequence[Learner], offline: bool) -> list[Sequence[Learner]]:
    """The learners by group. On a GPU there is one group; else online one for each run, offline one for each core."""
    n, cores = len(learners), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    groups = 1 if jax.default_backend() != "cpu" else min(n, cores) if offline else n
    bounds = np.linspace(0, n, groups + 1).round().astype(int).tolist()
    return [learners[a:b] for a, b in pairwise(bounds)]
