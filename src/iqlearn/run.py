"""A run: what was learnt, from what, how, and how well. The object that `learn` returns and a run folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from iqlearn import folders, plots, records
from iqlearn.algorithms import Algorithm, InverseSoftActorCritic, InverseSoftQ, TrainState, algorithm
from iqlearn.envs.gym import task_spec
from iqlearn.errors import InputError
from iqlearn.evaluation import Evaluator
from iqlearn.evaluation.returns import Act
from iqlearn.evaluation.rewards import Ends
from iqlearn.models import Policy, SoftQModel
from iqlearn.records import Row
from iqlearn.reward import RecoveredReward
from iqlearn.settings import Interaction, Schedule, Settings, from_dict, to_dict
from iqlearn.settings.serial import build
from iqlearn.start import Origin, imagines, initial_state, unit_scale
from iqlearn.types import TaskSpec

CLOSEST = 1e-6
"""Distances to the expert's states below this are alike: `metrics.csv` keeps six digits."""


@dataclass(frozen=True)
class Run:
    """A trained policy and its reward, with everything needed to repeat the training. To continue it takes the run
    folder (`out=`), `resume`, and the demonstrations.

    >>> run = iq.learn(iq.IQLearn(), demos, seed=0)
    >>> run.policy(obs), run.reward(demos.transitions), run.save("runs/cartpole")
    """

    settings: Settings
    schedule: Schedule
    origin: Origin
    spec: TaskSpec
    state: TrainState
    interaction: Interaction | None = None
    """How the learner acts in the environment; none offline."""
    rows: list[Row] = field(default_factory=list)
    """The metrics, one row an evaluation."""
    result: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        earned = self.result.get("mean_return")
        told = self.result.get("status", "not begun") + ("" if earned is None else f", return {earned:.1f}")
        return (
            f"<Run {self.settings.name} on {self.origin.env or self.origin.demos}, seed {self.schedule.seed}: {told}>"
        )

    @property
    def imagines(self) -> bool:
        """Whether the learner acts in a model of the dynamics."""
        return imagines(self.settings, self.origin, self.interaction)

    @property
    def algorithm(self) -> Algorithm:
        """What updates the state."""
        return algorithm(self.settings, self.imagines or self.interaction is not None)

    @property
    def model(self) -> SoftQModel:
        """What acts and judges: the Q-function, with continuous actions its averaged actor too."""
        return self.algorithm.answer(self.state)

    @cached_property
    def policy(self) -> Policy:
        """Acts on observations: `run.policy(obs)`, or `run.policy.predict(obs)` as in Stable-Baselines3. One for all
        calls, so that each sample of it is a new one."""
        return Policy(self.model, self.schedule.seed)

    @property
    def played(self) -> Act:
        """The policy as evaluations play it, its most likely actions or samples (`Schedule.sampled`), always the same
        ones."""
        return partial(Policy(self.model, self.schedule.seed), deterministic=not self.schedule.sampled)

    @property
    def reward(self) -> RecoveredReward:
        """The recovered reward, to call on transitions: `run.reward(demos)`; `run.reward.distil(...)` needs no s'.

        Raises:
            InputError: the algorithm learns no reward (behavioural cloning, experts).
        """
        learner = self.algorithm
        if not isinstance(learner, InverseSoftQ | InverseSoftActorCritic):
            raise InputError(f"Algorithm {self.settings.name!r} learns no reward; train with --algorithm iq.")
        limit = learner.settings.reward_limit
        ends = Ends(learner.settings.gamma, learner.end_value > 0.0, -limit if self.origin.ends == 0 else None)
        return RecoveredReward(self.model, ends, self.spec, limit)

    @property
    def drift(self) -> float:
        """How many times as far from the expert's the last policy's states are as those of the one that is kept beside
        it (`Run.load(DIR, best=True)`). 1 where they are the same policy, or nothing was measured."""
        distances = [d for row in self.rows if (d := row.get("occupancy_distance")) is not None]
        if len(distances) < 2 or self.rows[-1].get("occupancy_distance") is None:
            return 1.0
        *_, last = distances
        return float(max(last, CLOSEST) / max(min(distances), CLOSEST))

    def evaluate(
        self, episodes: int = 20, seed: int = 0, env: str | None = None, sampled: bool | None = None
    ) -> Float[np.ndarray, " episodes"]:
        """Returns of the policy; episode i starts from reset seed `seed + i`. `sampled` as in `Schedule`.

        Raises:
            InputError: no environment is known, or it is another task.
        """
        env = env or self.origin.env
        if env is None:
            raise InputError("The run names no environment; expected one, give it with --env.")
        if (spec := task_spec(env)) != self.spec:
            raise InputError(f"{env} has {spec}; the run's policy is for {self.spec}.")
        evaluator = Evaluator(env)
        try:
            schedule = self.schedule if sampled is None else replace(self.schedule, sampled=sampled)
            return evaluator.returns(replace(self, schedule=schedule).played, episodes, seed)
        finally:
            evaluator.close()

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the run folder.

        Raises:
            InputError: the folder exists and is not empty, unless `overwrite`.
        """
        folder = Path(folder)
        folders.claim(folder, overwrite)
        self.write(folder)

    def write(self, folder: Path, more: Mapping[str, Any] | None = None) -> None:
        """Bring the run folder up to date, file by file; a stop leaves each one old or new. Curves come at the end.

        `more`: what a checkpoint needs beside the state.
        """
        records.write_tree(folder / records.MODEL, self.model)
        records.write_json(folder / records.CONFIG, self.config())
        records.write_rows(folder / records.METRICS, self.rows)
        records.write_json(folder / records.RESULT, self.result)
        records.write_tree(folder / records.CHECKPOINT, self.state, more)
        if self.result.get("status") != "running":
            self.conclude(folder)

    def conclude(self, folder: Path) -> None:
        """Write how the run ended, and draw its curves; the checkpoint stays."""
        records.write_json(folder / records.RESULT, self.result)
        if self.rows:
            title = f"{self.origin.env or self.origin.demos} · {self.settings.name} · seed {self.schedule.seed}"
            plots.curves(folder / records.CURVES, self.rows, self.result.get("expert_return"), title)

    def write_best(self, folder: Path) -> None:
        """Keep the policy of now beside the last one."""
        records.write_tree(folder / records.BEST, self.model)

    def config(self) -> dict[str, Any]:
        """Every setting, as `config.json` holds it."""
        return {
            "settings": to_dict(self.settings),
            "schedule": to_dict(self.schedule),
            "interaction": None if self.interaction is None else to_dict(self.interaction),
            "origin": to_dict(self.origin),
            "spec": records.spec_to_dict(self.spec),
            "versions": records.versions(),
        }

    @classmethod
    def load(cls, folder: str | Path, best: bool = False) -> Run:
        """Read a run folder. `best`: its policy is the one that was closest to the expert, not the last one.

        Without `checkpoint.safetensors`, which only going on with training needs, policy and reward are there all the
        same.

        Raises:
            InputError: it is missing or damaged; names the file.
        """
        folder = Path(folder)
        if not (folder / records.CONFIG).is_file() and (inside := folders.seeds_in(folder)):
            raise InputError(
                f"{folder} holds the runs of {len(inside)} seeds; expected one, such as {folder / inside[0]}."
            )
        config = records.read_json(folder / records.CONFIG)
        try:
            settings = from_dict(config["settings"])
            schedule, origin = Schedule(**config["schedule"]), Origin(**config["origin"])
            acting = config.get("interaction")
            interaction = None if acting is None else build(Interaction, acting)
            spec = records.spec_from_dict(config["spec"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / records.CONFIG} is damaged ({error}); expected it as iqlearn train wrote it."
            ) from error
        like = jax.eval_shape(lambda: initial_state(settings, spec, 0, unit_scale(settings, spec), origin, interaction))
        result, rows = records.read_json(folder / records.RESULT), records.read_rows(folder / records.METRICS)
        if any(row.get("step") is None for row in rows):
            raise InputError(f"{folder / records.METRICS} is damaged; expected every row with its step.")
        if (folder / records.CHECKPOINT).is_file():
            try:
                state = records.read_tree(folder / records.CHECKPOINT, like)
            except InputError as error:
                raise InputError(
                    f"{error} Without that file the run still acts and judges, but goes on no more."
                ) from error
            acted = None if interaction is None else records.read_number(folder / records.CHECKPOINT, "env_steps")
            done = int(state.step) if interaction is None else acted
            rows = rows if done is None else [row for row in rows if (row["step"] or 0) <= done]
        else:
            state = without_training(like, int(result.get("updates", 0)))
        run = cls(settings, schedule, origin, spec, state, interaction, rows, result)
        if not best and (folder / records.CHECKPOINT).is_file():
            return run
        path = folder / (records.BEST if best else records.MODEL)
        if best and not path.is_file():
            raise InputError(
                f"{folder} keeps no policy beside the last one; expected {records.BEST}, which training writes as it "
                "goes where an environment is named; leave --best out."
            )
        model = records.read_tree(path, jax.eval_shape(lambda: run.model))
        return replace(run, state=replace(state, model=model, target=model))


def without_training(like: TrainState, updates: int) -> TrainState:
    """A state of that shape after so many updates, of which nothing else is known yet."""
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    return replace(state, step=jnp.int32(updates))


__all__ = ["Origin", "Run"]
