"""Learning while acting: environments on the host, replay and updates on the device, side by side."""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int

from iqlearn.algorithms import TrainState
from iqlearn.data.replay import Moments, Replay
from iqlearn.envs.vector import Step, VectorEnv
from iqlearn.models import SoftQModel
from iqlearn.training.offline import Demonstrations
from iqlearn.types import Batch, PRNGKey, Rewarded, RewardFunction, on_host


class Experience(eqx.Module):
    """What an imitator draws from online: half from the expert, half from what it did itself."""

    demos: Demonstrations
    replay: Replay

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Batch, TrainState]:
        expert_key, replay_key = jr.split(key)
        return self.demos.batch(expert_key, n)._replace(visited=self.replay.sample(replay_key, n)), state


class Rewards(eqx.Module):
    """What an expert draws from: transitions with the environment's own reward."""

    replay: Replay

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Rewarded, TrainState]:
        return self.replay.rewarded(key, n), state


@jax.jit
def _act(model: SoftQModel, obs: jax.Array, key: PRNGKey | None, step: Int[Array, ""] | int) -> jax.Array:
    return model.act(obs, None if key is None else jr.fold_in(key, step))


@partial(jax.jit, donate_argnums=0)
def remember(replay: Replay, new: Moments) -> Replay:
    """The replay with these transitions; the old one's memory is used again."""
    return replay.extend(new)


def interact(
    env: VectorEnv, model: SoftQModel | None, key: PRNGKey | None, first: int, steps: int, at_random: float = 0.0
) -> list[Step]:
    """Act `steps` times in every copy, with samples of the model's policy, or at random without a model.

    `first` is the number of the first step: it and the key settle the noise. Without a key the policy acts by its mode.
    `at_random`: the share of actions that are random all the same.
    """
    taken = []
    for i in range(first, first + steps):
        action = env.random_actions() if model is None else np.asarray(_act(model, env.obs, key, i))
        if model is not None and key is not None and at_random > 0.0:
            chosen = np.asarray(jr.bernoulli(jr.fold_in(jr.fold_in(key, i), 1), at_random, (env.copies, 1)))
            action = np.where(chosen, env.random_actions(), action)
        taken.append(env.step(action))
    return taken


def rewarded(steps: Sequence[Step], reward: RewardFunction) -> list[Step]:
    """The same steps, paid by another reward than the environment's."""
    obs, action, next_obs, terminal = (
        np.concatenate([getattr(step, name) for step in steps]) for name in ("obs", "action", "next_obs", "terminal")
    )
    paid = reward(on_host(obs, action, next_obs, terminal)).reshape(len(steps), -1)
    return [step._replace(reward=row) for step, row in zip(steps, paid, strict=True)]


def moments(steps: Sequence[Step]) -> Moments:
    """Steps of every copy as rows for the replay, copy after copy, padded to a few sizes only."""
    obs, action, next_obs, reward, terminal, ended = (
        np.stack([getattr(step, name) for step in steps], axis=1) for name in Step._fields
    )
    copies, length = ended.shape
    closing = ended.copy()
    closing[:, -1] = True  # the last observation of an episode, or of this part of it, is a frame of its own
    frame = np.arange(copies * length).reshape(copies, length)
    before = np.concatenate([[0], np.cumsum(closing.ravel())[:-1]]).reshape(copies, length)
    frame = frame + before
    count = copies * length + int(closing.sum())
    frames = np.zeros((-(-count // (copies * length)) * copies * length, *obs.shape[2:]), np.float32)
    frames[frame.ravel()] = obs.reshape(-1, *obs.shape[2:])
    frames[frame[closing] + 1] = next_obs[closing]

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(copies * length, *x.shape[2:])

    return Moments(frames, frame.ravel().astype(np.int32), flat(action), flat(reward), flat(terminal), count)
