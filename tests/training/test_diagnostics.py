"""Evaluation figures that need no true reward, from held-out episodes and from played ones."""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.evaluation.imitation import imitation

SMALL = iq.Network((8,))
LENGTH = {"steps": 20, "evaluations": 2, "eval_episodes": 1, "quiet": True}
ACTING = iq.Interaction(random_steps=5, round_steps=5)
HELD = ("held_out_log_likelihood", "held_out_agreement", "held_out_relative_error")
PAID = ("reward_gap", "held_out_reward_gap", "largest_reward")
CASES = {
    "iq": (iq.IQLearn(network=SMALL, batch_size=4), True),
    "bc": (iq.BC(network=SMALL, batch_size=4), False),
    "sqil": (iq.SQIL(network=SMALL, batch_size=4), False),
    "iq-continuous": (iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=4), True),
    "bc-continuous": (iq.BCContinuous(actor=SMALL, batch_size=4), False),
}


def learn(settings, demos, **more):
    task = {"env": "CartPole-v1"} if settings.discrete else {"env": "Pendulum-v1"}
    acting = {} if settings.acts == "never" else {"interaction": ACTING}
    return iq.learn(settings, demos, **{**task, "max_episode_steps": 200, **acting, **LENGTH, **more})


@pytest.fixture
def demos_of(cartpole, pendulum):
    return lambda settings: cartpole if settings.discrete else pendulum


@pytest.mark.parametrize("name", CASES)
def test_each_algorithm_reports_the_figures_that_apply(name, demos_of):
    settings, pays = CASES[name]
    demos = demos_of(settings)
    part = demos.take(1)
    row = learn(settings, part).rows[-1]
    expected = HELD[:2] if settings.discrete else HELD[::2]
    assert {column for column in (*HELD, *PAID) if column in row} == {*expected, *(PAID if pays else ())}
    assert all(math.isfinite(row[column]) for column in (*expected, *(PAID if pays else ())))
    assert row["occupancy_distance"] >= 0.0
    whole = learn(settings, demos).rows[-1]
    assert not any(column.startswith("held_out") for column in whole), "no rows are taken from the learner"
    assert ("reward_gap" in whole) == pays


def test_held_out_figures_match_the_evaluated_policy(cartpole):
    part = cartpole.take(3)
    run = learn(CASES["bc"][0], part, evaluations=1)
    found = imitation(run.last, part.held_out)
    assert run.rows[-1]["held_out_log_likelihood"] == found["log_likelihood"]
    assert run.rows[-1]["held_out_agreement"] == found["agreement"]


def test_held_out_likelihood_is_reported_without_an_environment(cartpole):
    part = replace(cartpole, env=None).take(3)
    rows = iq.learn(CASES["iq"][0], part, **LENGTH).rows
    assert all("held_out_log_likelihood" in row and "reward_gap" not in row for row in rows)


def test_state_only_learning_reports_no_action_or_reward_figures(cartpole):
    settings = replace(CASES["iq"][0], state_only=True)
    row = learn(settings, cartpole.take(3)).rows[-1]
    assert not any(column in row for column in (*HELD, *PAID))
    assert "occupancy_distance" in row


def test_learner_never_reads_held_out_episodes(cartpole):
    part = cartpole.take(3)
    assert part.held_out is not None
    other = replace(part, held_out=replace(part.held_out, obs=-part.held_out.obs, act=1 - part.held_out.act))
    a, b = (learn(CASES["iq"][0], each) for each in (part, other))
    assert all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a.state, b.state)), strict=True))
    assert a.rows[-1]["held_out_agreement"] != b.rows[-1]["held_out_agreement"]
    same = [{k: v for k, v in run.rows[-1].items() if not k.startswith("held_out")} for run in (a, b)]
    assert same[0].keys() == same[1].keys()
    assert {k for k in same[0] if same[0][k] != same[1][k]} <= {"largest_reward"}


@pytest.mark.parametrize("name", ["iq", "iq-continuous"])
def test_resumed_run_reports_the_same_figures(name, cartpole_file, pendulum_file, tmp_path, stop_at, same_run):
    settings = CASES[name][0]
    part = iq.Demos.load(cartpole_file if settings.discrete else pendulum_file).take(1, seed=2)
    learn(settings, part, out=tmp_path / "whole")
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        learn(settings, part, out=tmp_path / "run")
    resumed = iq.resume(tmp_path / "run", quiet=True)
    assert "held_out_reward_gap" in resumed.rows[-1]
    same_run(tmp_path / "run", tmp_path / "whole")


def test_resume_rejects_other_held_out_episodes(cartpole, tmp_path, stop_at):
    part = cartpole.take(2)
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        learn(CASES["bc"][0], part, out=tmp_path / "run")
    with pytest.raises(iq.InputError, match=r"held out from learning is missing; expected the same `take`"):
        iq.resume(tmp_path / "run", replace(part, held_out=None), quiet=True)
    with pytest.raises(iq.InputError, match=r"held out from learning is not what .*; expected SHA-256"):
        iq.resume(tmp_path / "run", replace(part, held_out=cartpole.take(3).held_out), quiet=True)
    resumed = iq.resume(tmp_path / "run", part, quiet=True)
    assert "held_out_agreement" in resumed.rows[-1]


def test_run_without_held_out_episodes_resumes_without_them(cartpole, tmp_path, stop_at):
    part = replace(cartpole.take(2), held_out=None)
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        learn(CASES["bc"][0], part, out=tmp_path / "run")
    resumed = iq.resume(tmp_path / "run", cartpole.take(2), quiet=True)
    assert not any(column.startswith("held_out") for column in resumed.rows[-1])


def test_held_out_actions_at_and_beyond_bounds_have_a_finite_likelihood(pendulum_arrays):
    """Without an environment, the bounds are those of the training rows."""
    arrays = {**pendulum_arrays, "act": pendulum_arrays["act"].clip(-0.5, 0.5)}
    del arrays["env"]
    held = arrays["ep"] == 1
    arrays["act"][held] = np.where(np.arange(held.sum())[:, None] % 2 == 0, 1.0, 300.0)
    demos = iq.Demos.from_arrays(arrays, "wide.npz")
    for settings in (CASES["iq-continuous"][0], replace(CASES["iq-continuous"][0], squash="clip", scaling="standard")):
        row = iq.learn(settings, demos.take(1), **LENGTH).rows[-1]
        assert math.isfinite(row["held_out_log_likelihood"])
        assert math.isfinite(row["held_out_relative_error"])


def test_held_out_actions_unknown_to_the_policy_cause_a_warning(cartpole_arrays):
    arrays = {**cartpole_arrays, "act": np.where(cartpole_arrays["ep"] == 0, 0, cartpole_arrays["act"])}
    arrays["act"][:3] = 1
    arrays["act"][-1] = 2
    del arrays["env"]
    demos = iq.Demos.from_arrays(arrays, "three.npz")
    with pytest.warns(UserWarning, match=r"No policy is evaluated on the episodes that were left out\. three\.npz"):
        run = iq.learn(CASES["bc"][0], demos.take(1), **LENGTH)
    assert not any(column.startswith("held_out") for column in run.rows[-1])
    run = iq.learn(CASES["bc"][0], demos.with_choices(3).take(1), **LENGTH)
    assert "held_out_agreement" in run.rows[-1]


def test_reward_gap_is_not_reported_before_the_first_update(pendulum):
    settings = replace(CASES["iq-continuous"][0], extensions=(iq.Cloning(updates=20, reach=0.0),))
    rows = learn(settings, pendulum.take(1)).rows
    assert (rows[0]["step"], rows[0]["updates"]) == (0, 0)
    assert "held_out_log_likelihood" in rows[0]
    assert "reward_gap" not in rows[0]
    assert "reward_gap" in rows[-1]
