"""`Demos`: selection of episodes and rows, files, summaries, and the arrays that a learner sees."""

import json
from importlib import resources

import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.errors import InputError
from iqlearn.types import ArraySpec


def column(array: np.ndarray, i: int) -> list[int]:
    return array[:, i].astype(int).tolist()


def test_take_keeps_the_first_episodes_whole(counting):
    taken = counting.take(2)
    assert taken.episodes == 2
    assert taken.ep.tolist() == [2] * 5 + [3] * 3
    assert column(taken.obs, 1) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert column(taken.initial_obs, 0) == [2, 3]


def test_take_all_returns_the_same_demonstrations(counting):
    assert counting.take(3).sha256() == counting.sha256()
    assert counting.take(3, seed=4).sha256() == counting.sha256()


def test_take_is_reproducible_by_seed_and_varies_across_seeds(counting):
    choices = {seed: tuple(np.unique(counting.take(1, seed=seed).ep)) for seed in range(20)}
    assert set(choices.values()) == {(2,), (3,), (9,)}
    assert choices == {seed: tuple(np.unique(counting.take(1, seed=seed).ep)) for seed in range(20)}


@pytest.mark.parametrize("seed", range(5))
def test_take_by_seed_keeps_episode_order_initial_states_and_returns(counting, seed):
    taken = counting.take(2, seed=seed)
    numbers = np.unique(taken.ep)
    assert len(numbers) == 2
    assert (np.diff(taken.ep) >= 0).all()
    assert column(taken.initial_obs, 0) == numbers.tolist()
    assert taken.episode_return is not None
    for number, value in zip(numbers, taken.episode_return, strict=True):
        assert value == counting.rew[counting.ep == number].sum()


def test_take_of_more_episodes_includes_those_of_fewer_for_one_seed(counting):
    """Curves over the number of trajectories thus compare like with like."""
    one, two = (set(counting.take(n, seed=7).ep.tolist()) for n in (1, 2))
    assert one < two


@pytest.mark.parametrize("n", [0, -1, 4, 1000])
def test_take_of_an_invalid_number_is_rejected_with_the_valid_range(counting, n):
    with pytest.raises(InputError, match=rf"^{n} trajectories asked for, but counting.npz holds 3; expected .*1 to 3"):
        counting.take(n)


@pytest.mark.parametrize("every", [1, 2, 3, 20])
def test_subsample_counts_from_the_start_of_every_episode(counting, every):
    part = counting.subsample(every)
    times = {number: sorted({*range(0, n, every), *ends}) for number, n, ends in ((2, 5, [4]), (3, 3, []), (9, 7, []))}
    wanted = [(number, t) for number in times for t in times[number]]
    assert list(zip(column(part.obs, 0), column(part.obs, 1), strict=True)) == wanted


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5, 20])
def test_longest_never_exceeds_the_steps_of_the_longest_episode(counting_arrays, every):
    """A terminal row is kept wherever it is, so it may follow the row before it after a single step."""
    assert Demos.from_arrays(counting_arrays).subsample(every).longest <= 7
    terminal = counting_arrays["ep"] == 2
    one = Demos.from_arrays({name: array[terminal] for name, array in counting_arrays.items()})
    assert one.longest == 5
    assert one.subsample(every).longest <= 5


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_subsample_starts_at_the_offset(counting, offset):
    part = counting.subsample(3, offset)
    assert (part.obs[~part.term, 1] % 3 == offset).all()
    assert [int(part.obs[part.ep == number, 1][0]) for number in (2, 3, 9)] == [offset] * 3


@pytest.mark.parametrize("every", [2, 3, 4, 20])
def test_subsample_keeps_the_true_next_state(counting, every):
    """s' is one step after s, in the same episode: not the next kept row, and never another episode's."""
    part = counting.subsample(every)
    assert (part.next_obs[:, 0] == part.obs[:, 0]).all()
    assert (part.next_obs[:, 1] == part.obs[:, 1] + 1).all()
    assert (part.obs[:, 0] == part.ep).all()


def test_subsample_keeps_the_fields_of_each_row_aligned(counting):
    part = counting.subsample(2)
    time = part.obs[:, 1].astype(int)
    assert part.act.tolist() == (time % 3).tolist()
    assert part.rew.tolist() == (100 * part.ep + time).tolist()
    assert part.term.tolist() == ((part.ep == 2) & (time == 4)).tolist()
    assert part.trunc.tolist() == (((part.ep == 3) & (time == 2)) | ((part.ep == 9) & (time == 6))).tolist()


def test_subsample_keeps_initial_states_of_dropped_rows(counting):
    part = counting.subsample(3, offset=2)
    assert 0 not in column(part.obs, 1)
    assert part.initial_obs.tolist() == counting.initial_obs.tolist() == [[2, 0], [3, 0], [9, 0]]
    assert part.take(2).initial_obs.tolist() == [[2, 0], [3, 0]]


@pytest.mark.parametrize("every", [3, 20])
def test_subsample_keeps_terminations_and_drops_time_limits(counting, every):
    """A terminal row is kept whatever the step. The last row before a time limit is dropped like any other."""
    part = counting.subsample(every, offset=1)
    assert part.obs[part.term].tolist() == [[2, 4]]
    assert not part.trunc.any()


def test_subsample_rejects_an_offset_beyond_the_shortest_episode(counting):
    with pytest.raises(InputError, match=r"counting\.npz from offset 4 .*shortest has 3, expected an offset below"):
        counting.subsample(5, offset=4)


@pytest.mark.parametrize(("every", "offset"), [(0, 0), (-2, 0), (3, 3), (3, -1)])
def test_subsample_rejects_invalid_step_and_offset(counting, every, offset):
    with pytest.raises(InputError, match=r"expected every \(--subsample\) ≥ 1 and 0 ≤ offset < every"):
        counting.subsample(every, offset)


def test_returns_survive_take_and_subsample(counting):
    whole = [sum(100 * number + t for t in range(n)) for number, n in ((2, 5), (3, 3), (9, 7))]
    part = counting.subsample(2, offset=1)
    assert counting.episode_return.tolist() == part.episode_return.tolist() == whole
    taken = part.take(1)
    assert taken.episode_return.tolist() == whole[:1]
    assert taken.expert_return == part.expert_return == pytest.approx(sum(whole) / 3)


def test_returns_are_none_without_rewards(counting_arrays):
    del counting_arrays["rew"]
    demos = Demos.from_arrays(counting_arrays).take(2).subsample(2)
    assert (demos.rew, demos.episode_return, demos.expert_return) == (None, None, None)
    assert demos.summary()["returns"] is None


def test_unknown_fields_are_ignored_and_integer_rewards_are_accepted(counting_arrays):
    extra = {
        "rew": counting_arrays["rew"].astype(np.int64),
        "timeouts": counting_arrays["trunc"],
        "info": np.array([{}]),
    }
    demos = Demos.from_arrays({**counting_arrays, **extra})
    assert demos.rew.dtype == np.float32
    assert demos.rew.tolist() == counting_arrays["rew"].tolist()


def test_stored_episode_returns_take_precedence_over_rewards(counting_arrays):
    counting_arrays["episode_return"] = np.array([1.0, 2.0, 6.0], np.float32)
    demos = Demos.from_arrays(counting_arrays)
    assert demos.episode_return.tolist() == [1, 2, 6]
    assert demos.expert_return == 3.0


def test_transitions_exclude_rewards_and_time_limits(counting, counting_arrays):
    """The learner's arrays are the same whatever the rewards, and only a termination is terminal."""
    seen = counting.transitions
    assert seen._fields == ("obs", "action", "next_obs", "terminal")
    assert np.flatnonzero(seen.terminal).tolist() == [4]
    other = Demos.from_arrays({**counting_arrays, "rew": counting_arrays["rew"] * -7 + 1}).transitions
    for mine, theirs in zip(seen, other, strict=True):
        assert np.array_equal(mine, theirs)
        assert not np.array_equal(mine, counting.rew)


def test_transitions_have_int32_or_float32_actions(counting_arrays):
    discrete = Demos.from_arrays(counting_arrays)
    assert (discrete.discrete, str(discrete.transitions.action.dtype)) == (True, "int32")
    arrays = {**counting_arrays, "act": np.linspace(-1, 1, 30).reshape(15, 2)}
    continuous = Demos.from_arrays(arrays)
    assert (continuous.discrete, str(continuous.transitions.action.dtype)) == (False, "float32")
    assert continuous.transitions.action.shape == (15, 2)


def test_images_stay_uint8(counting_arrays):
    images = np.arange(15 * 4, dtype=np.uint8).reshape(15, 2, 2, 1)
    demos = Demos.from_arrays({**counting_arrays, "obs": images, "next_obs": images})
    assert demos.transitions.obs.dtype == np.uint8
    assert demos.obs_spec == ArraySpec((2, 2, 1), "uint8")


def test_saved_demonstrations_load_unchanged(counting_arrays, tmp_path):
    demos = Demos.from_arrays({**counting_arrays, "env": np.array("CartPole-v1")}).subsample(2, offset=1)
    demos.save(tmp_path / "new" / "part.npz")
    loaded = Demos.load(tmp_path / "new" / "part.npz")
    for name, array in demos.arrays().items():
        found = loaded.arrays()[name]
        assert found.dtype == array.dtype
        assert np.array_equal(found, array), name
    assert loaded.sha256() == demos.sha256()
    assert (loaded.env, loaded.source, loaded.expert_return) == ("CartPole-v1", "part.npz", demos.expert_return)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["part.npz"]


def test_demonstrations_without_optional_fields_save_and_load(counting_arrays, tmp_path):
    del counting_arrays["rew"]
    Demos.from_arrays(counting_arrays).save(tmp_path / "bare.npz")
    loaded = Demos.load(str(tmp_path / "bare.npz"))
    assert (loaded.rew, loaded.episode_return, loaded.env) == (None, None, None)


CHANGES = {
    "obs": lambda a: a + np.eye(15, 2, dtype=np.float32),
    "next_obs": lambda a: a + np.eye(15, 2, dtype=np.float32),
    "act": lambda a: np.where(np.arange(15) == 7, a + 1, a),
    "term": lambda a: np.zeros_like(a),
    "trunc": lambda a: np.zeros_like(a),
    "ep": lambda a: a + (a == 9),
    "initial_obs": lambda a: a + np.float32(1),
}


@pytest.mark.parametrize("field", CHANGES)
def test_sha256_depends_on_every_array_of_the_learner(counting, field):
    arrays = counting.arrays()
    changed = Demos.from_arrays({**arrays, field: CHANGES[field](arrays[field])})
    assert changed.sha256() != counting.sha256()


def test_sha256_does_not_depend_on_rewards_or_names(counting_arrays):
    fingerprint = Demos.from_arrays(counting_arrays, source="a.npz").sha256()
    other = {**counting_arrays, "rew": counting_arrays["rew"] + 1, "env": np.array("Acrobot-v1")}
    assert Demos.from_arrays(other, source="b.npz").sha256() == fingerprint
    del other["rew"]
    assert Demos.from_arrays(other).sha256() == fingerprint


def test_sha256_differs_between_parts_of_the_demonstrations(counting):
    parts = [counting, counting.take(1), counting.take(2), counting.subsample(2), counting.subsample(2, 1)]
    assert len({part.sha256() for part in parts}) == len(parts)


def test_summary_reports_counts_shapes_actions_and_returns(counting):
    facts = counting.summary()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["source"], facts["env"]) == ("counting.npz", None)
    assert (facts["transitions"], facts["episodes"]) == (15, 3)
    assert facts["episode_length"] == {"mean": 5.0, "min": 3.0, "max": 7.0}
    assert (facts["terminal_ends"], facts["truncated_ends"]) == (1, 2)
    assert (facts["observation_shape"], facts["observation_dtype"]) == ([2], "float32")
    assert (facts["actions"], facts["action_range"]) == ("discrete, numbers 0 to 2", [0.0, 2.0])
    assert facts["returns"] == {"mean": pytest.approx(8234 / 3), "min": 903.0, "max": 6321.0}


def test_summary_reports_whether_rows_are_contiguous(counting):
    assert counting.summary()["contiguous"]
    assert not counting.subsample(2).summary()["contiguous"]


def test_summary_remarks_on_likely_recording_mistakes(counting):
    assert counting.summary()["remarks"] == []
    assert counting.subsample(2).summary()["remarks"] == []  # known to be sub-sampled
    sampled, *_ = Demos.from_arrays(counting.subsample(2).arrays()).summary()["remarks"]
    assert "sub-sampled, or next_obs is not the observation that followed" in sampled
    off = counting.arrays()
    off["next_obs"] = np.where(np.arange(15)[:, None] == 1, off["next_obs"] + 9, off["next_obs"])
    off["trunc"] = np.zeros(15, bool)
    broken, open_ended = Demos.from_arrays(off).summary()["remarks"]
    assert broken.startswith("1 of 12 rows do not begin where the row before them ended (the first is row 2)")
    assert open_ended == "2 of 3 episodes have neither term nor trunc in their last row"


def test_builtin_demonstrations_ship_and_are_small():
    assert Demos.builtin("CartPole-v1").episodes >= 1
    file = resources.files("iqlearn.data") / "builtin" / "CartPole-v1.npz"
    with resources.as_file(file) as path:
        assert path.stat().st_size < 100_000


def test_unknown_builtin_task_is_rejected_with_the_available_tasks():
    with pytest.raises(InputError, match=r"'Pong-v5'; expected one of CartPole-v1.*--demos"):
        Demos.builtin("Pong-v5")


@pytest.mark.parametrize(("task", "episodes", "mean"), [("CartPole-v1", 40, 500.0), ("Hopper-v5", 10, 3728.0)])
def test_expert_files_match_their_description(expert_demos, task, episodes, mean):
    demos = expert_demos(task)
    assert demos.episodes == episodes
    assert demos.expert_return == pytest.approx(mean, abs=0.6)
    assert demos.discrete == (task == "CartPole-v1")
