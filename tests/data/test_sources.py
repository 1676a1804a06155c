"""Every source draws whole rows that depend on the key alone, and is restored from what a checkpoint holds."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.data.replay import NewTransitions, empty_replay
from iqlearn.data.sources import Demonstrations, Experience, RewardedReplay, Source
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec, Batch, Rewarded, TaskSpec

TASK = TaskSpec({"at": ArraySpec((2,)), "cell": ArraySpec((), "int32", 20)}, 3)


@pytest.fixture
def demos(counting_arrays) -> Demos:
    for field in ("obs", "next_obs"):
        seen = counting_arrays.pop(field)
        counting_arrays[f"{field}/at"], counting_arrays[f"{field}/cell"] = seen, seen[:, 1].astype(np.int64)
    return Demos.from_arrays(counting_arrays, source="counting.npz")


def visits(n: int) -> NewTransitions:
    """n steps of one episode, whose array `at` holds −1 and the time."""

    def seen(time: np.ndarray) -> dict[str, np.ndarray]:
        return {"at": np.stack([-np.ones_like(time), time], axis=1).astype(np.float32), "cell": time.astype(np.int32)}

    frames, flags = seen(np.arange(n + 1)), np.zeros(n, bool)
    return NewTransitions(
        frames, np.arange(n, dtype=np.int32), np.arange(n) % 3, np.arange(n, dtype=np.float32), flags, n + 1
    )


def sources(demos: Demos, steps: int = 12) -> dict[str, Source]:
    replay = empty_replay(TASK, 50)
    replay = replay.extend(visits(steps)) if steps else replay
    expert = Demonstrations.of(demos)
    return {"demonstrations": expert, "experience": Experience(expert, replay), "rewards": RewardedReplay(replay)}


NAMES = ("demonstrations", "experience", "rewards")


def equal(a: object, b: object) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        map(jnp.array_equal, jax.tree.leaves(a), jax.tree.leaves(b))
    )


@pytest.mark.parametrize("name", NAMES)
def test_source_draws_by_key_alone_and_restores_its_saved_state(demos, name):
    source = sources(demos)[name]
    assert isinstance(source, Source)
    batch, after = source.draw(None, jr.key(0), 9)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(batch)} == {9}
    assert equal(after, source)
    compiled = jax.jit(lambda source, key: source.draw(None, key, 9))(source, jr.key(0))
    assert equal(compiled, (batch, after))
    assert not equal(source.draw(None, jr.key(1), 9)[0], batch)
    empty = sources(demos, steps=0)[name]
    assert equal(empty.restored(source.saved()), source)


def test_demonstrations_draw_only_expert_rows(demos):
    batch, _ = Demonstrations.of(demos).draw(None, jr.key(0), 400)
    assert isinstance(batch, Batch)
    assert batch.visited is None
    rows = {(float(ep), float(t)) for ep, t in batch.expert.obs["at"]}
    assert rows == {(float(ep), float(t)) for ep, t in demos.obs["at"]}
    assert (batch.expert.obs["cell"] == batch.expert.obs["at"][:, 1]).all()
    assert set(batch.initial_obs["at"][:, 0].tolist()) == {2, 3, 9}
    assert not batch.initial_obs["cell"].any()


def test_padding_is_neither_drawn_nor_returned_as_expert_data(demos):
    plain, padded = Demonstrations.of(demos), Demonstrations.of(demos, rows=40, episodes=10)
    assert equal(plain.draw(None, jr.key(2), 64)[0], padded.draw(None, jr.key(2), 64)[0])
    assert equal(plain.expert(), padded.expert())
    assert equal(plain.expert(), demos.transitions)


def test_experience_adds_visited_transitions(demos):
    batch, _ = sources(demos)["experience"].draw(None, jr.key(0), 50)
    assert isinstance(batch, Batch)
    assert (batch.visited.obs["at"][:, 0] == -1).all()
    assert (batch.expert.obs["at"][:, 0] > 0).all()


def test_rewarded_replay_pairs_rewards_with_their_transitions(demos):
    drawn, _ = sources(demos)["rewards"].draw(None, jr.key(0), 50)
    assert isinstance(drawn, Rewarded)
    assert (drawn.reward == drawn.transitions.obs["cell"]).all()


def test_a_checkpoint_of_another_replay_is_refused(demos):
    saved = sources(demos)["rewards"].saved()
    with pytest.raises(ValueError, match="do not fit"):
        RewardedReplay(empty_replay(TASK, 5)).restored(saved)


def test_demonstrations_without_actions_are_refused(demos):
    with pytest.raises(InputError, match="field 'act' is missing"):
        Demonstrations.of(demos.without_actions())
