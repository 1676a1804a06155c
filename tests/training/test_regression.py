"""Online, the reward is found once, between the expert and what a newcomer meets, and learning goes on from there."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import session
from iqlearn.acting import Online
from iqlearn.beginning import begin
from iqlearn.learning import continue_runs
from iqlearn.settings import Imitation, Inference, Interaction, Network, Regression, Schedule
from iqlearn.training import on_device

CRITIC, ACTOR = Network(hidden=(4,), ensemble=2), Network(hidden=(4,))
SETTINGS = iq.IQLearnContinuous(
    form="regressed",
    network=CRITIC,
    actor=ACTOR,
    batch_size=4,
    online=Imitation(warm_start=20),
    regression=Regression(steps=30, updates=300),
)
ACTING = Interaction(random_steps=5, round_steps=10)
LENGTH = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "quiet": True}


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


def group_of(demos: iq.Demos, settings: iq.IQLearnContinuous = SETTINGS, acting: Interaction = ACTING) -> Online:
    run = begin(settings, demos, Schedule(steps=500), "Pendulum-v1", interaction=acting)
    group = Online([run], on_device([demos]))
    group.compile()
    return group


def leaves(tree) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_the_reward_is_found_once_before_the_first_update(pendulum):
    group = group_of(pendulum)
    found = []
    for _ in range(6):
        group.advance(10)
        found.append((leaves(group.states[0].reward), int(group.states[0].step)))
    group.close()
    rewards, updates = zip(*found, strict=True)
    assert updates == (0, 0, 0, 0, 10, 20)
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert np.any(rewards[1] != rewards[2])
    for later in rewards[3:]:
        np.testing.assert_array_equal(later, rewards[2])


@pytest.mark.slow
def test_the_reward_tells_the_expert_from_what_was_met(pendulum):
    group = group_of(pendulum, replace(SETTINGS, regression=Regression(steps=40, updates=2_000)))
    group.advance(40)
    reward, met, expert = group.states[0].reward, group.data.replay.newest(40), pendulum.transitions
    group.close()
    of_expert, of_others = (float(np.mean(reward(x.obs, x.action))) for x in (expert, met))
    assert of_expert > of_others + 0.2
    assert np.abs(reward(met.obs, met.action)).max() <= SETTINGS.reward_limit


def test_actions_are_random_at_first_and_the_clones_in_the_end(pendulum):
    """Of 400 steps the share of random actions falls from 1 to 0."""
    group = group_of(pendulum, replace(SETTINGS, regression=Regression(steps=400, updates=1)))
    group.advance(400)
    met = group.data.replay.newest(400)
    away = np.abs(np.asarray(group.states[0].model.act(met.obs)) - np.asarray(met.action))[::-1, 0] > 1.0
    group.close()
    assert away[:100].mean() > away[300:].mean() + 0.2


def test_an_interrupted_run_resumed_is_the_whole_run(pendulum, tmp_path, stop_at):
    """Stopped before the reward is found, and after."""
    learn = {"env": "Pendulum-v1", "interaction": ACTING, "seed": 3, **LENGTH}
    iq.learn(SETTINGS, pendulum, out=tmp_path / "whole", **learn)
    for number in (2, 3):
        out = tmp_path / str(number)
        stop_at(number)
        assert iq.learn(SETTINGS, pendulum, out=out, **learn).result["status"] == "interrupted"
        iq.resume(out, pendulum, quiet=True)
        assert (out / "checkpoint.safetensors").read_bytes() == (tmp_path / "whole/checkpoint.safetensors").read_bytes()


def test_without_the_experts_actions_the_reward_is_found_when_they_are_inferred(pendulum):
    inference = Inference(steps=30, rounds=3, updates=5)
    group = group_of(pendulum, replace(SETTINGS, state_only=True, inference=inference))
    group.advance(20)
    before = leaves(group.states[0].reward)
    group.advance(10)
    after = leaves(group.states[0].reward)
    group.close()
    assert np.any(before != after)
    assert int(group.data.replay.size) == 0


def test_steps_that_leave_nothing_to_learn_in_are_refused(pendulum):
    with pytest.raises(iq.InputError, match=r"steps is 30; expected at least 41: .* the 30 of regression\.steps"):
        iq.learn(SETTINGS, pendulum, env="Pendulum-v1", interaction=ACTING, steps=30, quiet=True)


def begun(demos: iq.Demos, limit: float, form: str = "auto", steps: int = 60, seed: int = 0) -> iq.Run:
    imitation = Imitation(warm_start=20, reach=0.5, anchor=1.0)
    regression = replace(SETTINGS.regression, error_limit=limit)
    settings = replace(SETTINGS, form=form, online=imitation, regression=regression)
    return begin(settings, demos, Schedule(steps, 1, 1, seed=seed), "Pendulum-v1", interaction=ACTING)


def test_auto_begins_as_the_form_that_suits_the_demonstrations(pendulum):
    pendulum = pendulum.take(1)
    error = begun(pendulum, 0.0).origin.action_error
    assert error is not None
    assert error > 0.0
    for limit, form in ((0.5 * error, "regressed"), (2.0 * error, "inverse")):
        found, asked = begun(pendulum, limit), begun(pendulum, limit, form)
        assert found.origin == asked.origin
        if form == "inverse":
            assert found.settings == asked.settings
            np.testing.assert_array_equal(leaves(found.state), leaves(asked.state))
        else:
            assert found.settings == replace(asked.settings, learn_temperature=True, gamma=0.97, settle_after=20_000)
            np.testing.assert_array_equal(leaves(found.state.model.actor), leaves(asked.state.model.actor))
            np.testing.assert_array_equal(leaves(found.state.clone), leaves(asked.state.clone))
            np.testing.assert_array_equal(leaves(found.state.reward), leaves(asked.state.reward))
    assert begun(pendulum, 0.0, steps=59).settings.form == "inverse"  # no time for a reward first


def test_seeds_of_different_forms_go_one_after_the_other_and_say_why(pendulum, capsys):
    runs = [begun(pendulum.take(1), limit, seed=i) for i, limit in enumerate((0.0, 1.0, 0.0))]
    done = continue_runs(runs, [pendulum.take(1)] * 3, [None] * 3)
    assert [run.settings.form for run in done] == ["regressed", "inverse", "regressed"]
    assert [run.result["seeds_together"] for run in done] == [2, 1, 2]
    assert all(run.result["status"] == "completed" for run in done)
    told = [line for line in capsys.readouterr().err.splitlines() if "form" in line]
    assert ["seed 0: form regressed" in told[0], "seed 1: form inverse" in told[-1]] == [True, True]
    assert "(a clone is trusted up to 1.0)" in told[-1]
