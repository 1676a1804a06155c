"""Reward regression: find a reward first, with the policy fixed, and learn Q from it by soft Bellman backups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from iqlearn.algorithms.base import Extension, Now, TrainState
from iqlearn.data.demos import Demos
from iqlearn.data.sources import Demonstrations, Source
from iqlearn.errors import require_positive
from iqlearn.extensions import reward_first
from iqlearn.extensions.reward_first import MOST, TRUSTED, RewardFirst, hopeless
from iqlearn.networks import encoders
from iqlearn.networks.reward import SATURATION, RewardNet, Seen, contrast
from iqlearn.types import PRNGKey, TaskSpec, Transitions


@dataclass(frozen=True)
class RewardRegression(RewardFirst):
    """A reward of states that is regressed once: r_max on the expert's states, −r_max on states that the
    learner visited before the first update.

    It solves LS-IQ's objective (equation 12) with the policy fixed, with a penalty on its slope. Q follows by soft
    Bellman backups. Online only.
    """

    updates: int = 20_000
    """Updates of the reward network."""

    name: ClassVar[str] = "reward_regression"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "updates")

    @classmethod
    def suggest(
        cls, demos: Demos, task: TaskSpec, algorithm: Any, online: bool, steps: int
    ) -> tuple[Extension | None, str]:
        """Suggest the extension where a clone cannot be trusted: no actions, or a large leave-one-out error.

        Where the error is so large that a clone is hopeless, `EnergyReward` is suggested instead.
        """
        if not cls.fits(algorithm, online):
            return None, ""
        enough = steps >= 2 * cls.steps
        if algorithm.state_only:
            return (cls(), f"{cls.name}, because actions are inferred") if enough else (None, "")
        error = reward_first.leave_one_out_error(demos, task)
        if error is None:
            return None, f"no {cls.name}, because there are more than {MOST:,} transitions"
        told = f"the leave-one-out error of the expert's actions is {error:.3f} of their standard deviation"
        if error <= TRUSTED:
            return None, f"no {cls.name}, because {told}, at most {TRUSTED}"
        if not enough:
            short = f"it takes {2 * cls.steps:,} steps, although {told}, above {TRUSTED}"
            return None, f"no {cls.name}, because {short}"
        if hopeless(error, demos):
            return None, ""
        return cls(), f"{cls.name}, because {told}, above {TRUSTED}"

    def begin(self, task: TaskSpec, algorithm: Any, state: TrainState, demos: Demonstrations, key: PRNGKey) -> Any:
        """Return an untrained reward network."""
        encoder = encoders.blank(task.obs, "standard", SATURATION)
        return {"net": RewardNet(task, encoder, False, algorithm.limit, key)}

    def reward(self, aux: Any, rows: Transitions) -> Float[Array, " n"]:
        """Return the regressed reward of each transition."""
        return aux["net"](rows.obs, rows.action)

    def wakes(self, before: int, done: int, phase: int) -> bool:
        """Return whether the phase before the first update has just ended."""
        return before < phase <= done

    def after_round(self, now: Now) -> tuple[TrainState, Source, dict[str, float]]:
        """Regress the reward on the expert's states and those that the learner has visited."""
        expert, met = now.demos.expert(), now.source.replay.newest(now.done)
        rng_key, fit_key = jr.split(now.key)
        rng = np.random.default_rng(np.asarray(jr.key_data(rng_key)))
        sides = Seen(expert.obs, expert.action), Seen(met.obs, met.action)
        net = contrast(now.state.aux[self.name]["net"], *sides, rng, fit_key, self.updates)
        return replace(now.state, aux=now.state.aux | {self.name: {"net": net}}), now.source, {}
