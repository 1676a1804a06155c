"""Every divergence trains in both models, offline and online; what W1 needs is there by default."""

from dataclasses import replace
from typing import get_args

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import InputError, session
from iqlearn.beginning import begin
from iqlearn.session import Session
from iqlearn.settings import DivergenceName, Imagination, Imitation, Interaction, Schedule, from_dict, to_dict

NETWORK = iq.Network(hidden=(8,))
DISCRETE = iq.IQLearn(network=NETWORK, batch_size=8, imagination=Imagination(error_limit=0.0))
CLONING = Imitation(cloning=1.0)
CONTINUOUS = iq.IQLearnContinuous(network=NETWORK, actor=NETWORK, batch_size=8, online=CLONING, offline=CLONING)
ACTING = Interaction(random_steps=10, round_steps=10)
VARIANTS = {
    **{name: {"divergence": name} for name in get_args(DivergenceName)},
    "chi2 and w1": {"divergence": "chi2", "gradient_penalty": 1.0},
    "chi2_mixture and w1": {"divergence": "chi2_mixture", "gradient_penalty": 1.0, "lipschitz": 0.01},
    "w1, spectral norm": {"divergence": "w1", "network": replace(NETWORK, spectral_norm=True)},
}


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_divergence_trains_in_both_models_and_modes(variant, discrete, online, cartpole, pendulum):
    settings = replace(DISCRETE if discrete else CONTINUOUS, **VARIANTS[variant])
    demos = cartpole if discrete else pendulum
    run = begin(settings, demos, Schedule(steps=30), demos.env, interaction=ACTING if online else None)
    before = jax.device_get(run.model)  # online the state's memory is not used again, but its metrics are awaited
    live = Session([run], [demos], [None])
    try:
        live.advance(30)
        state, metrics = live.states[0], live._metrics[0]
    finally:
        live.close()
    assert int(state.step) == (20 if online else 30) - (10 if online else 0)
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.model))
    parts = (lambda m: (m.net,)) if discrete else (lambda m: (m.critic, m.actor))
    for old, new in zip(parts(before), parts(state.model), strict=True):
        assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True))


@pytest.mark.parametrize("settings", [DISCRETE, CONTINUOUS])
def test_w1_has_a_penalty_unless_told_otherwise(settings):
    w1, spectral = replace(settings, divergence="w1"), replace(NETWORK, spectral_norm=True)
    assert settings.penalty(settings.network) == 0.0
    assert w1.penalty(w1.network) == 10.0
    assert replace(w1, gradient_penalty=3.0).penalty(w1.network) == 3.0
    assert replace(w1, network=spectral).penalty(spectral) == 0.0
    assert replace(w1, network=spectral, gradient_penalty=2.0).penalty(spectral) == 2.0
    assert from_dict(to_dict(w1)) == w1


@pytest.mark.parametrize("settings", [DISCRETE, CONTINUOUS])
def test_w1_without_a_bound_on_the_slope_is_refused(settings):
    with pytest.raises(InputError, match=r"gradient_penalty is 0\.0; expected above 0 with w1"):
        replace(settings, divergence="w1", gradient_penalty=0.0)
    assert replace(settings, divergence="chi2", gradient_penalty=0.0)


@pytest.mark.parametrize(("setting", "value"), [("gradient_penalty", -1.0), ("lipschitz", 0.0), ("lipschitz", np.inf)])
@pytest.mark.parametrize("settings", [DISCRETE, CONTINUOUS])
def test_nonsense_is_refused(settings, setting, value):
    with pytest.raises(InputError, match=f"{setting} is"):
        replace(settings, **{setting: value})
