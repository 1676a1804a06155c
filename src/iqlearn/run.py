"""A run: what was learnt, from what, how, and how well. The object that `learn` returns and a run folder holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from iqlearn import plots, records
from iqlearn.algorithms import Imitator, TrainState, imitator
from iqlearn.data import Demos
from iqlearn.errors import InputError
from iqlearn.evaluation import Evaluator, recovered
from iqlearn.models import DiscreteSoftQ, Policy
from iqlearn.records import Row
from iqlearn.settings import BC, IQLearn, Schedule, from_dict, to_dict
from iqlearn.types import ObservationScale, PRNGKey, TaskSpec, Transitions


@dataclass(frozen=True)
class Origin:
    """What a run learnt from."""

    env: str | None
    """Gymnasium id of the environment it is evaluated in, if any."""
    demos: str
    """Where the demonstrations came from."""
    sha256: str
    """Fingerprint of what the learner saw of them."""
    transitions: int
    episodes: int
    trajectories: int | None = None
    """`--trajectories`, if the run was started from the command line."""
    subsample: int = 1
    path: str | None = None
    """The file, if it was one."""
    dynamics_error: float | None = None
    """Leave-one-out error of the linear model of the dynamics (see `Imagination`); none where it does not apply."""


@dataclass(frozen=True)
class Run:
    """A trained policy and its reward, with everything needed to repeat or continue the training.

    >>> run = iq.learn(iq.IQLearn(), demos, seed=0)
    >>> run.policy(obs), run.reward(demos.transitions), run.save("runs/cartpole")
    """

    settings: IQLearn | BC
    schedule: Schedule
    origin: Origin
    spec: TaskSpec
    state: TrainState
    rows: list[Row] = field(default_factory=list)
    """The metrics, one row an evaluation."""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def imagines(self) -> bool:
        """Whether the learner acts in a model of the dynamics."""
        return imagines(self.settings, self.origin)

    @property
    def model(self) -> DiscreteSoftQ:
        return self.state.model

    @property
    def policy(self) -> Policy:
        """Acts on observations: `run.policy(obs)`, or `run.policy.predict(obs)` as in Stable-Baselines3."""
        return Policy(self.model, self.schedule.seed)

    def reward(self, transitions: Transitions | Demos) -> Float[np.ndarray, " n"]:
        """The recovered reward r(s,a,s') = Q(s,a) − γ(1−d)·V(s') of each transition.

        Raises:
            InputError: the algorithm learns no reward (behavioural cloning).
        """
        if not isinstance(self.settings, IQLearn):
            raise InputError(f"Algorithm {self.settings.name!r} learns no reward; train with --algorithm iq.")
        if isinstance(transitions, Demos):
            transitions.check_task(self.spec, "the run")
            transitions = transitions.transitions
        return recovered(self.model, transitions, self.settings.gamma)

    def evaluate(
        self, episodes: int = 20, seed: int = 0, env: str | None = None, sampled: bool | None = None
    ) -> Float[np.ndarray, " episodes"]:
        """Returns of the policy; episode i starts from reset seed `seed + i`. `sampled` as in `Schedule`.

        Raises:
            InputError: no environment is known.
        """
        env = env or self.origin.env
        if env is None:
            raise InputError("The run names no environment; expected one, give it with --env.")
        evaluator = Evaluator(env)
        try:
            sampled = self.schedule.sampled if sampled is None else sampled
            return evaluator.returns(partial(self.policy, deterministic=not sampled), episodes, seed)
        finally:
            evaluator.close()

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the run folder.

        Raises:
            InputError: the folder exists and is not empty, unless `overwrite`.
        """
        folder = Path(folder)
        records.claim(folder, overwrite)
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Bring the run folder up to date, file by file; a stop leaves each one old or new. Curves come at the end."""
        records.write_tree(folder / records.MODEL, self.model)
        records.write_json(folder / records.CONFIG, self.config())
        records.write_rows(folder / records.METRICS, self.rows)
        if self.rows and self.result["status"] != "running":
            title = f"{self.origin.env or self.origin.demos} · {self.settings.name} · seed {self.schedule.seed}"
            plots.curves(folder / records.CURVES, self.rows, self.result.get("expert_return"), title)
        records.write_json(folder / records.RESULT, self.result)
        records.write_tree(folder / records.CHECKPOINT, self.state)

    def config(self) -> dict[str, Any]:
        """Every setting, as `config.json` holds it."""
        return {
            "settings": to_dict(self.settings),
            "schedule": to_dict(self.schedule),
            "origin": to_dict(self.origin),
            "spec": self.spec._asdict(),
            "versions": records.versions(),
        }

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run folder.

        Raises:
            InputError: it is missing or damaged; names the file.
        """
        folder = Path(folder)
        config = records.read_json(folder / records.CONFIG)
        try:
            settings = from_dict(config["settings"])
            schedule, origin = Schedule(**config["schedule"]), Origin(**config["origin"])
            spec = TaskSpec(tuple(config["spec"]["obs_shape"]), config["spec"]["actions"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{folder / records.CONFIG} is damaged ({error}); expected it as iqlearn train wrote it."
            ) from error
        if not isinstance(settings, IQLearn | BC):
            raise InputError(f"{folder} holds an expert ({settings.name}); expected a run of iq or bc.")
        like = jax.eval_shape(
            lambda: initial_state(settings, spec, schedule.seed, unit_scale(spec), imagines(settings, origin))
        )
        state = records.read_tree(folder / records.CHECKPOINT, like)
        done = int(state.step)
        rows = [row for row in records.read_rows(folder / records.METRICS) if (row["step"] or 0) <= done]
        return cls(
            settings,
            schedule,
            origin,
            spec,
            state=state,
            rows=rows,
            result=records.read_json(folder / records.RESULT),
        )


@partial(jax.jit, static_argnames=("algorithm", "spec"))
def init(algorithm: Imitator, spec: TaskSpec, scale: ObservationScale, key: PRNGKey) -> TrainState:
    """`algorithm.init` as one program."""
    return algorithm.init(spec, scale, key)


def imagines(settings: IQLearn | BC, origin: Origin) -> bool:
    """Whether the model of the dynamics is good enough for the learner to act in it."""
    error = origin.dynamics_error
    return isinstance(settings, IQLearn) and error is not None and error < settings.imagination.error_limit


def initial_state(
    settings: IQLearn | BC, spec: TaskSpec, seed: int, scale: ObservationScale, imagines: bool
) -> TrainState:
    """The state before the first update, from the seed alone; its particles have yet to begin."""
    state = init(imitator(settings, imagines), spec, scale, keys_of(seed)[0])
    if not imagines or not isinstance(settings, IQLearn):
        return state
    return replace(state, particles=jnp.zeros((settings.imagination.particles, *spec.obs_shape)))


def keys_of(seed: int) -> tuple[PRNGKey, PRNGKey, PRNGKey]:
    """The keys of the initial weights, of the first particles, and of the updates."""
    init_key, particle_key, train_key = jr.split(jr.key(seed), 3)
    return init_key, particle_key, train_key


def unit_scale(spec: TaskSpec) -> ObservationScale:
    """A scale that leaves observations as they are."""
    return ObservationScale(jnp.zeros(spec.obs_shape), jnp.eye(math.prod(spec.obs_shape)))
