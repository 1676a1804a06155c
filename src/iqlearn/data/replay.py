"""Experience on the device: buffers of rows, and the replay of a learner's transitions.

A `Buffer` is a block of rows of fixed size. Its first `size` rows are filled. Demonstrations of several seeds differ in
length; padded to one size, they can be stacked for `vmap`.

A `Replay` stores each observation once, in two ring buffers: frames (observations in order of time, including the last
one of every episode) and transitions. Each transition points to its frame, and its s' is the next frame.
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
"""Extra room for the last frame of each episode, as a share of the transitions. It suffices for episodes of 16 steps or
more on average. With shorter episodes the replay holds fewer transitions."""
Rows = TypeVar("Rows")
"""Any tree of arrays with one row per item."""


class Buffer(eqx.Module, Generic[Rows]):
    """Rows, and the number of them that are filled."""

    rows: Rows
    size: Int[Array, ""]

    def sample(self, key: PRNGKey, n: int) -> Rows:
        """Return `n` rows, drawn uniformly with replacement from the filled ones."""
        index = jr.randint(key, (n,), 0, self.size)
        return jax.tree.map(lambda x: x[index], self.rows)


def filled(content: Rows, capacity: int | None = None) -> Buffer[Rows]:
    """Return a buffer that holds the rows of `content`, with room for `capacity` rows (default: the number of rows)."""
    n = rows(content)
    room = n if capacity is None else capacity

    def pad(x: Shaped[Array | np.ndarray, "n *shape"]) -> Shaped[Array, "room *shape"]:
        x = jnp.asarray(x)
        return jnp.concatenate([x, jnp.zeros((room - n, *x.shape[1:]), x.dtype)]) if room > n else x

    return Buffer(jax.tree.map(pad, content), jnp.int32(n))


class NewTransitions(eqx.Module):
    """Consecutive transitions to be added to a replay. `frame` numbers their observations in `frames` from 0."""

    frames: Obs
    frame: Int[np.ndarray, " n"]
    action: Shaped[np.ndarray, "n *act"]
    reward: Float[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]
    count: int
    """Frames in use; the rest is padding."""

    @classmethod
    def of(cls, steps: Sequence[Any]) -> NewTransitions:
        """Return the transitions of consecutive steps of several environments, one environment after the other.

        A step is a named tuple of `obs`, `action`, `next_obs`, `reward`, `terminal` and `ended`, with one row per
        environment.
        """
        step = jax.tree.map(lambda *parts: np.stack(parts, axis=1), *steps)
        copies, length = step.ended.shape
        closing = step.ended.copy()
        closing[:, -1] = True  # the last next_obs of an episode, or of this part of one, is an extra frame
        before = np.concatenate([[0], np.cumsum(closing.ravel())[:-1]])
        frame = (np.arange(copies * length) + before).reshape(copies, length)
        count = copies * length + int(closing.sum())
        room = 2 * copies * length  # each transition may end an episode; a fixed size avoids recompilation

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
    """The newest transitions. A full replay overwrites the oldest ones."""

    frames: Obs
    """Observations in the dtypes of the task; uint8 stays uint8."""
    frame: Int[Array, " capacity"]
    """Number of each transition's observation, counted from the first frame ever written."""
    action: Shaped[Array, "capacity *act"]
    reward: Float[Array, " capacity"]
    """The environment's reward, or a recovered one. Experts and agents learn from it, an imitator never does."""
    terminal: Bool[Array, " capacity"]
    size: Int[Array, ""]
    """Number of transitions that can be drawn: the newest ones whose frames are not yet overwritten."""
    count: Int[Array, ""]
    """Number of transitions ever written."""
    written: Int[Array, ""]
    """Number of frames ever written."""

    def rewarded(self, key: PRNGKey, n: int) -> Rewarded:
        """Return `n` transitions with their rewards, drawn uniformly with replacement."""
        return self._rows((self.count - 1 - jr.randint(key, (n,), 0, self.size)) % len(self.frame))

    def _rows(self, row: Int[Array, " n"]) -> Rewarded:
        frame, room = self.frame[row], rows(self.frames)
        obs, next_obs = (jax.tree.map(lambda x, at=at: x[at % room], self.frames) for at in (frame, frame + 1))
        return Rewarded(Transitions(obs, self.action[row], next_obs, self.terminal[row]), self.reward[row])

    def sample(self, key: PRNGKey, n: int) -> Transitions:
        """Return `n` transitions, drawn uniformly with replacement."""
        return self.rewarded(key, n).transitions

    def newest(self, n: int) -> Transitions:
        """Return the newest transitions, at most `n`, the newest first."""
        return self._rows((self.count - 1 - jnp.arange(min(n, int(self.size)))) % len(self.frame)).transitions

    def extend(self, new: NewTransitions) -> Replay:
        """Return the replay with these transitions added. Transitions whose frames are overwritten are dropped."""
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
        """Return the replay cut to its filled rows, for a checkpoint."""
        n, count = min(int(self.written), rows(self.frames)), min(int(self.count), len(self.frame))
        cut = jax.tree.map(lambda x: x[:count] if x.ndim else x, self)
        return replace(cut, frames=jax.tree.map(lambda x: x[:n], self.frames))

    def unpacked(self, like: Replay) -> Replay:
        """Return a packed replay enlarged to the capacity of `like`.

        Raises:
            ValueError: observations or actions differ in shape or dtype, or the replay is larger than `like`.
        """

        def widened(part: Array, room: Array) -> Array:
            if part.shape[1:] != room.shape[1:] or part.size > room.size or part.dtype != room.dtype:
                kinds = f"{part.dtype} rows of shape {part.shape} do not fit into {room.dtype} of {room.shape}"
                raise ValueError(kinds)
            return room.at[: len(part)].set(part) if room.ndim else part

        return jax.tree.map(widened, self, like)


def empty_replay(task: TaskSpec, capacity: int, parts: float = 0.0) -> Replay:
    """Return an empty replay with room for `capacity` transitions of the task.

    `parts` is the number of pieces of episodes per transition (num_envs / round_steps). Each piece has one frame more
    than it has transitions.
    """
    room = capacity + int(capacity * (SPARE + parts)) + 2
    return Replay(
        jax.tree.map(lambda part: jnp.zeros((room, *part.shape), part.dtype), task.obs),
        jnp.zeros(capacity, jnp.int32),
        jnp.zeros((capacity, *task.action_shape), jnp.int32 if task.discrete else jnp.float32),
        jnp.zeros(capacity),
        jnp.zeros(capacity, bool),
        # Three separate arrays, because each one is donated.
        size=jnp.zeros((), jnp.int32),
        count=jnp.zeros((), jnp.int32),
        written=jnp.zeros((), jnp.int32),
    )
