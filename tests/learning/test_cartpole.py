"""Full training runs, bounded in time: imitation learning, and cloning as its baseline."""

import numpy as np
import pytest

import iqlearn as iq

pytestmark = pytest.mark.slow


def means(settings_of, parts: list[iq.Demos], **more) -> list[float]:
    """Mean return of each seed, with the settings that `settings_of` gives for the first demonstrations."""
    settings = settings_of(parts[0], quiet=True)
    runs = iq.learn(settings, parts, seeds=range(len(parts)), evaluations=1, quiet=True, **more)
    return [run.result["mean_return"] for run in runs]


def cloning(demos: iq.Demos, quiet: bool) -> iq.BC:
    return iq.recommended(demos, algorithm="bc", quiet=quiet)


def test_one_demonstration_of_every_20th_step_is_enough_offline():
    demos = iq.Demos.builtin("CartPole-v1")
    parts = [demos.take(1, seed=seed).subsample(20, seed=seed) for seed in range(3)]
    assert [len(part) for part in parts] == [25] * 3
    found = means(iq.recommended, parts)
    assert np.median(found) >= 475, found


def test_iq_learn_beats_cloning_on_a_chattering_expert(expert_demos):
    demos = expert_demos("CartPole-v1")
    parts = [demos.take(1, seed=seed).subsample(20, seed=seed) for seed in range(3)]
    ours, cloned = (np.mean(means(of, parts, env="CartPole-v1")) for of in (iq.recommended, cloning))
    assert ours > cloned + 100, (ours, cloned)


def test_two_whole_demonstrations_are_enough_for_cloning(median_return):
    assert median_return(iq.BC(), iq.Demos.builtin("CartPole-v1").take(2)) > 0.9


def test_lunar_lander_is_learnt_without_a_model_of_the_dynamics(expert_demos, median_return):
    demos = expert_demos("LunarLander-v3").take(7, seed=0).subsample(5, seed=0)
    settings = iq.recommended(demos, "LunarLander-v3", quiet=True)
    assert settings.extensions == ()
    assert median_return(settings, demos, "LunarLander-v3") > 0.7


def test_recovered_reward_prefers_the_expert_actions():
    """The recovered reward prefers the expert's action to the other one, in the expert's states."""
    demos = iq.Demos.builtin("CartPole-v1")
    part = demos.take(1, seed=0).subsample(20, seed=0)
    run = iq.learn(iq.recommended(part, quiet=True), part, evaluations=1, quiet=True)
    held_out = demos.take(5, seed=1)
    other = iq.Demos.from_arrays({**held_out.arrays(), "act": 1 - held_out.act})
    assert run.reward(held_out).mean() > run.reward(other).mean()


def test_seven_divergences_learn_offline():
    """The data are one whole demonstration. Each policy reproduces most of the expert's actions."""
    demos = iq.Demos.builtin("CartPole-v1").take(1)
    for name in ("chi2", "tv", "unbiased_kl", "donsker_varadhan", "reverse_kl", "hellinger", "jensen_shannon"):
        changes = {"divergence": name, "extensions": (), "temperature": 1.0}
        settings = iq.recommended(demos, quiet=True, **changes)
        run = iq.learn(settings, demos, steps=3_000, evaluations=1, eval_episodes=1, quiet=True)
        agreement = np.mean(run.policy(demos.obs) == demos.act)
        assert agreement > 0.9, (name, agreement)


def test_paper_defaults_learn_offline_from_five_whole_demonstrations(median_return):
    assert median_return(iq.IQLearn(), iq.Demos.builtin("CartPole-v1").take(5)) > 0.5
