"""Experience on the device: rows that are drawn from, and the replay of what a learner did.

A `Buffer` is a fixed block of rows, of which the first are filled. Demonstrations of several seeds, unequal in length,
can so be padded and stacked for `vmap`.

A `Replay` stores each observation once. s' of a transition is the observation after it, so two rings suffice: frames
(observations in order of time, with the last one of every episode) and transitions, each pointing to its frame. The
transition's s' is the next frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from iqlearn.types import Obs, PRNGKey, Rewarded, TaskSpec, Transitions, rows

SPARE = 1.0 / 16
"""Room for frames that episodes end with, as a share of the transitions: episodes of 16 steps. Of shorter ones fewer
transitions are remembered."""
Rows = TypeVar("Rows")
"""Any tree of arrays with one row an item."""


class Buffer(eqx.Module, Generic[Rows]):
    """Rows, and how many of them are filled."""

    rows: Rows
    size: Int[Array, ""]

    def sample(self, key: PRNGKey, n: int) -> Rows:
        """n rows, drawn uniformly with replacement from the filled ones."""
        index = jr.randint(key, (n,), 0, self.size)
        return jax.tree.map(lambda x: x[index], self.rows)


def filled(content: Rows, capacity: int | None = None) -> Buffer[Rows]:
    """A buffer that holds these rows, with room for `capacity` in all (their number unless given)."""
    n = rows(content)
    room = n if capacity is None else capacity

    def pad(x: Shaped[Array | np.ndarray, "n *shape"]) -> Shaped[Array, "room *shape"]:
        x = jnp.asarray(x)
        return jnp.concatenate([x, jnp.zeros((room - n, *x.shape[1:]), x.dtype)]) if room > n else x

    return Buffer(jax.tree.map(pad, content), jnp.int32(n))


class NewTransitions(eqx.Module):
    """Consecutive transitions on their way into a replay, pointing into frames that start from 0."""

    frames: Obs
    frame: Int[np.ndarray, " n"]
    action: Shaped[np.ndarray, "n *act"]
    reward: Float[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]
    count: int
    """Frames in use; the rest is padding."""

    @classmethod
    def of(cls, steps: Sequence[Any]) -> NewTransitions:
        """Steps of several environments, one environment after the other.

        A step is a named tuple of `obs`, `action`, `next_obs`, `reward`, `terminal` and `ended`, one row an
        environment.
        """
        step = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *steps)
        copies, length = step.ended.shape
        closing = step.ended.copy()
        closing[:, -1] = True  # the last observation of an episode, or of this part of it, is a frame of its own
        before = np.concatenate([[0], np.cumsum(closing.ravel())[:-1]])
        frame = (np.arange(copies * length) + before).reshape(copies, length)
        count = copies * length + int(closing.sum())
        room = 2 * copies * length  # each transition may end an episode: one size, so that programs are shared

        def frames(obs: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
            filled = np.zeros((room, *obs.shape[2:]), obs.dtype)
            filled[frame] = obs
            filled[frame[closing] + 1] = next_obs[closing]
            return filled

        def flat(x: np.ndarray) -> np.ndarray:
            return x.reshape(copies * length, *x.shape[2:])

        reward = flat(step.reward).astype(np.float32)
        observed = jax.tree.map(frames, step.obs, step.next_obs)
        return cls(observed, flat(frame).astype(np.int32), flat(step.action), reward, flat(step.terminal), count)


class Replay(eqx.Module):
    """The newest transitions; a full one overwrites the oldest."""

    frames: Obs
    """Observations in the dtypes of the task: bytes stay bytes."""
    frame: Int[Array, " capacity"]
    """Number of each transition's observation, counted from the first frame ever written."""
    action: Shaped[Array, "capacity *act"]
    reward: Float[Array, " capacity"]
    """The environment's reward, or a recovered one: experts and agents learn from it, an imitator never sees it."""
    terminal: Bool[Array, " capacity"]
    size: Int[Array, ""]
    """Transitions that can be drawn: the newest ones whose frames are still there."""
    count: Int[Array, ""]
    """Transitions ever written."""
    written: Int[Array, ""]
    """Frames ever written."""

    def rewarded(self, key: PRNGKey, n: int) -> Rewarded:
        """n transitions with their rewards, drawn uniformly with replacement."""
        return self._rows((self.count - 1 - jr.randint(key, (n,), 0, self.size)) % len(self.frame))

    def _rows(self, row: Int[Array, " n"]) -> Rewarded:
        frame, room = self.frame[row], rows(self.frames)
        obs, next_obs = (jax.tree.map(lambda x, at=at: x[at % room], self.frames) for at in (frame, frame + 1))
        return Rewarded(Transitions(obs, self.action[row], next_obs, self.terminal[row]), self.reward[row])

    def sample(self, key: PRNGKey, n: int) -> Transitions:
        """n transitions, drawn uniformly with replacement."""
        return self.rewarded(key, n).transitions

    def newest(self, n: int) -> Transitions:
        """The newest transitions, at most `n` of them; the newest first."""
        return self._rows((self.count - 1 - jnp.arange(min(n, int(self.size)))) % len(self.frame)).transitions

    def extend(self, new: NewTransitions) -> Replay:
        """With these transitions. Those whose frames had to make room are forgotten."""
        n, capacity, room = len(new.frame), len(self.frame), rows(self.frames)
        place = jnp.arange(rows(new.frames))
        slot = jnp.where(place < new.count, (self.written + place) % room, room)
        row = (self.count + jnp.arange(n)) % capacity
        frame = self.frame.at[row].set(self.written + jnp.asarray(new.frame, jnp.int32))
        written = self.written + new.count
        count = self.count + n
        age = (count - 1 - jnp.arange(capacity)) % capacity
        alive = (age < jnp.minimum(self.size + n, capacity)) & (frame >= written - room)
        return Replay(
            jax.tree.map(
                lambda x, more: x.at[slot].set(jnp.asarray(more, x.dtype), mode="drop"), self.frames, new.frames
            ),
            frame,
            self.action.at[row].set(jnp.asarray(new.action, self.action.dtype)),
            self.reward.at[row].set(new.reward),
            self.terminal.at[row].set(new.terminal),
            jnp.sum(alive, dtype=jnp.int32),
            count,
            written,
        )

    def packed(self) -> Replay:
        """Cut to what is filled: what a checkpoint holds."""
        n, count = min(int(self.written), rows(self.frames)), min(int(self.count), len(self.frame))
        cut = jax.tree.map(lambda x: x[:count] if x.ndim else x, self)
        return replace(cut, frames=jax.tree.map(lambda x: x[:n], self.frames))

    def unpacked(self, like: Replay) -> Replay:
        """A packed replay with the room of `like` again.

        Raises:
            ValueError: it holds other observations or actions, or does not fit.
        """

        def widened(part: Array, room: Array) -> Array:
            if part.shape[1:] != room.shape[1:] or part.size > room.size or part.dtype != room.dtype:
                kinds = f"{part.dtype} rows of shape {part.shape} do not fit into {room.dtype} of {room.shape}"
                raise ValueError(kinds)
            return room.at[: len(part)].set(part) if room.ndim else part

        return jax.tree.map(widened, self, like)


def empty_replay(task: TaskSpec, capacity: int, parts: float = 0.0) -> Replay:
    """A replay with room for `capacity` transitions of the task. `parts`: pieces of episodes for each
    transition (num_envs / round_steps). Each piece has one frame more than it has transitions."""
    room = capacity + int(capacity * (SPARE + parts)) + 2
    return Replay(
        jax.tree.map(lambda part: jnp.zeros((room, *part.shape), part.dtype), task.obs),
        jnp.zeros(capacity, jnp.int32),
        jnp.zeros((capacity, *task.action_shape), jnp.int32 if task.discrete else jnp.float32),
        jnp.zeros(capacity),
        jnp.zeros(capacity, bool),
        # Three buffers, because each is donated.
        size=jnp.zeros((), jnp.int32),
        count=jnp.zeros((), jnp.int32),
        written=jnp.zeros((), jnp.int32),
    )
