"""Sources of the batches for updates. Each source is a tree of arrays that passes through the compiled loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from iqlearn.data.demos import Demos
from iqlearn.data.replay import Buffer, Replay, filled
from iqlearn.types import Batch, Obs, PRNGKey, Rewarded, Transitions


@runtime_checkable
class Source(Protocol):
    """A source of batches."""

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Any, Source]:
        """Return the batch for the algorithm's `update`, with `n` rows of each kind, and the source after the draw.

        `state` is the learner's `TrainState`, for sources that act with its policy.
        """
        ...

    def saved(self) -> Any:
        """Return the tree of arrays for a checkpoint: those that cannot be rebuilt. () if there are none."""
        ...

    def restored(self, saved: Any) -> Source:
        """Return this source with the arrays that `saved` returned.

        Raises:
            ValueError: the arrays belong to another source or do not fit.
        """
        ...


class Demonstrations(eqx.Module):
    """Expert transitions and the first observations of their episodes."""

    transitions: Buffer[Transitions]
    initial_obs: Buffer[Obs]

    @classmethod
    def of(cls, demos: Demos, rows: int | None = None, episodes: int | None = None) -> Demonstrations:
        """Copy demonstrations to the device, with room for `rows` transitions and `episodes` first observations.

        Demonstrations of several seeds can be stacked if they are padded to one size.

        Raises:
            InputError: there are no actions.
        """
        return cls(filled(demos.transitions, rows), filled(jax.tree.map(jnp.asarray, demos.initial_obs), episodes))

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Batch, Demonstrations]:
        expert_key, initial_key = jr.split(key)
        return Batch(self.transitions.sample(expert_key, n), None, self.initial_obs.sample(initial_key, n)), self

    def expert(self) -> Transitions:
        """Return every transition, without the padding. Not for compiled code."""
        size = int(self.transitions.size)
        return jax.tree.map(lambda x: x[:size], self.transitions.rows)

    def saved(self) -> tuple[()]:
        return ()

    def restored(self, saved: Any) -> Demonstrations:
        return self


class Experience(eqx.Module):
    """Batches with as many transitions from the expert as from the learner's replay."""

    demos: Demonstrations
    replay: Replay

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Batch, Experience]:
        expert_key, replay_key = jr.split(key)
        batch, _ = self.demos.draw(state, expert_key, n)
        return batch._replace(visited=self.replay.sample(replay_key, n)), self

    def saved(self) -> Replay:
        return self.replay.packed()

    def restored(self, saved: Replay) -> Experience:
        return replace(self, replay=saved.unpacked(self.replay))


class RewardedReplay(eqx.Module):
    """Transitions with rewards, for experts and agents. The reward is the environment's or a recovered one."""

    replay: Replay

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Rewarded, RewardedReplay]:
        return self.replay.rewarded(key, n), self

    def saved(self) -> Replay:
        return self.replay.packed()

    def restored(self, saved: Replay) -> RewardedReplay:
        return replace(self, replay=saved.unpacked(self.replay))
