"""A start from random weights: critics begin at the lowest value, and the guard begins at the first good policy."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.extensions.cold_start import ColdStart

SMALL = iq.Network((8,))
SETTINGS = iq.IQLearnContinuous(
    critics=2, critic=SMALL, actor=SMALL, batch_size=4, gamma=0.9, chi2_alpha=1.0, extensions=(ColdStart(),)
)
KNOWN = {"env": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 10}}
LENGTH = {"steps": 80, "evaluations": 8, "eval_episodes": 1, "quiet": True, "seed": 3}
ACTING = iq.Interaction(random_steps=0, round_steps=10)


def learn(pendulum, settings=SETTINGS, **more):
    return iq.learn(settings, pendulum, interaction=ACTING, **KNOWN, **LENGTH | more)


@pytest.mark.parametrize("target_rate", [0.0, 0.5])
def test_critics_begin_at_the_lowest_value(pendulum, target_rate):
    """Critics and target critics are shifted by −r_max/(1−γ) = −20."""
    settings = replace(SETTINGS, target_rate=target_rate)
    run = learn(pendulum, replace(settings, learning_rate=1e-12), steps=20, evaluations=1)
    plain = learn(pendulum, replace(settings, learning_rate=1e-12, extensions=()), steps=20, evaluations=1)
    obs, unit = run.model.encoder(pendulum.obs[:50]), jnp.zeros((50, 1))
    begun = plain.model.unit_q(obs, unit)
    np.testing.assert_allclose(run.model.unit_q(obs, unit), begun - 20.0, atol=1e-4)
    assert (run.state.target.critic is None) == (target_rate == 0.0)
    for slow in [] if target_rate == 0.0 else [run.state.target.critic]:
        np.testing.assert_allclose(run.model.unit_q(obs, unit, slow), begun - 20.0, atol=1e-4)


def distances(monkeypatch, *values):
    given = iter(values)
    monkeypatch.setattr("iqlearn.evaluation.occupancy.ExpertStates.distance", lambda *_: next(given))
    monkeypatch.setattr("iqlearn.evaluation.occupancy.ExpertStates.noise", 0.1)


def test_guard_acts_once_the_policy_was_close_to_the_expert_and_drifts_away(pendulum, monkeypatch):
    """Close at step 40: 0.05 is below the tolerance 0.1. Away at step 60: 0.21 is above 2 · 0.05 + 0.1."""
    distances(monkeypatch, 5.0, 0.5, 3.0, 0.05, 0.19, 0.21, 0.04, 0.06)
    run = learn(pendulum)
    (back,) = run.result["guard"]
    assert back["step"] == 60
    assert "2.1 times as far from the expert's as those of the best one" in back["because"]
    assert run.result["best_step"] == 70
    assert float(run.state.rate) == pytest.approx(0.1)
    assert run.rows[0]["step"] == 10, "there is no pretrained policy to evaluate"


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (SETTINGS, (5.0, 0.11, 3.0, 5.0, 9.0, 9.0, 9.0, 9.0)),
        (replace(SETTINGS, extensions=(ColdStart(guard=False),)), (5.0, 0.01, *[9.0] * 6)),
        (replace(SETTINGS, learning_rate=3.0), (0.06, 0.05, *[0.06] * 6)),
    ],
    ids=["never alike", "as set", "steep critics of a good policy"],
)
def test_guard_does_not_act_if_never_close_or_switched_off_or_still_close(settings, values, pendulum, monkeypatch):
    distances(monkeypatch, *values)
    assert "guard" not in learn(pendulum, settings).result


def test_recommended_settings_suit_cold_start(pendulum):
    settings = iq.recommended(pendulum, "Pendulum-v1", extensions=(ColdStart(),), quiet=True)
    assert (settings.gamma, settings.target_rate, settings.next_policy) == (0.99, 0.005, "live")
    assert not settings.clip_value
    changed = iq.recommended(pendulum, "Pendulum-v1", extensions=(ColdStart(),), gamma=0.95, quiet=True)
    assert changed.gamma == 0.95
