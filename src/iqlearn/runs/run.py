"""A run: its model, settings, origin and figures. `learn` returns it, and a run folder stores it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Float

from iqlearn.algorithms.base import Algorithm, TrainState
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError, require
from iqlearn.evaluation import plots
from iqlearn.evaluation.imitation import imitation
from iqlearn.evaluation.returns import Act, Evaluator, reset_seed
from iqlearn.files import Arrays, Row, json_bytes, read_arrays, read_json, read_rows, rows_bytes, tree_bytes
from iqlearn.networks import encoders
from iqlearn.networks.policy import Policy
from iqlearn.networks.soft_q import SoftQ
from iqlearn.rewards.base import Ends
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.runs import folder as run_folder
from iqlearn.runs.lock import locked
from iqlearn.runs.manifest import content_of, update
from iqlearn.runs.provenance import Interaction, Origin, Schedule, build, settings_of, to_dict, versions
from iqlearn.types import TaskSpec, spec_from_dict, spec_to_dict

CLOSEST = 1e-6
"""Occupancy distances below this count as equal: `metrics.csv` keeps six decimals."""


@dataclass(frozen=True)
class Run:
    """A trained policy and its reward, with everything that is needed to train it again.

    >>> run = iq.learn(iq.IQLearn(), demos, seed=0)
    >>> run.policy(obs), run.reward(demos), run.save("runs/cartpole")
    """

    settings: Algorithm
    schedule: Schedule
    origin: Origin
    task: TaskSpec
    interaction: Interaction | None = None
    """How the learner acted; none offline."""
    model: Any = None
    """Policy and critics, a `SoftQ`, of the evaluation with the smallest occupancy distance, or of the last one if none
    has that figure; none before training begins."""
    last: Any = field(default=None, repr=False)
    """The model of the last evaluation; none in a run that was loaded without `last=True`."""
    rows: list[Row] = field(default_factory=list)
    """The metrics, one row for each evaluation."""
    result: dict[str, Any] = field(default_factory=dict)
    state: TrainState | None = field(default=None, repr=False)
    """The state of training; none in a run that was loaded."""

    def __repr__(self) -> str:
        earned = self.result.get("mean_return")
        told = self.result.get("status", "not begun") + ("" if earned is None else f", return {earned:.1f}")
        return f"<Run {self.settings.name} on {self.origin.title}, seed {self.schedule.seed}: {told}>"

    @cached_property
    def policy(self) -> Policy:
        """The policy: `run.policy(obs)` or, as in Stable-Baselines3, `run.policy.predict(obs)`."""
        # Training draws from keys of the seed itself, so the policy gets another seed.
        return Policy(self.model, reset_seed("evaluate", self.schedule.seed))

    def player(self, sampled: bool | None = None) -> Act:
        """Return the policy as evaluations play it, with the same random numbers in every evaluation.

        Args:
            sampled: play samples of the policy instead of its most likely actions; by default as in training.
        """
        sampled = self.schedule.sampled if sampled is None else sampled
        return partial(Policy(self.model, reset_seed("evaluate", self.schedule.seed)), deterministic=not sampled)

    @property
    def reward(self) -> RecoveredReward:
        """The recovered reward: `run.reward(demos)`. The result of `run.reward.distil(...)` needs no s'.

        Raises:
            InputError: the algorithm learns no reward.
        """
        best = next((row for row in self.rows if row["step"] == self.result.get("best_step")), {})
        if self.model is not self.last and best.get("updates", best.get("step")) == 0:
            told = "The run returns the pretrained policy, so its reward is that of critics before their first update"
            warnings.warn(
                f"{told}; take the last ones with --last (in Python iq.Run.load(DIR, last=True)).", stacklevel=2
            )
        found = self.reward_of(self.model)
        if found is None:
            raise InputError(f"Algorithm {self.settings.name!r} learns no reward; train with --algorithm iq.")
        return found

    def reward_of(self, model: SoftQ) -> RecoveredReward | None:
        """Return the reward that a model of this run implies, or None if the algorithm learns none."""
        implied = self.settings.reward(model)
        if implied is None:
            return None
        pays = -implied.limit if self.origin.ends == 0 else None
        ends = Ends(implied.gamma, implied.absorbing, pays)
        return RecoveredReward(implied.model, ends, self.task, implied.limit)

    @property
    def target(self) -> float:
        """Size of what the loss of the critics fits (`Implied.target`); infinite where no reward is learnt."""
        implied = self.settings.reward(self.last)
        return math.inf if implied is None else implied.target

    @property
    def distances(self) -> list[float]:
        """The occupancy distances of the evaluations that have a finite one."""
        return [d for row in self.rows if (d := row.get("occupancy_distance")) is not None and np.isfinite(d)]

    @property
    def drift(self) -> float:
        """The occupancy distance of the last policy divided by that of the best one, which the run returns; 1 if these
        are not both known."""
        best = [row for row in self.rows if row["step"] == self.result.get("best_step")]
        found = [row.get("occupancy_distance") for row in (*best[-1:], *self.rows[-1:])]
        known = [max(distance, CLOSEST) for distance in found if distance is not None and np.isfinite(distance)]
        return float(known[1] / known[0]) if len(known) == 2 else 1.0

    def exceeded(self, demos: Demos) -> int | None:
        """Return the time limit of the environment if an episode of the demonstrations is longer, else None."""
        limit = None if self.origin.environment is None else self.origin.environment.time_limit
        return None if limit is None or demos.longest <= limit else limit

    def environment(self, env: Any = None) -> Environment:
        """Return `env` or, without it, the environment of the run.

        `env` gets the run's `max_episode_steps` if it has none of its own.

        Raises:
            InputError: there is no environment, or it is of another task.
        """
        own = self.origin.environment
        found = own if env is None else Environment.of(env)
        if found is None:
            raise InputError("The run names no environment; expected one, give it with --env (in Python env=...).")
        if env is not None and found.cap is None:
            found = found.capped(self.schedule.max_episode_steps)
        if own is not None and not own.named and not found.named and not found.kwargs:
            # No file stores a function, so the user gives it again. It gets the keyword arguments of the run.
            found = replace(found, kwargs=own.kwargs)
        if found.task != self.task:
            raise InputError(f"{found.name} has {found.task}; expected {self.task}, as the run was trained on.")
        return found

    def evaluate(
        self, episodes: int = 20, seed: int = 0, env: Any = None, sampled: bool | None = None
    ) -> Float[np.ndarray, " episodes"]:
        """Play episodes with the policy and return their undiscounted returns, of shape (episodes,).

        Args:
            episodes: number of episodes.
            seed: seed of the episodes. They differ from those of training, its evaluations and `iqlearn demos collect`.
            env: another environment of the same task.
            sampled: play samples of the policy instead of its most likely actions; by default as in training.

        Raises:
            InputError: no environment is known, or it is of another task.
        """
        with closing(Evaluator(self.environment(env), self.schedule.eval_envs)) as evaluator:
            return evaluator.returns(self.player(sampled), episodes, reset_seed("evaluate", seed))

    def held_out(self, demos: Demos) -> Demos | None:
        """Return the episodes that the run did not learn from, or None if it learnt from all of them.

        If the SHA-256 differs from that of the demonstrations that the run began with, return all episodes.
        """
        try:
            learnt = demos.select(self.origin.selection)
        except InputError:  # there are fewer episodes than the run learnt from
            return demos
        seen = learnt.without_actions() if self.settings.state_only else learnt
        if seen.sha256() != self.origin.sha256:
            return demos
        return None if learnt.episodes == demos.episodes else demos.leave_out(*np.unique(learnt.ep).tolist())

    def imitation(self, demos: Demos) -> dict[str, float | None]:
        """Return how well the policy predicts the expert's actions (`iqlearn.evaluation.imitation`).

        No environment is needed. Actions may be outside of the run's bounds: without an environment these come from the
        demonstrations that the run saw.

        Raises:
            InputError: the demonstrations are of another task, or hold no actions.
        """
        demos.check_task(self.task.unbounded, "the run")
        return imitation(self.model, demos)

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the run folder, without a checkpoint.

        Raises:
            InputError: the folder exists and is not empty, unless `overwrite`.
        """
        run_folder.vacant(Path(folder), overwrite)
        with locked(Path(folder)):
            run_folder.claim(Path(folder), overwrite)
            self.write(Path(folder))
            self.conclude(Path(folder))

    def begin(self, folder: Path) -> None:
        """Write `config.json`, so that the run can be resumed from its start."""
        update(folder, {run_folder.CONFIG: json_bytes(self.config())})

    def write(self, folder: Path, checkpoint: Mapping[str, Any] | None = None) -> None:
        """Update the run folder in one atomic change. The run can be resumed from `checkpoint`."""
        config, contents = self.config(), {}
        if checkpoint is not None:  # first in place: without it, none of the other files is there either
            facts = {"config": config, "rows": self.rows, "result": self.result}
            contents[run_folder.CHECKPOINT] = tree_bytes(checkpoint, facts)
        contents |= {run_folder.CONFIG: json_bytes(config), run_folder.METRICS: rows_bytes(self.rows)}
        contents |= {run_folder.RESULT: json_bytes(self.result), run_folder.MODEL: tree_bytes(self.model)}
        contents |= {} if self.last is None else {run_folder.LAST: tree_bytes(self.last)}
        update(folder, contents)

    def conclude(self, folder: Path) -> None:
        """Write the final `result.json` and draw the curves. If they cannot be drawn, only warn."""
        update(folder, {run_folder.RESULT: json_bytes(self.result)})
        if self.rows:
            title = f"{self.origin.title} · {self.settings.name} · seed {self.schedule.seed}"
            try:
                picture = plots.curves(self.rows, self.result.get("expert_return"), title)
                update(folder, {run_folder.CURVES: picture})
            except Exception as error:
                warnings.warn(f"{folder / run_folder.CURVES} was not drawn: {error}", stacklevel=2)

    def config(self) -> dict[str, Any]:
        """Return the content of `config.json`: all settings, schedule, origin, task and versions."""
        return {
            "settings": to_dict(self.settings),
            "schedule": to_dict(self.schedule),
            "interaction": None if self.interaction is None else to_dict(self.interaction),
            "origin": to_dict(self.origin),
            "task": spec_to_dict(self.task),
            "versions": versions(),
        }

    @classmethod
    def load(cls, folder: str | Path, last: bool = False, trust: bool = False) -> Run:
        """Read a run folder.

        Args:
            folder: the run folder.
            last: take the model of the last evaluation instead of the best one.
            trust: import the module that the folder names for its environment, wherever it is. By default it must lie
                beside the folder, or have been imported before.

        Raises:
            InputError: a file is missing or damaged; the message names it.
        """
        folder = Path(folder)
        if not run_folder.begun(folder) and (inside := run_folder.seeds_in(folder)):
            raise InputError(f"{folder} holds the runs of {len(inside)} seeds; expected one, such as {inside[0]}.")
        run_folder.runs_in(folder)  # raises where there is none
        run = cls.begun(folder, trust)
        result = read_json(folder / run_folder.RESULT, content_of(folder, run_folder.RESULT))
        rows = read_rows(folder / run_folder.METRICS, content_of(folder, run_folder.METRICS))
        name = run_folder.LAST if last else run_folder.MODEL
        model = read_arrays(folder / name, content_of(folder, name)).tree(run.blank, finite=True)
        check_facts(result, rows, folder / run_folder.RESULT)
        return replace(run, model=model, last=model if last else None, rows=rows, result=result)

    @classmethod
    def begun(cls, folder: Path, trust: bool = False) -> Run:
        """Return a run without model and figures, from the `config.json` of its folder.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = folder / run_folder.CONFIG
        return cls.of_config(read_json(path, content_of(folder, path.name)), path, trust)

    @classmethod
    def of_config(cls, config: Any, path: Path, trust: bool = False) -> Run:
        """Return a run before training, from the dictionary that `config` returned. `path` is the file that held it.

        Raises:
            InputError: a part of the dictionary is missing, unknown or of another type.
        """
        try:
            parts = {name: part for name, part in config.items() if name != "versions"}
            settings, task = settings_of(parts.pop("settings")), spec_from_dict(parts.pop("task"))
            schedule = build(Schedule, parts.pop("schedule"))
            origin = Origin.from_dict(parts.pop("origin"), None if trust else path.parent)
            acting = parts.pop("interaction")
            require(not parts, "config", parts, "no further part")
            run = cls(settings, schedule, origin, task, None if acting is None else build(Interaction, acting))
            _ = run.blank
        except Exception as error:  # one sentence for every kind of damage
            what = " ".join(f"{type(error).__name__}: {error}".split()) if not isinstance(error, InputError) else error
            raise InputError(f"{path} is damaged ({what}); expected it as iqlearn train wrote it.") from error
        return run

    @classmethod
    def of_checkpoint(cls, found: Arrays, trust: bool = False) -> Run:
        """Return the run as of a checkpoint, without the arrays, which `Learner.restore` reads.

        Raises:
            InputError: as `of_config`.
        """
        run = cls.of_config(found.about.get("config"), found.path, trust)
        rows, result = found.about.get("rows"), found.about.get("result")
        check_facts(result, rows, found.path)
        return replace(run, rows=rows, result=result)

    @cached_property
    def blank(self) -> SoftQ:
        """The shapes and dtypes of the arrays of the model."""
        return jax.eval_shape(partial(_blank, self.settings, self.task))


def check_facts(result: Any, rows: Any, path: Path) -> None:
    """Check the types in the result and the rows of a run that were read from a file.

    Raises:
        InputError: `result` is no object, a value is of another type, or `rows` is no list of rows of numbers with a
            step.
    """

    def number(value: Any) -> bool:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)

    def fits(name: str, value: Any) -> bool:
        if name in ("returns", "seconds_at", "diverged_between"):
            return isinstance(value, list) and all(map(number, value))
        if name == "guard":
            return isinstance(value, list) and all(isinstance(one, dict) for one in value)
        return isinstance(value, str) if name == "status" else value is None or number(value)

    def whole(row: Any) -> bool:
        cells = row.values() if isinstance(row, dict) else [""]
        step: Any = row.get("step") if isinstance(row, dict) else None
        return all(cell is None or number(cell) for cell in cells) and number(step) and math.isfinite(step)

    facts = result.items() if isinstance(result, dict) else [("result", None)]
    wrong = [name for name, value in facts if name == "result" or not fits(name, value)]
    wrong += [] if isinstance(rows, list) and all(map(whole, rows)) else ["rows"]
    if wrong:
        raise InputError(f"{path} is damaged ({', '.join(wrong)}); expected it as iqlearn train wrote it.")


def _blank(settings: Algorithm, task: TaskSpec) -> SoftQ:
    """Return an untrained model with the shapes that a run with these settings has."""
    encoder = encoders.blank(task.obs, settings.scaling, settings.saturation)
    return settings.policy(settings.init(task, encoder, jr.key(0)))
