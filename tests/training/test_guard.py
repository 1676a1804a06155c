"""The guard: which policy a run returns, and when training goes back to it, without reading a reward."""

import math
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.runs import folder
from iqlearn.training import guard
from iqlearn.training.callbacks import Callback

SMALL = iq.Network((8,))
SETTINGS = iq.IQLearnContinuous(
    critic=SMALL, actor=SMALL, batch_size=4, extensions=(iq.Cloning(updates=50, reach=0.0),)
)
LENGTH = {"steps": 80, "evaluations": 8, "eval_episodes": 1, "quiet": True, "seed": 3}
KNOWN = {"env": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 10}}
DISTANCES = (0.1, 0.09, 0.05, 0.5, 0.06, 0.5, 0.5, 0.04, 0.9)
"""The first update follows the evaluation at step 10. Those at 30, 50, 60 and 80 have drifted."""
ACTING = iq.Interaction(random_steps=0, round_steps=10)


def rows(*distances, first=0):
    """Evaluations every ten steps with these occupancy distances."""
    return [{"step": 10 * i, "updates": 10 * i, "occupancy_distance": d} for i, d in enumerate(distances, start=first)]


@pytest.mark.parametrize(
    ("distances", "first", "found"),
    [
        ([0.5, 0.3, 0.4], 1, 1),
        ([0.5, 0.3, 0.3], 1, 2),  # of equals the last
        ([0.5, math.nan, None], 1, 0),
        ([None, None], 1, None),
        ([0.1, 0.19, 0.2], 0, 1),  # the pretrained policy's critics are not trained
        ([0.1, 0.3, 0.4], 0, 0),  # unless all later policies have drifted
        ([0.0, 0.009, 0.02], 0, 1),  # noise is no drift
        ([0.1], 0, 0),
    ],
)
def test_best_policy_is_the_one_closest_to_the_expert(distances, first, found):
    assert guard.best(rows(*distances, first=first), noise=0.01) == found


@pytest.mark.parametrize(
    ("distance", "figures", "told"),
    [
        (0.19, {}, None),
        (0.25, {}, r"2\.5 times as far from the expert's"),
        (math.nan, {}, "inf times as far"),
        (0.1, {"reward_bound": 3.9, "critic_gradient_norm": 29.0}, None),
        (0.1, {"reward_bound": 4.1}, r"the bound of the reward is 4\.1, above 4\.0"),
        (0.1, {"critic_gradient_norm": 31.0}, r"the gradient norm of the critics is 31\.0, above 30\.0"),
        (0.1, {"reward_bound": None}, None),
    ],
)
def test_trouble_reports_drift_reward_bound_and_gradient_norm(distance, figures, told):
    seen = rows(0.1, distance)
    seen[-1] |= figures
    found = guard.trouble(seen, noise=0.01, target=1.0)
    assert (found is None) == (told is None)
    if told is not None and found is not None:
        assert re.search(told, found)


def test_limits_are_relative_to_r_max():
    seen = rows(0.1, 0.1)
    seen[-1] |= {"reward_bound": 7.9, "critic_gradient_norm": 59.0}
    assert guard.trouble(seen, 0.01, target=1.0)
    assert guard.trouble(seen, 0.01, target=2.0) is None


@pytest.mark.parametrize("figure", [{"critic_gradient_norm": 1_500.0}, {"reward_bound": 15.0}])
def test_figures_of_critics_are_relative_to_the_targets_of_a_squared_bellman_error(figure, pendulum):
    """LS-IQ fits values of up to r_max/(1−γ) = 200. A run of 50,000 steps on Hopper-v5 has these figures."""
    seen = rows(0.1, 0.1)
    seen[-1] |= figure
    small = {"critic": SMALL, "actor": SMALL, "batch_size": 4}
    for settings, told in ((iq.IQLearnContinuous.ls_iq(**small), None), (SETTINGS, "of the ")):
        found = guard.trouble(seen, 0.01, learn(pendulum, settings=settings, steps=20, evaluations=1).target)
        assert found is None if told is None else told in str(found)


@pytest.fixture
def drifting(monkeypatch):
    """The occupancy distance of each evaluation is given."""

    def use(*distances):
        given = iter(distances)
        monkeypatch.setattr("iqlearn.evaluation.occupancy.ExpertStates.distance", lambda *_: next(given))

    return use


def learn(pendulum, settings=SETTINGS, **more):
    return iq.learn(settings, pendulum, interaction=ACTING, **KNOWN, **LENGTH | more)


class Seen(Callback):
    """Keeps the live actor, the one that is evaluated, and the learning rates after each evaluation."""

    def __init__(self):
        self.live, self.actors, self.rates, self.evaluated = [], [], [], []

    def on_evaluation(self, training):
        learner = training.learners[0]
        state = learner.state
        self.live.append(state.model.actor)
        self.actors.append(learner.algorithm.policy(state).actor)
        self.rates.append(float(state.rate))
        self.evaluated.append(training.runs[0].last.actor)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.mark.parametrize("average_rate", [1.0, 0.3])
def test_training_goes_back_to_the_best_policy_with_smaller_rates(pendulum, drifting, average_rate):
    """The live actor is reset to the evaluated average too."""
    drifting(*DISTANCES)
    seen, settings = Seen(), replace(SETTINGS, average_rate=average_rate)
    run = iq.learn(settings, pendulum, interaction=ACTING, callbacks=[seen], **KNOWN, **LENGTH)
    assert [one["step"] for one in run.result["guard"]] == [30, 50, 60], "three times at most"
    assert all("times as far from the expert's" in one["because"] for one in run.result["guard"])
    np.testing.assert_allclose(seen.rates, np.cumprod([1, 1, 1, 0.3, 1, 0.3, 0.3, 1, 1]), rtol=1e-6)
    for at in (3, 5, 6):
        assert same(seen.actors[at], seen.evaluated[2])
        assert same(seen.live[at], seen.evaluated[2])
    assert not same(seen.actors[7], seen.evaluated[2])
    assert run.result["best_step"] == 70
    assert same(run.model.actor, seen.evaluated[7])
    assert same(run.last.actor, seen.evaluated[8])


def test_guard_does_not_act_after_the_last_step(pendulum, drifting):
    drifting(0.1, *[0.05] * 7, 0.9)
    run = learn(pendulum)
    assert "guard" not in run.result
    assert run.result["best_step"] == 70


def test_pretrained_policy_is_returned_if_every_later_policy_drifts(pendulum, drifting):
    drifting(0.1, *[0.9] * 8)
    run = learn(pendulum)
    assert run.result["best_step"] == 0
    with pytest.warns(UserWarning, match="returns the pretrained policy, so its reward is that of critics before"):
        _ = run.reward


@pytest.mark.parametrize("which", ["without pretraining", "of states alone"])
def test_guard_is_inactive_without_pretraining(which, pendulum, drifting):
    drifting(0.1, *[0.9] * 9)
    plain = replace(SETTINGS, extensions=())
    settings = plain if which == "without pretraining" else replace(plain, state_only=True)
    run = iq.learn(settings, pendulum, interaction=ACTING, **KNOWN, **LENGTH)
    assert "guard" not in run.result
    assert run.rows[0]["step"] > 0


@pytest.mark.parametrize("which", ["the clone is only the start", "CSIL"])
def test_guard_is_inactive_where_the_method_does_not_stay_near_its_clone(which, pendulum, drifting):
    """The peers of IQ-Learn are not rolled back. Their run returns the clone if every later policy drifts."""
    drifting(0.1, *[0.9] * 8)
    begun = iq.Cloning(updates=50, reach=0.0, weight=0.0, regularisation=0.0)
    csil = iq.CSIL(critic=SMALL, actor=SMALL, batch_size=4, cloning_updates=50, critic_updates=50)
    settings = csil if which == "CSIL" else replace(SETTINGS, extensions=(begun,))
    run = iq.learn(settings, pendulum, interaction=ACTING, **KNOWN, **LENGTH)
    assert "guard" not in run.result
    assert run.rows[0]["step"] == 0
    assert run.result["best_step"] == 0


def test_guard_detects_diverging_critics_in_a_real_run(pendulum):
    """A learning rate far too high: the bound of the reward leaves its range within ten updates."""
    run = iq.learn(replace(SETTINGS, learning_rate=3.0), pendulum, interaction=ACTING, **KNOWN, **LENGTH)
    told = [one["because"] for one in run.result["guard"]]
    assert 1 <= len(told) <= guard.RETURNS
    assert any("the bound of the reward is" in one or "the gradient norm of the critics is" in one for one in told)


def test_run_reset_by_the_guard_resumes_bit_for_bit(pendulum_file, drifting, tmp_path, snapshots, same_run):
    demos = iq.Demos.load(pendulum_file)
    drifting(*DISTANCES)
    copies = snapshots(tmp_path / "run")
    learn(demos, out=tmp_path / "run", callbacks=[copies])
    for at in (3, 4, 6):
        drifting(*DISTANCES[at + 1 :])
        iq.resume(copies.copies[at], quiet=True)
        same_run(copies.copies[at], tmp_path / "run")


def test_a_run_that_stops_right_after_a_rollback_keeps_its_last_policy(pendulum_file, drifting, tmp_path, snapshots):
    class Stop(Callback):
        def on_start(self, training):
            return True

    drifting(*DISTANCES)
    copies = snapshots(tmp_path / "run")
    learn(iq.Demos.load(pendulum_file), out=tmp_path / "run", callbacks=[copies])
    for at in (3, 4, 6):
        last = copies.copies[at] / folder.LAST
        evaluated = last.read_bytes()
        iq.resume(copies.copies[at], callbacks=[Stop()], quiet=True)
        assert last.read_bytes() == evaluated
