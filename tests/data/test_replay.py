"""The replay stores each observation once, and returns the transitions it was given, none across two episodes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.data.replay import NewTransitions, Replay, empty_replay
from iqlearn.types import ArraySpec, Bounds, TaskSpec

remember = jax.jit(Replay.extend, donate_argnums=0)
TASK = TaskSpec(ArraySpec((3,)), Bounds((-1e3,), (1e3,)))


class Step(NamedTuple):
    """The parts of a step of several environments that a replay needs, one row each."""

    obs: Any
    action: np.ndarray
    next_obs: Any
    reward: np.ndarray
    terminal: np.ndarray
    ended: np.ndarray


def walk(copies: int, steps: int, ends_every: int, first: int = 0) -> list[Step]:
    """Steps whose observation is (copy, episode, time in it): s' is s + 1 in the last coordinate."""
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
    return empty_replay(TASK, capacity)


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
def test_replay_returns_every_transition_unchanged(copies):
    replay, all_steps = new(1000), []
    for part in range(4):
        steps = walk(copies, 20, ends_every=7, first=20 * part)
        replay = remember(replay, NewTransitions.of(steps))
        all_steps += steps
    assert seen(replay) == expected(all_steps)
    assert int(replay.size) == 80 * copies


def test_full_replay_keeps_the_newest_transitions():
    replay, all_steps = new(60), []
    for part in range(10):
        steps = walk(1, 20, ends_every=9, first=20 * part)
        replay = remember(replay, NewTransitions.of(steps))
        all_steps += steps
    kept = seen(replay)
    assert kept == expected(all_steps[-int(replay.size) :])
    assert 50 <= int(replay.size) <= 60  # episodes of 9 steps need more spare frames than there are


def test_transitions_of_short_episodes_never_mix():
    replay, all_steps = new(40), []
    for part in range(12):
        steps = walk(2, 10, ends_every=1, first=10 * part)
        replay = remember(replay, NewTransitions.of(steps))
        all_steps += steps
    assert seen(replay) <= expected(all_steps)
    assert int(replay.size) > 0


def test_unpacked_replay_equals_the_packed_one():
    replay = remember(new(100), NewTransitions.of(walk(1, 30, ends_every=7)))
    again = replay.packed().unpacked(new(100))
    for before, after in zip(jax.tree.leaves(replay), jax.tree.leaves(again), strict=True):
        assert jnp.array_equal(before, after)
    with pytest.raises(ValueError, match="fit"):
        replay.packed().unpacked(new(10))


def test_a_million_humanoid_transitions_fit_into_1_8_gb():
    task = TaskSpec(ArraySpec((348,)), Bounds((-1.0,) * 17, (1.0,) * 17))
    like = jax.eval_shape(lambda: empty_replay(task, 1_000_000))
    assert sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(like)) < 1.8e9


PARTS = TaskSpec({"camera": ArraySpec((2, 2), "uint8"), "at": {"cell": ArraySpec((), "int32", 9)}}, 4)


def parts_of(step: Step) -> Step:
    """The same step with a dictionary observation: pixels of a camera encode episode and time, a cell the time."""

    def seen(obs: np.ndarray) -> dict[str, Any]:
        camera = np.repeat(250 + obs[:, 1:].astype(np.uint8) % 6, 2, axis=1).reshape(-1, 2, 2)
        return {"camera": camera, "at": {"cell": obs[:, 2].astype(np.int32)}}

    action = step.action[:, 0].astype(np.int32) % 4
    return step._replace(obs=seen(step.obs), next_obs=seen(step.next_obs), action=action)


def test_dictionary_observations_keep_their_parts_and_dtypes():
    steps = [parts_of(step) for step in walk(2, 30, ends_every=7)]
    replay = empty_replay(PARTS, 100).extend(NewTransitions.of(steps))
    transitions, reward = replay.rewarded(jr.key(0), 500)
    kinds = jax.tree.map(lambda x: (x.shape[1:], str(x.dtype)), transitions.obs)
    assert kinds == {"camera": ((2, 2), "uint8"), "at": {"cell": ((), "int32")}}
    assert transitions.action.dtype == jnp.int32
    cell, after = transitions.obs["at"]["cell"], transitions.next_obs["at"]["cell"]
    assert (after == cell + 1).all()  # s' is of the same episode
    assert (2 * cell == reward).all()  # all arrays of a row are of the same transition
    assert (transitions.obs["camera"][:, 1, 1] == 250 + cell % 6).all()
    assert (transitions.next_obs["camera"][:, 1, 1] == 250 + after % 6).all()


def test_newest_returns_transitions_newest_first():
    steps = walk(1, 12, ends_every=20)
    replay = remember(new(100), NewTransitions.of(steps))
    assert replay.newest(3).obs[:, 2].tolist() == [11, 10, 9]
    assert len(replay.newest(1000).action) == 12
    newest = empty_replay(PARTS, 100).extend(NewTransitions.of([parts_of(step) for step in steps])).newest(2)
    assert newest.next_obs["at"]["cell"].tolist() == [12, 11]


OTHERS = {
    "other parts": TaskSpec({"camera": ArraySpec((2, 2), "uint8")}, 4),
    "another shape": TaskSpec({**PARTS.obs, "camera": ArraySpec((2, 3), "uint8")}, 4),
    "another dtype": TaskSpec({**PARTS.obs, "camera": ArraySpec((2, 2))}, 4),
    "other actions": TaskSpec(PARTS.obs, Bounds((0.0,), (1.0,))),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_packed_replay_of_another_task_is_refused(case):
    replay = empty_replay(PARTS, 20).extend(NewTransitions.of([parts_of(step) for step in walk(1, 5, ends_every=7)]))
    with pytest.raises(ValueError):  # noqa: PT011  JAX raises it for other parts
        replay.packed().unpacked(empty_replay(OTHERS[case], 20))
