"""A run: what was learnt, from what, how, and how well. `learn` returns it and a run folder holds it."""

from __future__ import annotations

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
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError
from iqlearn.evaluation import plots
from iqlearn.evaluation.returns import Act, Evaluator, reset_seed
from iqlearn.files import Row, read_json, read_rows, read_tree, write_json, write_rows, write_tree
from iqlearn.networks import encoders
from iqlearn.networks.policy import Policy
from iqlearn.networks.soft_q import SoftQ
from iqlearn.rewards.base import Ends
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.runs import folder as run_folder
from iqlearn.runs.provenance import Interaction, Origin, Schedule, build, settings_of, to_dict, versions
from iqlearn.types import TaskSpec, spec_from_dict, spec_to_dict

CLOSEST = 1e-6
"""Occupancy distances below this are alike: `metrics.csv` keeps six digits."""


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
    model: Any = None
    """The model that acts and judges, a `SoftQ`; none before training begins."""
    interaction: Interaction | None = None
    """How the learner acted; none offline."""
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
        """Acts on observations: `run.policy(obs)`, or `run.policy.predict(obs)` as in Stable-Baselines3."""
        # Training draws from keys of the seed itself.
        return Policy(self.model, reset_seed("evaluate", self.schedule.seed))

    def player(self, sampled: bool | None = None) -> Act:
        """The policy as evaluations play it, the same in each: samples of it, or its most likely actions.

        By default as in training.
        """
        sampled = self.schedule.sampled if sampled is None else sampled
        return partial(Policy(self.model, reset_seed("evaluate", self.schedule.seed)), deterministic=not sampled)

    @property
    def reward(self) -> RecoveredReward:
        """The recovered reward: `run.reward(demos)`; `run.reward.distil(...)` needs no s'.

        Raises:
            InputError: the algorithm learns no reward.
        """
        implied = self.settings.reward(self.model)
        if implied is None:
            raise InputError(f"Algorithm {self.settings.name!r} learns no reward; train with --algorithm iq.")
        pays = -implied.limit if self.origin.ends == 0 else None
        ends = Ends(implied.gamma, implied.absorbing, pays)
        return RecoveredReward(implied.model, ends, self.task, implied.limit)

    @property
    def distances(self) -> list[float]:
        """The occupancy distance of each evaluation that has one."""
        return [d for row in self.rows if (d := row.get("occupancy_distance")) is not None]

    @property
    def drift(self) -> float:
        """The occupancy distance of the last policy divided by that of the best one (`Run.load(DIR, best=True)`)."""
        if len(self.distances) < 2 or self.rows[-1].get("occupancy_distance") is None:
            return 1.0
        return float(max(self.distances[-1], CLOSEST) / max(min(self.distances), CLOSEST))

    def environment(self, env: Any = None) -> Environment:
        """The given environment, else the run's.

        Raises:
            InputError: there is none, or it is of another task.
        """
        own = self.origin.environment
        found = own if env is None else Environment.of(env)
        if found is None:
            raise InputError("The run names no environment; expected one, give it with --env (in Python env=...).")
        if own is not None and not own.named and not found.named and not found.kwargs:
            # A function is given again, because no file holds it. The keyword arguments are those of the run.
            found = replace(found, kwargs=own.kwargs)
        if found.task != self.task:
            raise InputError(f"{found.name} has {found.task}; expected {self.task}, as the run was trained on.")
        return found

    def evaluate(
        self, episodes: int = 20, seed: int = 0, env: Any = None, sampled: bool | None = None
    ) -> Float[np.ndarray, " episodes"]:
        """Undiscounted returns of the policy.

        Args:
            episodes: number of episodes.
            seed: seed of the episodes. They differ from those of training, its evaluations and `iqlearn demos collect`.
            env: another environment of the same task.
            sampled: samples of the policy instead of its most likely actions; by default as in training.

        Raises:
            InputError: no environment is known, or it is of another task.
        """
        with closing(Evaluator(self.environment(env), self.schedule.eval_envs)) as evaluator:
            return evaluator.returns(self.player(sampled), episodes, reset_seed("evaluate", seed))

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the run folder, without a checkpoint.

        Raises:
            InputError: the folder exists and is not empty, unless `overwrite`.
        """
        run_folder.claim(Path(folder), overwrite)
        self.write(Path(folder))
        self.conclude(Path(folder))

    def write(self, folder: Path) -> None:
        """Bring the run folder up to date, file by file. A stop leaves each file old or new."""
        write_tree(folder / run_folder.MODEL, self.model)
        write_json(folder / run_folder.CONFIG, self.config())
        write_rows(folder / run_folder.METRICS, self.rows)
        write_json(folder / run_folder.RESULT, self.result)

    def conclude(self, folder: Path) -> None:
        """Write how the run ended, and draw its curves."""
        write_json(folder / run_folder.RESULT, self.result)
        if self.rows:
            title = f"{self.origin.title} · {self.settings.name} · seed {self.schedule.seed}"
            plots.curves(folder / run_folder.CURVES, self.rows, self.result.get("expert_return"), title)

    def config(self) -> dict[str, Any]:
        """Every setting, as `config.json` holds it."""
        return {
            "settings": to_dict(self.settings),
            "schedule": to_dict(self.schedule),
            "interaction": None if self.interaction is None else to_dict(self.interaction),
            "origin": to_dict(self.origin),
            "task": spec_to_dict(self.task),
            "versions": versions(),
        }

    @classmethod
    def load(cls, folder: str | Path, best: bool = False) -> Run:
        """Read a run folder.

        Args:
            folder: the run folder.
            best: take the policy of the least occupancy distance instead of the last one.

        Raises:
            InputError: it is missing or damaged; the message names the file.
        """
        folder = Path(folder)
        if not (folder / run_folder.CONFIG).is_file() and (inside := run_folder.seeds_in(folder)):
            raise InputError(f"{folder} holds the runs of {len(inside)} seeds; expected one, such as {inside[0]}.")
        config = read_json(folder / run_folder.CONFIG)
        try:
            settings, task = settings_of(config["settings"]), spec_from_dict(config["task"])
            schedule, origin = build(Schedule, config["schedule"]), Origin.from_dict(config["origin"])
            acting = config["interaction"]
            interaction = None if acting is None else build(Interaction, acting)
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{folder / run_folder.CONFIG} is damaged ({error}); expected it as iqlearn train wrote it."
            ) from error
        result, rows = read_json(folder / run_folder.RESULT), read_rows(folder / run_folder.METRICS)
        if any(row.get("step") is None for row in rows):
            raise InputError(f"{folder / run_folder.METRICS} is damaged; expected every row with its step.")
        path = folder / (run_folder.BEST if best else run_folder.MODEL)
        if best and not path.is_file():
            raise InputError(
                f"{folder} keeps no policy beside the last one; expected {run_folder.BEST}, which training writes "
                "where an environment is named; leave --best (in Python best=True) out."
            )
        model = read_tree(path, jax.eval_shape(lambda: blank_model(settings, task)))
        return cls(settings, schedule, origin, task, model, interaction, rows, result)


def blank_model(settings: Algorithm, task: TaskSpec) -> SoftQ:
    """A model of the shapes that a run with these settings has."""
    encoder = encoders.blank(task.obs, settings.scaling, settings.saturation)
    return settings.policy(settings.init(task, encoder, jr.key(0)))
