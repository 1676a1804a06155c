"""How far a recovered reward separates the expert from a policy: figures of an evaluation that need no true reward."""

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
    the horizon, so that an episode that ends too early or too late differs from the expert's."""

    transitions: Transitions
    """The transition of each step; in the absorbing state, the last transition of the episode."""
    absorbed: Bool[np.ndarray, " n"]
    """Which steps are in the absorbing state."""

    @classmethod
    def of(cls, transitions: Transitions, states: Visited, horizon: int) -> Steps:
        """Return steps of these transitions.

        `horizon` is the number of steps of an episode that reaches its time limit; with 0 no step is in the absorbing
        state.
        """
        row, absorbed = timeline(states.lengths, states.after(horizon))
        return cls(jax.tree.map(lambda x: np.asarray(x)[row], transitions), absorbed)

    @classmethod
    def of_demos(cls, demos: Demos, horizon: int) -> Steps:
        """Return steps of demonstrations.

        Raises:
            InputError: there are no actions.
        """
        rows: Any = demos.obs, demos.actions, demos.next_obs, demos.term
        return cls.of(Transitions(*rows), demonstrated(demos), horizon)

    @classmethod
    def of_episodes(cls, episodes: Sequence[Episode], horizon: int) -> Steps:
        """Return steps of episodes that were played."""
        states = visited(episodes)
        terminal = np.zeros(states.lengths.sum(), bool)
        terminal[np.cumsum(states.lengths) - 1] = states.ended
        sides = [(e.act, e.next_obs) for e in episodes]
        act, next_obs = jax.tree.map(lambda *columns: np.concatenate(columns), *sides)
        rows: Any = states.obs, act, next_obs, terminal
        return cls.of(Transitions(*rows), states, horizon)

    def paid(self, reward: RecoveredReward) -> Rewards:
        """Return the reward of each step."""
        each = reward.steps(self.transitions)
        return np.where(self.absorbed, reward.ends.after(each), each)


def gaps(reward: RecoveredReward, expert: Steps, policy: Steps, held_out: Steps | None) -> dict[str, float]:
    """Return the figures of a reward on these steps.

    Returns:
        `reward_gap`: the mean reward of the expert's steps minus that of the policy's, divided by r_max.
        `held_out_reward_gap`: the same with the expert's held-out steps, if there are any.
        `largest_reward`: the largest absolute reward of any of these steps.
    """
    sides = [policy, expert, *([] if held_out is None else [held_out])]
    everything: Steps = jax.tree.map(lambda *parts: np.concatenate(parts), *sides)
    paid = everything.paid(reward)
    own, *others = np.split(paid, np.cumsum([len(side.absorbed) for side in sides])[:-1])
    names = ("reward_gap", "held_out_reward_gap")[: len(others)]
    found = {name: float(each.mean() - own.mean()) / reward.limit for name, each in zip(names, others, strict=True)}
    return found | {"largest_reward": float(np.abs(paid).max())}
