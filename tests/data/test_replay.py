"""The replay returns what was experienced, each observation stored once, nothing across an episode's border."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.data.replay import Replay, empty_replay
from iqlearn.envs.vector import Step
from iqlearn.training.online import moments, remember


def walk(copies: int, steps: int, ends_every: int, first: int = 0) -> list[Step]:
    """Steps whose observation tells copy, episode and time: s' is s + 1 in the last coordinate."""
    taken = []
    for i in range(first, first + steps):
        t = np.full(copies, i)
        lengths = ends_every + np.arange(copies)
        episode, place = t // lengths, t % lengths
        obs = np.stack([np.arange(copies), episode, place], axis=1).astype(np.float64)
        ended = place == lengths - 1
        taken.append(
            Step(
                obs,
                (place * 10 + np.arange(copies))[:, None].astype(np.float32),
                obs + np.array([0.0, 0.0, 1.0]),
                (place * 2).astype(np.float32),
                ended & (episode % 2 == 0),
                ended,
            )
        )
    return taken


def new(capacity: int) -> Replay:
    return empty_replay((3,), (1,), np.float32, capacity)


def seen(replay: Replay, draws: int = 4000) -> set[tuple[float, ...]]:
    rows, reward = jax.device_get(replay.rewarded(jr.key(0), draws))
    columns = [rows.obs, rows.action, rows.next_obs, rows.terminal[:, None], reward[:, None]]
    return {tuple(row) for row in np.concatenate(columns, axis=1).tolist()}


def expected(steps: list[Step]) -> set[tuple[float, ...]]:
    return {
        (*s.obs[i], *s.action[i], *s.next_obs[i], float(s.terminal[i]), float(s.reward[i]))
        for s in steps
        for i in range(len(s.reward))
    }


@pytest.mark.parametrize("copies", [1, 3])
def test_every_transition_comes_back_as_it_was(copies):
    replay, all_steps = new(1000), []
    for part in range(4):
        steps = walk(copies, 20, ends_every=7, first=20 * part)
        replay = remember(replay, moments(steps))
        all_steps += steps
    assert seen(replay) == expected(all_steps)
    assert int(replay.size) == 80 * copies


def test_a_full_replay_keeps_the_newest():
    replay, all_steps = new(60), []
    for part in range(10):
        steps = walk(1, 20, ends_every=9, first=20 * part)
        replay = remember(replay, moments(steps))
        all_steps += steps
    kept = seen(replay)
    assert kept == expected(all_steps[-int(replay.size) :])
    assert 50 <= int(replay.size) <= 60  # episodes of 9 steps need more spare frames than there are


def test_short_episodes_cost_room_but_never_mix():
    replay, all_steps = new(40), []
    for part in range(12):
        steps = walk(2, 10, ends_every=1, first=10 * part)
        replay = remember(replay, moments(steps))
        all_steps += steps
    assert seen(replay) <= expected(all_steps)
    assert int(replay.size) > 0


def test_packed_and_unpacked_is_the_same_replay():
    replay = remember(new(100), moments(walk(1, 30, ends_every=7)))
    again = replay.packed().unpacked(new(100))
    for before, after in zip(jax.tree.leaves(replay), jax.tree.leaves(again), strict=True):
        assert jnp.array_equal(before, after)
    with pytest.raises(ValueError, match="fit"):
        replay.packed().unpacked(new(10))


def test_a_million_humanoid_transitions_fit_into_1_8_gb():
    like = jax.eval_shape(lambda: empty_replay((348,), (17,), np.float32, 1_000_000))
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(like)) < 1.8e9
