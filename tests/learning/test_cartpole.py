"""Learning for real, bounded in time: the main job, and its baseline beside it."""

import numpy as np
import pytest

from iqlearn import BC, Demos, IQLearn, learn, learn_seeds
from iqlearn.settings import Imagination

pytestmark = pytest.mark.slow


def test_one_demonstration_every_20th_step_offline_is_enough():
    demos = Demos.builtin("CartPole-v1")
    parts = [demos.take(1, seed=seed).subsample(20, seed=seed) for seed in range(3)]
    assert [len(part) for part in parts] == [25] * 3
    runs = learn_seeds(IQLearn(), parts, seeds=range(3), evaluations=1)
    means = [run.result["mean_return"] for run in runs]
    assert np.median(means) >= 475, means


def test_a_chattering_expert_is_imitated_better_than_by_cloning(expert_demos):
    demos = expert_demos("CartPole-v1")
    parts = [demos.take(1, seed=seed).subsample(20, seed=seed) for seed in range(3)]
    means = {
        settings.name: np.mean(
            [
                run.result["mean_return"]
                for run in learn_seeds(settings, parts, seeds=range(3), env="CartPole-v1", evaluations=1)
            ]
        )
        for settings in (IQLearn(), BC())
    }
    assert means["iq"] > means["bc"] + 100, means


def test_a_whole_demonstration_is_enough_for_cloning():
    run = learn(BC(), Demos.builtin("CartPole-v1").take(2), evaluations=1)
    assert run.result["normalised_return"] > 0.9


def test_without_a_model_of_the_dynamics_a_lander_lands(expert_demos):
    demos = expert_demos("LunarLander-v3").take(7, seed=0).subsample(5, seed=0)
    run = learn(IQLearn(), demos, env="LunarLander-v3", evaluations=1)
    assert not run.imagines
    assert run.result["normalised_return"] > 0.7


def test_the_reward_is_higher_where_the_expert_went():
    """The recovered reward prefers the expert's action to the other one, in the expert's states."""
    demos = Demos.builtin("CartPole-v1")
    run = learn(IQLearn(), demos.take(1, seed=0).subsample(20, seed=0), evaluations=1)
    held_out = demos.take(5, seed=1)
    other = Demos.from_arrays({**held_out.arrays(), "act": 1 - held_out.act})
    assert run.reward(held_out).mean() > run.reward(other).mean()


def test_every_divergence_learns_offline():
    """The likelihood form, on one whole demonstration: each keeps most of the expert's actions."""
    demos = Demos.builtin("CartPole-v1").take(1)
    for name in ("chi2", "tv", "unbiased_kl", "donsker_varadhan", "reverse_kl", "hellinger", "jensen_shannon"):
        settings = IQLearn(divergence=name, imagination=Imagination(error_limit=0.0), temperature=1.0)
        run = learn(settings, demos, steps=3_000, evaluations=1, eval_episodes=1)
        agreement = np.mean(run.policy(demos.obs) == demos.act)
        assert agreement > 0.9, (name, agreement)
