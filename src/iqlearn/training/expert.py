"""Making experts: soft Q-learning on the environment's own reward, acting and learning in turn."""

from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from iqlearn.algorithms import SoftQLearning, TrainState
from iqlearn.data import Buffer, empty
from iqlearn.envs.vector import Step, VectorEnv
from iqlearn.training.updates import train
from iqlearn.types import Metrics, ObservationScale, PRNGKey, Rewarded, TaskSpec, Transitions


class Replay(eqx.Module):
    """What an expert's update draws from."""

    buffer: Buffer[Rewarded]

    def draw(self, state: TrainState, key: PRNGKey, n: int) -> tuple[Rewarded, TrainState]:
        return self.buffer.sample(key, n), state


@jax.jit
def act(state: TrainState, obs: jax.Array, key: PRNGKey) -> jax.Array:
    """A sample of the soft policy."""
    return state.model.act(obs, key)


@partial(jax.jit, donate_argnums=0)
def remember(replay: Replay, rows: Rewarded) -> Replay:
    """The replay with these rows; the old one's memory is used again."""
    return Replay(replay.buffer.extend(rows))


def train_expert(
    algorithm: SoftQLearning,
    env: VectorEnv,
    spec: TaskSpec,
    scale: ObservationScale,
    seed: int,
    *,
    rounds: int,
    steps_a_round: int = 64,
    updates_a_round: int = 64,
    random_rounds: int = 8,
    capacity: int = 100_000,
) -> Iterator[tuple[TrainState, Metrics]]:
    """Act `steps_a_round` times in every copy, then update; yields state and metrics after each round of updates."""
    init_key, act_key, train_key = jr.split(jr.key(seed), 3)
    state = algorithm.init(spec, scale, init_key)
    replay: Replay | None = None
    for number in range(rounds):
        steps: list[Step] = []
        for i in range(steps_a_round):
            key = jr.fold_in(act_key, number * steps_a_round + i)
            choose = number >= random_rounds
            steps.append(env.step(np.asarray(act(state, env.obs, key)) if choose else env.random_actions()))
        rows = rewarded(steps)
        if replay is None:
            replay = Replay(empty(jax.tree.map(lambda x: x[0], rows), capacity))
        replay = remember(replay, rows)
        if number >= random_rounds:
            state, metrics = train(algorithm, state, replay, train_key, updates_a_round)
            yield state, metrics


def rewarded(steps: list[Step]) -> Rewarded:
    """Steps of every copy as rows for the replay."""
    columns = {name: np.concatenate([getattr(s, name) for s in steps]) for name in Step._fields}
    obs, action, next_obs, reward, terminal, _ = map(jnp.asarray, columns.values())
    return Rewarded(Transitions(obs, action.astype(jnp.int32), next_obs, terminal), reward)
