"""What a learner experienced, on the device. Each observation is stored once.

s' of a transition is the observation after it, so two rings suffice: frames (observations in order of time, with the
last one of every episode) and transitions, each pointing to its frame. The transition's s' is the next frame.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Shaped

from iqlearn.types import PRNGKey, Rewarded, Transitions

SPARE = 1.0 / 16
"""Room for frames that episodes end with, as a share of the transitions: episodes of 16 steps. Of shorter ones fewer
transitions are remembered."""


class Moments(eqx.Module):
    """Consecutive transitions on their way into a replay, pointing into frames that start from 0."""

    frames: Shaped[np.ndarray, "f *obs"]
    frame: Int[np.ndarray, " n"]
    action: Shaped[np.ndarray, "n *act"]
    reward: Float[np.ndarray, " n"]
    terminal: Bool[np.ndarray, " n"]
    count: int
    """Frames in use; the rest is padding."""

    def padded(self, room: int) -> "Moments":
        """With room for that many frames."""
        more = ((0, room - len(self.frames)), *((0, 0) for _ in self.frames.shape[1:]))
        return Moments(np.pad(self.frames, more), self.frame, self.action, self.reward, self.terminal, self.count)


class Replay(eqx.Module):
    """The newest transitions; a full one overwrites the oldest."""

    frames: Shaped[Array, "f *obs"]
    frame: Int[Array, " capacity"]
    """Number of each transition's observation, counted from the first frame ever written."""
    action: Shaped[Array, "capacity *act"]
    reward: Float[Array, " capacity"]
    """The environment's reward: experts learn from it, an imitator never sees it."""
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
        frame, room = self.frame[row], len(self.frames)
        obs, next_obs = self.frames[frame % room], self.frames[(frame + 1) % room]
        return Rewarded(Transitions(obs, self.action[row], next_obs, self.terminal[row]), self.reward[row])

    def sample(self, key: PRNGKey, n: int) -> Transitions:
        """n transitions, drawn uniformly with replacement."""
        return self.rewarded(key, n).transitions

    def newest(self, n: int) -> Transitions:
        """The newest transitions, at most `n` of them; the newest first."""
        return self._rows((self.count - 1 - jnp.arange(min(n, int(self.size)))) % len(self.frame)).transitions

    def extend(self, new: Moments) -> "Replay":
        """With these transitions. Those whose frames had to make room are forgotten."""
        n, capacity, room = len(new.frame), len(self.frame), len(self.frames)
        place = jnp.arange(len(new.frames))
        slot = jnp.where(place < new.count, (self.written + place) % room, room)
        frames = self.frames.at[slot].set(jnp.asarray(new.frames, self.frames.dtype), mode="drop")
        row = (self.count + jnp.arange(n)) % capacity
        frame = self.frame.at[row].set(self.written + jnp.asarray(new.frame, jnp.int32))
        written = self.written + new.count
        size = jnp.minimum(self.size + n, capacity)
        count = self.count + n
        age = (count - 1 - jnp.arange(capacity)) % capacity
        alive = (age < size) & (frame >= written - room)
        return Replay(
            frames,
            frame,
            self.action.at[row].set(jnp.asarray(new.action, self.action.dtype)),
            self.reward.at[row].set(new.reward),
            self.terminal.at[row].set(new.terminal),
            jnp.sum(alive, dtype=jnp.int32),
            count,
            written,
        )

    def packed(self) -> "Replay":
        """Cut to what is filled: what a checkpoint holds."""
        frames, rows = min(int(self.written), len(self.frames)), min(int(self.count), len(self.frame))
        frame, action, reward, terminal = (x[:rows] for x in (self.frame, self.action, self.reward, self.terminal))
        return Replay(self.frames[:frames], frame, action, reward, terminal, self.size, self.count, self.written)

    def unpacked(self, like: "Replay") -> "Replay":
        """A packed replay with the room of `like` again.

        Raises:
            ValueError: it holds other observations or actions, or does not fit.
        """

        def widened(part: Array, room: Array) -> Array:
            if part.shape[1:] != room.shape[1:] or part.size > room.size:
                raise ValueError(f"rows of shape {part.shape} do not fit into {room.shape}")
            return room.at[: len(part)].set(part) if room.ndim else part

        return jax.tree.map(widened, self, like)


def empty_replay(
    obs_shape: tuple[int, ...],
    action_shape: tuple[int, ...],
    action_dtype: DTypeLike,
    capacity: int,
    parts: float = 0.0,
) -> Replay:
    """A replay with room for `capacity` transitions. `parts`: pieces of episodes that come in one after the other, for
    each transition; each has a frame more than transitions."""
    room = capacity + int(capacity * (SPARE + parts)) + 2
    return Replay(
        jnp.zeros((room, *obs_shape)),
        jnp.zeros(capacity, jnp.int32),
        jnp.zeros((capacity, *action_shape), action_dtype),
        jnp.zeros(capacity),
        jnp.zeros(capacity, bool),
        # Three buffers, because each is donated.
        size=jnp.zeros((), jnp.int32),
        count=jnp.zeros((), jnp.int32),
        written=jnp.zeros((), jnp.int32),
    )
