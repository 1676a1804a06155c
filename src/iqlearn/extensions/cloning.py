"""Behavioural cloning pretraining of the actor, a cloning term in its loss, and policy regularisation to the clone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from iqlearn.algorithms.base import Behaviour, Extension, Now, Rows, TrainState
from iqlearn.algorithms.bc import clone
from iqlearn.algorithms.common import stop, with_actor
from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations
from iqlearn.errors import require, require_not_negative
from iqlearn.extensions.energy_reward import EnergyReward
from iqlearn.networks.gaussian_process import GaussianProcess, expert_process
from iqlearn.networks.soft_q import SoftQ
from iqlearn.types import Metrics, Obs, PRNGKey, Scalar, TaskSpec

NEIGHBOURS = 32_768
"""Number of made-up states, and also of the expert's own rows beside them."""
NEAREST = 0.05
"""Smallest size of the noise of a made-up state, as a share of `reach`."""
ENOUGH = 20_000
"""Number of transitions above which the Gaussian process is not used: a network clones them well without it."""


@dataclass(frozen=True)
class Cloning(Extension):
    """Begin with an actor that is cloned from the demonstrations, and keep it near them.

    States around the expert's get the actions that a Gaussian process predicts there, so that the clone returns to the
    expert's path. For continuous actions.
    """

    updates: int = 20_000
    """Largest number of updates of behavioural cloning, before the first update of the method. They end early when the
    error stops falling. 0 begins with random weights, and needs `regularisation` 0."""
    reach: float = 0.5
    """Largest noise that is added to the expert's states to make further examples: its standard deviation, as a share
    of each coordinate's own. A Gaussian process predicts their actions. 0 clones the expert's own transitions only."""
    weight: float = 20.0
    """Weight of the squared error of the expert's actions in the actor's loss."""
    regularisation: float = 1.0
    """Weight of the squared distance to the clone's action in the learner's states. A state has the weight 1 + r/r_max
    of its reward, clipped to [0, 1] (trust). It needs `updates` above 0."""

    name: ClassVar[str] = "cloning"
    needs: ClassVar[tuple[str, ...]] = ("actor_loss",)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "updates", "reach", "weight", "regularisation")
        regularised = self.updates > 0 or self.regularisation == 0.0
        require(regularised, "cloning.regularisation", self.regularisation, "0 without cloning.updates")
        require(self.updates > 0 or self.weight > 0.0, "cloning.weight", self.weight, "above 0 without cloning.updates")

    @property
    def pretrains(self) -> bool:
        """Whether there are updates of behavioural cloning."""
        return self.updates > 0

    @property
    def guards(self) -> bool:
        """Whether there is a clone that training should stay near: not if it is only the start (both weights are 0)."""
        return self.pretrains and (self.weight > 0.0 or self.regularisation > 0.0)

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse policy regularisation offline, where the learner visits no states, and cloning without actions."""
        begins = self.weight == 0.0 and self.regularisation == 0.0  # it only pretrains
        if not (begins and "actor" in algorithm.hooks):
            super().check(algorithm, online, steps)
        require(online or self.regularisation == 0.0, "cloning.regularisation", self.regularisation, "0 offline")
        labelled = not algorithm.state_only or any(extension.gives_actions for extension in algorithm.extensions)
        require(labelled, "extensions", self.name, "no cloning with state_only, or action_inference before it")

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Suggest cloning for continuous actions where the expert's actions are known or inferred. Together with
        `EnergyReward`, suggest a small cloning term without pretraining."""
        if "actor_loss" not in algorithm.hooks or (algorithm.state_only and not online):
            return None, ""
        if EnergyReward.suggest(demos, task, algorithm, online, steps)[0] is not None:
            return cls(updates=0, weight=1.0, regularisation=0.0), "cloning as a term of the actor's loss alone"
        return (
            cls() if online else cls(weight=1_000.0, regularisation=0.0)
        ), "cloning, because the expert's actions are known or inferred"

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """Return the clone that policy regularisation compares with: at first the untrained actor."""
        return {"clone": state.model.actor} if self.regularisation > 0.0 else {}

    def prepare(self, now: Now) -> TrainState:
        """Clone the demonstrations, unless their actions are unknown."""
        if self.updates == 0 or not now.labelled:
            return now.state
        told = f"cloning the expert, at most {self.updates:,} updates (cloning.updates)"
        now.tell(told, 0.0)
        expert, model = now.demos.expert(), now.state.model
        obs, action = expert.obs, np.asarray(expert.action)
        noise_key, fit_key = jr.split(now.key)
        if self.reach > 0.0 and len(action) <= ENOUGH:
            rng = np.random.default_rng(np.asarray(jr.key_data(noise_key)))
            unit = model.actions.to_unit(jnp.asarray(action))
            process = expert_process(model.encoder(obs), unit, model.actions.unit_limits)
            obs, action = self.with_neighbours(model, obs, action, process, rng)
        actor, _ = clone(model, obs, action, fit_key, self.updates, partial(now.tell, told))
        state = with_actor(now.state, actor)
        return replace(state, aux=state.aux | {self.name: {"clone": actor} if self.regularisation > 0.0 else {}})

    def with_neighbours(
        self, model: Any, obs: Obs, action: np.ndarray, process: GaussianProcess, rng: np.random.Generator
    ) -> tuple[Obs, np.ndarray]:
        """Return expert rows, followed by made-up states near expert states with the actions that the process predicts.

        Expert rows are drawn with replacement, so rows that `clone` holds out are also among those that it fits. The
        error on them says when the fit has converged, not how well the clone generalises.

        A made-up state is an expert's state with normal noise. The size of the noise, in standard deviations of each
        coordinate, is log-uniform up to `reach`.
        """
        size = len(action)
        own, near = rng.integers(size, size=NEIGHBOURS), rng.integers(size, size=NEIGHBOURS)
        length = self.reach * NEAREST ** rng.random(NEIGHBOURS)

        def moved(part: Any) -> np.ndarray:
            part = np.asarray(part)
            if part.dtype.kind != "f":  # categories and pixels stay as they are
                return part[near]
            noise = part.std(axis=0) * rng.normal(size=(NEIGHBOURS, *part.shape[1:]))
            return (part[near] + length.reshape(-1, *[1] * (part.ndim - 1)) * noise).astype(part.dtype)

        made_up = jax.tree.map(moved, obs)
        inputs = np.asarray(model.encoder(made_up), np.float64)
        guided = np.asarray(model.actions.to_env(jnp.asarray(process(inputs), jnp.float32)))
        states = jax.tree.map(lambda part, new: np.concatenate([np.asarray(part)[own], new]), obs, made_up)
        return states, np.concatenate([action[own], guided])

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """Act with the clone from the first step on."""
        return Behaviour(model) if self.updates > 0 else None

    def actor_loss(self, aux: Any, rows: Rows) -> tuple[Scalar, Metrics]:
        """weight·E_E|a − mode|² + regularisation·E[trust·|clone's action − mode|²] over the learner's rows."""
        n = rows.experts
        distance = rows.policy.distance(rows.unit)
        loss, metrics = self.weight * jnp.mean(distance[:n]), {}
        if self.regularisation > 0.0 and len(rows.inputs) > n:
            visited = rows.policy.after(n)
            mean, _ = jnp.split(stop(aux["clone"])(rows.inputs[n:]), 2, axis=-1)
            away = visited.distance(eqx.tree_at(lambda policy: policy.mean, visited, mean).mode)
            loss += self.regularisation * jnp.mean(rows.trust[n:] * away)
            metrics["clone_distance"] = jnp.mean(away)
        return loss, metrics
