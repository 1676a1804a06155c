"""Learning while acting: environments on the host, replay and updates on the device, side by side."""

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key

from iqlearn.algorithms import TrainState
from iqlearn.data.replay import Moments, Replay
from iqlearn.envs.vector import Step, VectorEnv
from iqlearn.models import ContinuousSoftQ, SoftQModel
from iqlearn.training.offline import Demonstrations
from iqlearn.types import Batch, PRNGKey, Rewarded, RewardFunction, on_host

Tree = TypeVar("Tree")


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
def act(model: SoftQModel, obs: jax.Array, key: PRNGKey | None, step: Int[Array, ""] | int) -> jax.Array:
    """Actions in the step of that number: samples of the policy, or without a key its mode."""
    return model.act(obs, None if key is None else jr.fold_in(key, step))


@jax.jit
def strays(key: PRNGKey, step: Int[Array, ""] | int, obs: jax.Array, share: Float[Array, ""] | float) -> jax.Array:
    """Which copies act at random in the step of that number, for a share of all."""
    return jr.bernoulli(jr.fold_in(jr.fold_in(key, step), 1), share, (len(obs), 1))


act_each = jax.jit(jax.vmap(act, in_axes=(0, 0, 0, None)))
strays_each = jax.jit(jax.vmap(strays, in_axes=(0, None, 0, None)))


@partial(jax.jit, donate_argnums=0)
def remember(replay: Replay, new: Moments) -> Replay:
    """The replay with these transitions; the old one's memory is used again."""
    return replay.extend(new)


@partial(jax.jit, donate_argnums=0)
def remember_each(replays: Replay, new: Moments) -> Replay:
    """`remember` for several runs at once."""
    return jax.vmap(Replay.extend)(replays, new)


def aside(tree: Tree) -> Tree:
    """On the processor, where there is another device as well: acting there does not wait for the updates here.

    Of an actor and its critics only the actor comes along: it alone acts.
    """
    if jax.default_backend() == "cpu":
        return tree
    if isinstance(tree, ContinuousSoftQ):
        tree = eqx.tree_at(lambda model: model.critic, tree, None)
    try:
        return jax.device_put(tree, jax.local_devices(backend="cpu")[0])
    except RuntimeError:  # JAX was told to leave the processor alone
        return tree


def interact(
    envs: Sequence[VectorEnv],
    model: SoftQModel | None,
    key: Key[Array, "*runs"] | None,
    first: int,
    steps: int,
    at_random: float = 0.0,
) -> list[list[Step]]:
    """Act `steps` times in every copy of each run, with samples of its model's policy, or at random without a model.

    `first` is the number of the first step: it and the key settle the noise. Without a key the policy acts by its mode.
    With several `envs`, one a run, model and key have a leading axis of runs. `at_random`: the share of actions that
    are random all the same.
    """
    model, key, alone = aside(model), aside(key), len(envs) == 1
    chosen, straying = (act, strays) if alone else (act_each, strays_each)
    taken: list[list[Step]] = [[] for _ in envs]
    for i in range(first, first + steps):
        actions = [env.random_actions() for env in envs] if model is None or at_random > 0.0 else []
        if model is not None:
            obs = envs[0].obs if alone else np.stack([env.obs for env in envs])
            told = np.asarray(chosen(model, obs, key, i))
            told = told[None] if alone else told
            if key is not None and at_random > 0.0:
                lost = np.asarray(straying(key, i, obs, at_random))
                told = np.where(lost[None] if alone else lost, np.stack(actions), told)
            actions = list(told)
        for env, action, steps_of in zip(envs, actions, taken, strict=True):
            steps_of.append(env.step(action))
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
