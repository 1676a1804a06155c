"""Reward regression: online, the reward is found once, from the expert's and a beginner's transitions."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.extensions import reward_first
from iqlearn.extensions.reward_first import leave_one_out_error
from iqlearn.extensions.reward_regression import RewardRegression
from iqlearn.networks import encoders

SMALL = iq.Network((8,))
SETTINGS = iq.IQLearnContinuous(
    critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4, extensions=(RewardRegression(steps=30, updates=300),)
)
ACTING = iq.Interaction(random_steps=5, round_steps=10)
SHORT = {"env": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 10}, "interaction": ACTING, "quiet": True}


def of(extension: RewardRegression) -> iq.IQLearnContinuous:
    return replace(SETTINGS, extensions=(extension,))


class Look(iq.Callback):
    """Records the reward's numbers and the updates after each round, and the newest transitions at the end."""

    def __init__(self) -> None:
        self.rewards, self.updates = [], []

    def on_round(self, training):
        state = training.groups[0].states
        leaves = jax.tree.leaves(state.aux["reward_regression"])
        self.rewards.append(np.concatenate([np.ravel(x) for x in leaves]))
        self.updates.append(int(state.step))

    def on_evaluation(self, training):
        self.met = jax.tree.map(np.asarray, training.groups[0].sources.replay.newest(30))


def test_the_reward_is_found_once_before_the_first_update(pendulum):
    look = Look()
    run = iq.learn(SETTINGS, pendulum, steps=60, evaluations=1, eval_episodes=1, callbacks=[look], **SHORT)
    rewards = look.rewards
    assert look.updates == [0, 0, 0, 0, 10, 20]
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert np.any(rewards[1] != rewards[2])
    for later in rewards[3:]:
        np.testing.assert_array_equal(later, rewards[2])
    met = look.met
    net = run.state.aux["reward_regression"]["net"]
    expert = pendulum.transitions
    of_expert, of_others = (float(np.mean(net(*map(jnp.asarray, (x.obs, x.action))))) for x in (expert, met))
    assert of_expert > of_others, "the expert's states differ from those of a newcomer in ten steps"
    assert np.abs(net(jnp.asarray(met.obs), jnp.asarray(met.action))).max() <= SETTINGS.limit


@pytest.mark.slow
def test_reward_separates_the_expert_from_visited_transitions(pendulum):
    settings, look = of(RewardRegression(steps=40, updates=2_000)), Look()
    run = iq.learn(settings, pendulum, steps=51, evaluations=1, eval_episodes=1, callbacks=[look], **SHORT)
    net = run.state.aux["reward_regression"]["net"]
    of_expert, of_others = (
        float(np.mean(net(jnp.asarray(x.obs), jnp.asarray(x.action)))) for x in (pendulum.transitions, look.met)
    )
    assert of_expert > of_others + 0.2


def test_the_share_of_random_actions_falls_from_one_to_zero(pendulum):
    extension, task = RewardRegression(steps=400), pendulum.task_spec()
    model = SETTINGS.init(task, encoders.blank(task.obs, "none"), jax.random.key(0)).model
    assert [extension.behaviour({}, model, done).random for done in (0, 100, 396)] == pytest.approx([1.0, 0.75, 0.01])
    assert extension.behaviour({}, model, 400) is None


def test_too_few_steps_to_learn_after_the_reward_are_refused(pendulum):
    with pytest.raises(iq.InputError, match=r"steps is 30; expected at least 41: .* the first 30 .reward_regression"):
        iq.learn(SETTINGS, pendulum, steps=30, **SHORT)


@pytest.mark.parametrize(
    ("change", "online", "told"),
    [
        ({}, False, "reward_regression needs states of the learner; expected an online run"),
        ({"divergence": "tv"}, True, "expected chi2_mixture and inverse with reward_regression"),
        ({"form": "least_squares"}, True, "expected chi2_mixture and inverse with reward_regression"),
    ],
)
def test_reward_regression_is_refused_in_unsupported_runs(change, online, told):
    with pytest.raises(iq.InputError, match=told):
        RewardRegression().check(replace(SETTINGS, **change), online, 100_000)


def test_algorithms_that_read_no_reward_are_refused():
    with pytest.raises(iq.InputError, match="reward_regression has no effect on bc-continuous"):
        RewardRegression().check(iq.BCContinuous(), True, 100_000)


@pytest.mark.parametrize("change", [{"steps": 0}, {"updates": 0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(iq.InputError, match=f"{next(iter(change))} is 0"):
        RewardRegression(**change)


CONTINUOUS = iq.IQLearnContinuous()


@pytest.mark.parametrize(
    ("settings", "error", "online", "steps", "used"),
    [
        (CONTINUOUS, 0.06, True, 100_000, False),
        (CONTINUOUS, 0.12, True, 100_000, True),
        (CONTINUOUS, 0.31, True, 100_000, False),
        (CONTINUOUS, None, True, 100_000, False),
        (CONTINUOUS, 0.12, False, 100_000, False),
        (CONTINUOUS, 0.12, True, 9_999, False),
        (CONTINUOUS, 0.12, True, 10_000, True),
        (replace(CONTINUOUS, divergence="tv"), 0.12, True, 100_000, False),
        (replace(CONTINUOUS, form="least_squares"), 0.12, True, 100_000, False),
        (replace(CONTINUOUS, state_only=True), None, True, 100_000, True),
        (replace(CONTINUOUS, state_only=True), None, True, 9_999, False),
        (replace(CONTINUOUS, state_only=True), None, False, 100_000, False),
        (iq.IQLearn(divergence="chi2_mixture"), 0.12, True, 100_000, False),
        (iq.BCContinuous(), 0.12, False, 100_000, False),
    ],
)
def test_reward_regression_is_recommended_where_the_expert_is_hard_to_clone(
    pendulum, monkeypatch, settings, error, online, steps, used
):
    monkeypatch.setattr(reward_first, "leave_one_out_error", lambda *_: error)
    found, reason = RewardRegression.suggest(pendulum, pendulum.task_spec(), settings, online, steps)
    assert found == (RewardRegression() if used else None)
    asked = online and settings.family == "iq" and not settings.discrete and not settings.state_only
    asked = asked and settings.divergence == "chi2_mixture" and settings.form == "inverse"
    hopeless = error is not None and error > reward_first.HOPELESS
    assert ("reward_regression, because" in reason) == ((asked and not hopeless) or used)


def test_leave_one_out_error_is_large_for_a_random_expert_and_small_for_a_smooth_one(pendulum, monkeypatch):
    few = pendulum.take(1).subsample(4)
    task = few.task_spec()
    smooth = iq.Demos.from_arrays({**few.arrays(), "act": np.tanh(few.obs[:, :1])})
    random, known = leave_one_out_error(few, task), leave_one_out_error(smooth, task)
    assert known < 0.02 < 0.3 < random
    monkeypatch.setattr(reward_first, "MOST", len(few) - 1)
    assert leave_one_out_error(few, task) is None
