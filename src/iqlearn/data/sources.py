"""Sources: where an update's batch comes from. Each is a tree of arrays that passes through the compiled loop."""

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
    """What batches are drawn from."""

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Any, Source]:
        """What the algorithm's `update` takes, n rows of each kind, and the source after the draw.

        `state` is the learner's `TrainState`, for a source that acts with its policy.
        """
        ...

    def saved(self) -> Any:
        """The tree that a checkpoint holds: what cannot be made again; () for nothing."""
        ...

    def restored(self, saved: Any) -> Source:
        """This source with what `saved` gave.

        Raises:
            ValueError: that is of another source or does not fit.
        """
        ...


class Demonstrations(eqx.Module):
    """Expert transitions and the first observations of their episodes."""

    transitions: Buffer[Transitions]
    initial_obs: Buffer[Obs]

    @classmethod
    def of(cls, demos: Demos, rows: int | None = None, episodes: int | None = None) -> Demonstrations:
        """Demonstrations on the device, with room for `rows` transitions and `episodes` first observations.

        Padded to one size, those of several seeds can be stacked.

        Raises:
            InputError: there are no actions.
        """
        return cls(filled(demos.transitions, rows), filled(jax.tree.map(jnp.asarray, demos.initial_obs), episodes))

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Batch, Demonstrations]:
        expert_key, initial_key = jr.split(key)
        return Batch(self.transitions.sample(expert_key, n), None, self.initial_obs.sample(initial_key, n)), self

    def expert(self) -> Transitions:
        """Every transition, without the padding. Not for compiled code."""
        size = int(self.transitions.size)
        return jax.tree.map(lambda x: x[:size], self.transitions.rows)

    def saved(self) -> tuple[()]:
        return ()

    def restored(self, saved: Any) -> Demonstrations:
        return self


class Experience(eqx.Module):
    """Half from the expert, half from what the learner did itself."""

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
    """Transitions with the reward that an expert or agent learns from: the environment's, or a recovered one."""

    replay: Replay

    def draw(self, state: Any, key: PRNGKey, n: int) -> tuple[Rewarded, RewardedReplay]:
        return self.replay.rewarded(key, n), self

    def saved(self) -> Replay:
        return self.replay.packed()

    def restored(self, saved: Replay) -> RewardedReplay:
        return replace(self, replay=saved.unpacked(self.replay))
