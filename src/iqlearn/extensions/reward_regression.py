"""Reward regression: find a reward first, with the policy fixed, and learn Q from it by soft Bellman backups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Behaviour, Extension, Now, TrainState
from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import InputError, require, require_positive
from iqlearn.networks import encoders
from iqlearn.networks.gaussian_process import expert_process
from iqlearn.networks.reward import SATURATION, RewardNet, Seen, contrast
from iqlearn.networks.soft_q import SoftQ
from iqlearn.types import ActionScale, PRNGKey, TaskSpec, Transitions

ERROR_LIMIT = 0.1
"""Leave-one-out error of the expert's actions, as a share of their standard deviation, up to which `recommended` trusts
a clone."""
MOST = 20_000
"""Transitions from which on a clone is trusted without asking the Gaussian process."""


@dataclass(frozen=True)
class RewardRegression(Extension):
    """A reward of states that is regressed once: r_max on the expert's states, −r_max on states that the
    learner visited before the first update.

    It solves LS-IQ's objective (equation 12) with the policy fixed, with a penalty on its slope. Q follows by soft
    Bellman backups. Online only.
    """

    steps: int = 5_000
    """Environment steps before the regression, or those of `action_inference` if they are more. Without
    `action_inference` the share of random actions falls from 1 to 0 over these steps."""
    updates: int = 20_000
    """Updates of the reward network."""

    name: ClassVar[str] = "reward_regression"
    needs: ClassVar[tuple[str, ...]] = ("reward",)
    gives_reward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "steps", "updates")

    @property
    def phase(self) -> int:
        """The steps before the regression."""
        return self.steps

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse offline runs, and settings of an objective that the given reward replaces."""
        super().check(algorithm, online, steps)
        if not online:
            raise InputError(f"Extension {self.name} needs states of the learner; expected an online run.")
        require(
            (algorithm.divergence, algorithm.form) == ("chi2_mixture", "inverse"),
            "divergence and form",
            (algorithm.divergence, algorithm.form),
            f"chi2_mixture and inverse with {self.name}, which takes the place of the objective",
        )

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Find the reward first where a clone cannot be trusted: no actions, or a large leave-one-out error."""
        fits = online and "actor_loss" in algorithm.hooks
        if not fits or (algorithm.divergence, algorithm.form) != ("chi2_mixture", "inverse"):
            return None, ""
        enough = steps >= 2 * cls.steps
        if algorithm.state_only:
            return (cls(), "reward_regression, because actions are inferred") if enough else (None, "")
        error = leave_one_out_error(demos, task)
        if error is None:
            return None, f"no reward_regression, because there are more than {MOST:,} transitions"
        told = f"the leave-one-out error of the expert's actions is {error:.3f} of their standard deviation"
        if error <= ERROR_LIMIT:
            return None, f"no reward_regression, because {told}, at most {ERROR_LIMIT}"
        if not enough:
            return (
                None,
                f"no reward_regression, because it takes {2 * cls.steps:,} steps, although {told}, above {ERROR_LIMIT}",
            )
        return cls(), f"reward_regression, because {told}, above {ERROR_LIMIT}"

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """A reward network before its regression."""
        encoder = encoders.blank(task.obs, "standard", SATURATION)
        return {"net": RewardNet(task, encoder, False, algorithm.limit, key)}

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """Act at random at first, then more and more with the policy."""
        return Behaviour(model, random=1.0 - done / self.steps) if done < self.steps else None

    def reward(self, aux: Any, rows: Transitions) -> Float[Array, " n"]:
        """The regressed reward."""
        return aux["net"](rows.obs, rows.action)

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Once, when the phase before the first update is over."""
        return before < phase <= done

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """Regress the reward."""
        expert, met = now.demos.expert(), now.source.replay.newest(now.done)
        rng_key, fit_key = jr.split(now.key)
        rng = np.random.default_rng(np.asarray(jr.key_data(rng_key)))
        sides = Seen(expert.obs, expert.action), Seen(met.obs, met.action)
        net = contrast(now.state.aux[self.name]["net"], *sides, rng, fit_key, self.updates)
        return replace(now.state, aux=now.state.aux | {self.name: {"net": net}}), now.source, {}


def leave_one_out_error(demos: Demos, task: TaskSpec) -> float | None:
    """The error of each of the expert's actions when a Gaussian process predicts it from the others, as a share of the
    actions' standard deviation.

    None where there are too many transitions to ask.
    """
    if len(demos) > MOST:
        return None
    seen = jax.tree.map(lambda *parts: np.concatenate(parts), demos.obs, demos.next_obs)
    encoder = encoders.fit(task.obs, seen, "standard", SATURATION)
    scale, action = ActionScale(task), jnp.asarray(demos.actions, jnp.float32)
    return expert_process(encoder(demos.obs), scale.to_unit(action), scale.unit_limits).leave_one_out_error()
