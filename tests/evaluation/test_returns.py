"""Playing episodes: seeds, lanes, ends, and recorded data."""

from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from iqlearn.data.demos import Demos
from iqlearn.evaluation.returns import RESET_SEEDS, Evaluator, as_arrays, normalised, reset_seed

LIMIT = 6


class Toy(gym.Env):
    """Observes (reset seed or −1, time); terminates after 3, 4, … 8 steps by the seed; rewards 10·time + action.

    Like some simulators, it returns the same array in every step and overwrites it.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.shown = np.array([-1 if seed is None else seed, 0], np.float32)
        return self.shown, {}

    def step(self, action):
        reward = 10.0 * self.shown[1] + int(action)
        self.shown[1] += 1
        return self.shown, reward, bool(self.shown[1] >= lifetime(int(self.shown[0]))), False, {}


def lifetime(seed: int) -> int:
    return 3 + seed % 6


@pytest.fixture
def toy():
    gym.register("IqlearnToy-v0", entry_point=Toy, max_episode_steps=LIMIT)
    yield "IqlearnToy-v0"
    del gym.registry["IqlearnToy-v0"]


def by_state(obs: np.ndarray) -> np.ndarray:
    """A policy of the observation alone."""
    return (obs.sum(axis=1) % 3).astype(np.int64)


def play(env: str, episodes: int, seed: int = 0, lanes: int = 4, act=by_state):
    evaluator = Evaluator(env, lanes)
    try:
        return evaluator.play(act, episodes, seed)
    finally:
        evaluator.close()


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def balance(obs: np.ndarray) -> np.ndarray:
    return (obs[:, 2] + 0.2 * obs[:, 3] > 0).astype(np.int64)


@pytest.mark.parametrize("lanes", [1, 2, 3, 7, 50])
def test_episodes_do_not_depend_on_the_lanes(toy, lanes):
    for mine, reference in zip(play(toy, 9, lanes=lanes), play(toy, 9, lanes=9), strict=True):
        assert same(mine, reference)


def test_returns_in_cartpole_do_not_depend_on_the_lanes():
    results = []
    for lanes in (1, 3, 5):
        evaluator = Evaluator("CartPole-v1", lanes)
        results.append(evaluator.returns(lambda obs: (obs[:, 2] > 0).astype(int), episodes=5, seed=11).tolist())
        evaluator.close()
    assert results[0] == results[1] == results[2]
    assert len(set(results[0])) > 1


def test_episode_i_begins_from_reset_seed_plus_i(toy):
    episodes = play(toy, 7, seed=100, lanes=3)
    assert [episode.obs[0].tolist() for episode in episodes] == [[100 + i, 0] for i in range(7)]
    env = gym.make("CartPole-v1")
    for i, episode in enumerate(play("CartPole-v1", 3, seed=5, lanes=2, act=lambda obs: np.zeros(len(obs), int))):
        assert episode.obs[0].tolist() == env.reset(seed=5 + i)[0].tolist()
    env.close()


def test_first_episodes_do_not_depend_on_the_number_of_episodes(toy):
    for mine, reference in zip(play(toy, 3, seed=4), play(toy, 8, seed=4), strict=False):
        assert same(mine, reference)


def test_reused_evaluator_returns_the_same_results(toy):
    evaluator = Evaluator(toy, lanes=3)
    first = evaluator.returns(by_state, 5, seed=2)
    evaluator.returns(by_state, 8, seed=77)
    assert evaluator.returns(by_state, 5, seed=2).tolist() == first.tolist()
    evaluator.close()


def test_the_policy_sees_batches_of_one_size(toy):
    """Then a policy is compiled only once, however different the lengths of the episodes."""
    sizes = set()

    def act(obs: np.ndarray) -> np.ndarray:
        sizes.add(obs.shape)
        return by_state(obs)

    play(toy, 10, lanes=4, act=act)
    assert sizes == {(4, 2)}


def test_fewer_episodes_than_lanes_are_played(toy):
    assert len(play(toy, 1, lanes=50)) == 1


def test_episode_records_every_step(toy):
    for i, episode in enumerate(play(toy, 8, seed=30, lanes=3)):
        n = min(lifetime(30 + i), LIMIT)
        assert episode.obs.tolist() == [[30 + i, t] for t in range(n)]
        assert episode.next_obs.tolist() == [[30 + i, t + 1] for t in range(n)]
        assert episode.act.tolist() == [(30 + i + t) % 3 for t in range(n)]
        assert episode.rew.tolist() == [10 * t + (30 + i + t) % 3 for t in range(n)]


def test_time_limit_is_not_a_termination(toy):
    ends = {lifetime(i): episode.terminated for i, episode in enumerate(play(toy, 6))}
    assert ends == {3: True, 4: True, 5: True, 6: True, 7: False, 8: False}


def test_cartpole_at_its_time_limit_is_truncated():
    episode = play("CartPole-v1", 1, act=balance)[0]
    assert (len(episode.rew), episode.terminated) == (500, False)
    fallen = play("CartPole-v1", 1, act=lambda obs: np.zeros(len(obs), int))[0]
    assert len(fallen.rew) < 50
    assert fallen.terminated


@pytest.mark.parametrize("lanes", [1, 2])
def test_recorded_actions_survive_an_environment_that_overwrites_actions(lanes):
    class Rude(gym.Env):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed, options=options)
            return np.zeros(1, np.float32), {}

        def step(self, action):
            action *= -1.0
            return np.zeros(1, np.float32), float(action[0]), False, True, {}

    given = np.full((lanes, 2), 0.5, np.float32)
    for episode in play(Rude, 2, lanes=lanes, act=lambda obs: given):
        assert episode.act.tolist() == [[0.5, 0.5]]
        assert episode.rew.tolist() == [-0.5]
    assert (given == 0.5).all()


def test_nested_observations_are_played_and_become_named_arrays():
    class Nested(Toy):
        observation_space = gym.spaces.Dict(
            {"both": Toy.observation_space, "of": gym.spaces.Tuple([gym.spaces.Discrete(9)])}
        )

        def tree(self, shown, *rest):
            return {"both": shown, "of": (int(shown[1]),)}, *rest

        def reset(self, *, seed=None, options=None):
            return self.tree(*super().reset(seed=seed, options=options))

        def step(self, action):
            return self.tree(*super().step(action))

    episodes = play(Nested, 3, lanes=2, act=lambda obs: by_state(obs["both"]))
    plain = play(Toy, 3, lanes=2)
    assert [e.obs["both"].tolist() for e in episodes] == [e.obs.tolist() for e in plain]
    arrays = as_arrays(episodes)
    assert set(arrays) == {"act", "rew", "term", "trunc", "ep"} | {
        f"{when}/{part}" for when in ("obs", "next_obs") for part in ("both", "of/0")
    }
    assert arrays["next_obs/of/0"].tolist() == [t + 1 for e in plain for t in range(len(e.rew))]
    assert arrays["next_obs/of/0"].dtype == np.int32


def test_environment_copies_are_made_on_demand_and_closed():
    made, closed = [], []

    class Noted(Toy):
        def __init__(self):
            made.append(self)

        def close(self):
            closed.append(self)

    evaluator = Evaluator(Noted, lanes=5)
    assert made == []
    evaluator.random_returns(9, seed=0)
    assert len(made) == 2, "one for the spaces, and one lane"
    evaluator.returns(by_state, 3, seed=0)
    evaluator.returns(by_state, 3, seed=1)
    assert len(made) == 2 + 3
    evaluator.close()
    assert set(map(id, closed)) == set(map(id, made))


def test_returns_are_sums_of_the_true_reward(toy):
    evaluator = Evaluator(toy)
    returns = evaluator.returns(by_state, 6, seed=0)
    evaluator.close()
    wanted = [sum(10 * t + (i + t) % 3 for t in range(min(lifetime(i), LIMIT))) for i in range(6)]
    assert returns.tolist() == wanted


def test_random_returns_repeat_by_seed(toy):
    evaluator = Evaluator(toy)
    first = evaluator.random_returns(12, seed=3).tolist()
    assert evaluator.random_returns(12, seed=3).tolist() == first
    assert evaluator.random_returns(12, seed=4).tolist() != first
    evaluator.close()


def test_episodes_as_arrays_pass_the_checks_of_demonstrations(toy):
    episodes = play(toy, 6, lanes=2)
    demos = Demos.from_arrays(as_arrays(episodes), source="played")
    lengths = [len(episode.rew) for episode in episodes]
    assert demos.lengths.tolist() == lengths
    last = np.cumsum(lengths) - 1
    assert np.flatnonzero(demos.term).tolist() == last[:4].tolist()
    assert np.flatnonzero(demos.trunc).tolist() == last[4:].tolist()
    assert demos.episode_return.tolist() == [episode.rew.sum() for episode in episodes]
    assert demos.initial_obs.tolist() == [[i, 0] for i in range(6)]
    assert demos.summary()["contiguous"]


def test_recorded_time_limits_are_not_terminal_for_the_learner(toy):
    demos = Demos.from_arrays(as_arrays(play(toy, 6)))
    assert int(demos.transitions.terminal.sum()) == 4


def test_recorded_cartpole_episodes_pass_the_checks_of_demonstrations(cartpole):
    assert cartpole.episodes == 6
    assert cartpole.episode_return.tolist() == cartpole.lengths.tolist()
    assert (int(cartpole.term.sum()), int(cartpole.trunc.sum())) == (6, 0)
    assert cartpole.summary()["contiguous"]


def test_normalised_return_is_0_for_random_and_1_for_expert():
    assert normalised(500.0, 500.0, 20.0) == 1.0
    assert normalised(20.0, 500.0, 20.0) == 0.0
    assert normalised(-76.0, -76.0, -500.0) == 1.0
    assert normalised(260.0, 500.0, 20.0) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [(None, 1.0, 0.0), (1.0, None, 0.0), (1.0, 1.0, None), (1.0, 3.0, 3.0)])
def test_normalised_return_is_none_where_undefined(values):
    assert normalised(*values) is None


def test_no_two_purposes_share_reset_seeds():
    """Seeds up to 1,000 with 1,000 episodes each. Training resets below 1,000,000; rollouts have three kinds."""
    first = {purpose: [reset_seed(purpose, seed) for seed in range(1_001)] for purpose in RESET_SEEDS}
    first["rollouts"] = sorted(seed + kind for seed in first["rollouts"] for kind in (0, 10_000, 20_000))
    blocks = [range(1_000_000), *(range(begin, begin + 1_000) for begins in first.values() for begin in begins)]
    assert len(blocks) == 1 + 6 * 1_001
    assert all(before.stop <= after.start for before, after in pairwise(blocks))
    assert blocks[-1].stop <= 2**31


@pytest.mark.parametrize("purpose", RESET_SEEDS)
def test_large_seeds_stay_within_the_range_of_their_purpose(purpose):
    ends = [*RESET_SEEDS.values(), 2**31]
    end = ends[ends.index(RESET_SEEDS[purpose]) + 1]
    for seed in (0, 5_999, 6_000, 100_000, 12_345_678, 2**31 - 1):
        assert RESET_SEEDS[purpose] <= reset_seed(purpose, seed) <= end - 1_000


def test_reset_seeds_match_those_of_earlier_results():
    assert reset_seed("in_training", 7) == 1_007_000
    assert reset_seed("rollouts", 3) == 7_300_000
