"""How far a reward sets the expert apart from a policy: figures of an evaluation, which read no true reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from iqlearn.data.demos import Demos
from iqlearn.evaluation.occupancy import Visited, demonstrated, timeline, visited
from iqlearn.evaluation.returns import Episode
from iqlearn.rewards.base import Rewards
from iqlearn.rewards.recovered import RecoveredReward
from iqlearn.types import Transitions


class Steps(NamedTuple):
    """At most 1,000 steps, evenly spread over episodes. After a true end an episode stays in an absorbing state up to
    the horizon, so that one that ends too early, or too late, differs from the expert's."""

    transitions: Transitions
    """Of a step in the absorbing state the last transition of its episode."""
    absorbed: Bool[np.ndarray, " n"]
    """Which steps are in the absorbing state."""

    @classmethod
    def of(cls, transitions: Transitions, states: Visited, horizon: int) -> Steps:
        """Steps of these transitions. `horizon`: steps of an episode that meets its time limit; 0 leaves true ends
        out."""
        row, absorbed = timeline(states.lengths, states.after(horizon))
        return cls(jax.tree.map(lambda x: np.asarray(x)[row], transitions), absorbed)

    @classmethod
    def of_demos(cls, demos: Demos, horizon: int) -> Steps:
        """Steps of demonstrations.

        Raises:
            InputError: there are no actions.
        """
        rows: Any = demos.obs, demos.actions, demos.next_obs, demos.term
        return cls.of(Transitions(*rows), demonstrated(demos), horizon)

    @classmethod
    def of_episodes(cls, episodes: Sequence[Episode], horizon: int) -> Steps:
        """Steps of episodes that were played."""
        states = visited(episodes)
        terminal = np.zeros(states.lengths.sum(), bool)
        terminal[np.cumsum(states.lengths) - 1] = states.ended
        sides = [(e.act, e.next_obs) for e in episodes]
        act, next_obs = jax.tree.map(lambda *columns: np.concatenate(columns), *sides)
        rows: Any = states.obs, act, next_obs, terminal
        return cls.of(Transitions(*rows), states, horizon)

    def paid(self, reward: RecoveredReward) -> Rewards:
        """The reward of each step."""
        each = reward.steps(self.transitions)
        return np.where(self.absorbed, reward.ends.after(each), each)


def gaps(reward: RecoveredReward, expert: Steps, policy: Steps, held_out: Steps | None) -> dict[str, float]:
    """The figures of a reward.

    Returns:
        `reward_gap`: the mean reward of the expert's steps minus that of the policy's, divided by r_max.
        `held_out_reward_gap`: the same with the expert's steps that no learner read, where there are any.
        `largest_reward`: the largest absolute reward of any of these steps.
    """
    sides = [policy, expert, *([] if held_out is None else [held_out])]
    everything: Steps = jax.tree.map(lambda *parts: np.concatenate(parts), *sides)
    paid = everything.paid(reward)
    own, *others = np.split(paid, np.cumsum([len(side.absorbed) for side in sides])[:-1])
    names = ("reward_gap", "held_out_reward_gap")[: len(others)]
    found = {name: float(each.mean() - own.mean()) / reward.limit for name, each in zip(names, others, strict=True)}
    return found | {"largest_reward": float(np.abs(paid).max())}
