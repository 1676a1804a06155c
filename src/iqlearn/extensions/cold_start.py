"""A start from random weights: critics that begin at the lowest value, and a guard from the first good policy on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx

from iqlearn.algorithms.base import Extension, Now, TrainState
from iqlearn.errors import require


@dataclass(frozen=True)
class ColdStart(Extension):
    """Begin from random weights, without a clone, with critics that give every action −r_max/(1−γ).

    A learner that is very unlike the expert earns −r_max in each step, so this is the value of its own states. Critics
    that begin near 0 only fall to this value slowly, because of their target critics, and the reward is wrong until
    then. For continuous actions, online.
    """

    guard: bool = True
    """If the policy's states were close to the expert's and later are not, go back to the best policy, with smaller
    learning rates."""

    name: ClassVar[str] = "cold_start"
    needs: ClassVar[tuple[str, ...]] = ("critics",)
    suits: ClassVar[dict[str, Any]] = {
        "gamma": 0.99,
        "target_rate": 0.005,
        "decay_after": 30_000,
        "next_policy": "live",
        "clip_value": False,
    }

    @property
    def guards(self) -> bool:
        """Whether the guard is on."""
        return self.guard

    def check(self, algorithm: Any, online: bool, steps: int) -> None:
        """Refuse the extension offline, with pretraining, and with a given reward, which has another range."""
        super().check(algorithm, online, steps)
        require(online, "extensions", self.name, "mode online, or no cold_start")
        others = [part.name for part in algorithm.extensions if part.pretrains or part.gives_reward]
        require(not others, "extensions", f"{self.name}, {', '.join(others)}", f"{self.name} or {' and '.join(others)}")

    def prepare(self, now: Now) -> TrainState:
        """Return the state with critics, and target critics if any, that begin at the lowest value −r_max/(1−γ)."""
        state, bound = now.state, now.algorithm.value_bound
        critic = eqx.tree_at(lambda c: c.members.layers[-1].bias, state.model.critic, replace_fn=lambda b: b - bound)
        slow = state.target if state.target.critic is None else state.target._replace(critic=critic)
        return replace(state, model=eqx.tree_at(lambda m: m.critic, state.model, critic), target=slow)
