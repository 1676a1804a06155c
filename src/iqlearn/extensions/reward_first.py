"""The base of extensions that find a reward before they learn Q, and the tests of whether a clone can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from iqlearn.algorithms.base import Behaviour, Extension
from iqlearn.data.demos import Demos
from iqlearn.data.inspection import following
from iqlearn.errors import InputError, require, require_positive
from iqlearn.networks import encoders
from iqlearn.networks.gaussian_process import expert_process
from iqlearn.networks.reward import SATURATION
from iqlearn.networks.soft_q import SoftQ
from iqlearn.types import ActionScale, TaskSpec

TRUSTED = 0.1
"""Largest leave-one-out error of the expert's actions, as a share of their standard deviation, at which `recommended`
trusts a clone."""
HOPELESS = 0.3
"""Leave-one-out error above which `recommended` expects a clone to be of no use, in a recording of whole episodes."""
MOST = 20_000
"""Number of transitions above which a clone is trusted without a test by the Gaussian process."""


@dataclass(frozen=True)
class RewardFirst(Extension):
    """A reward of states that is found before the first update. Q follows by soft Bellman backups. Online only."""

    steps: int = 5_000
    """Environment steps before the first reward, or those of `action_inference` if they are more. Without
    `action_inference` the share of random actions falls from 1 to 0 over these steps."""

    needs: ClassVar[tuple[str, ...]] = ("reward",)
    gives_reward: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "steps")

    @property
    def phase(self) -> int:
        """Environment steps before the first reward."""
        return self.steps

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse offline runs, and a changed divergence or form, because the given reward replaces the objective."""
        super().check(algorithm, online, steps)
        if not online:
            raise InputError(f"Extension {self.name} needs states of the learner; expected an online run.")
        require(
            (algorithm.divergence, algorithm.form) == ("chi2_mixture", "inverse"),
            "divergence and form",
            (algorithm.divergence, algorithm.form),
            f"chi2_mixture and inverse with {self.name}, which takes the place of the objective",
        )

    def behaviour(self, aux: Any, model: SoftQ, done: int) -> Behaviour | None:
        """Act with the policy and a share of random actions that falls from 1 to 0 over `steps`."""
        return Behaviour(model, random=1.0 - done / self.steps) if done < self.steps else None

    @classmethod
    def fits(cls, algorithm: Any, online: bool) -> bool:
        """Return whether `recommended` considers the extension."""
        objective = online and "actor_loss" in algorithm.hooks
        return objective and (algorithm.divergence, algorithm.form) == ("chi2_mixture", "inverse")


def hopeless(error: float, demos: Demos) -> bool:
    """Return whether a clone is expected to be of no use, given the leave-one-out error of the expert's actions.

    Sub-sampled recordings never count as hopeless, because the distance between their rows alone makes the error large.
    """
    return error > HOPELESS and 2 * int(following(demos).sum()) > len(demos)


def leave_one_out_error(demos: Demos, task: TaskSpec) -> float | None:
    """Return the error of a Gaussian process that predicts each of the expert's actions from the others, as a share of
    the actions' standard deviation.

    None where there are more than 20,000 transitions.
    """
    if len(demos) > MOST:
        return None
    seen = jax.tree.map(lambda *parts: np.concatenate(parts), demos.obs, demos.next_obs)
    encoder = encoders.fit(task.obs, seen, "standard", SATURATION)
    scale, action = ActionScale(task), jnp.asarray(demos.actions, jnp.float32)
    return expert_process(encoder(demos.obs), scale.to_unit(action), scale.unit_limits).leave_one_out_error
