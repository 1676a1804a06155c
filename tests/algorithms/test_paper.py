"""The defaults are the method of the paper (IQ-Learn, NeurIPS 2021); each deviation from it is a setting of its own."""

from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Cloning, Interaction, IQLearn, IQLearnContinuous, Network, RewardRegression
from iqlearn.algorithms.base import TrainState
from iqlearn.algorithms.common import next_value
from iqlearn.data.replay import filled
from iqlearn.data.sources import Demonstrations
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

N = 8
SMALL = Network(hidden=(8,))
DISCRETE, CONTINUOUS = IQLearn(network=SMALL), IQLearnContinuous(critic=SMALL, actor=SMALL)
KEY = jr.key(7)


def test_the_defaults_for_discrete_actions_are_the_papers():
    expected = {
        "divergence": "chi2",
        "chi2_alpha": 0.5,
        "value_term": "mixture",  # offline only the expert's half: see below
        "form": "inverse",
        "gradient_penalty": None,
        "spectral_norm": False,
        "state_only": False,
        "absorbing": False,
        "clip_value": False,
        "extensions": (),
        "gamma": 0.99,
        "temperature": 0.01,
        "target_rate": 0.0,
        "target_period": 1,
        "next_value_gradient": True,
        "output_scale": 1.0,
        "members": 1,
        "network": {"hidden": (64, 64), "activation": "relu", "layer_norm": False},
        "batch_size": 32,
        "learning_rate": 1e-4,
        "weight_decay": 0.0,
        "scaling": "none",
        "saturation": 0.0,
        "reason": "",
    }
    assert asdict(IQLearn()) == expected


def test_the_defaults_for_continuous_actions_are_the_papers():
    relu = {"hidden": (256, 256), "activation": "relu", "layer_norm": False}
    expected = {
        "divergence": "chi2_mixture",
        "chi2_alpha": 0.5,
        "value_term": "expert_states",
        "form": "inverse",
        "gradient_penalty": None,
        "spectral_norm": False,
        "state_only": False,
        "absorbing": False,
        "clip_value": False,
        "extensions": (),
        "gamma": 0.99,
        "temperature": 0.01,
        "target_entropy": None,
        "target_rate": 0.005,
        "average_rate": 1.0,
        "next_policy": "live",
        "critics": 1,
        "critic": relu,
        "actor": relu,
        "squash": "tanh",
        "batch_size": 256,
        "learning_rate": 3e-4,
        "actor_learning_rate": 3e-5,
        "decay_after": 0,
        "weight_decay": 0.0,
        "scaling": "none",
        "saturation": 0.0,
        "reason": "",
    }
    assert asdict(IQLearnContinuous()) == expected
    assert Interaction().update_ratio == 1.0, "one update a step"


def test_there_are_at_most_30_settings():
    """Nested settings count. Settings of an optional part belong to its extension."""

    def count(kind: type) -> int:
        own = [f for f in fields(kind) if f.name not in ("extensions", "reason")]
        return sum(count(type(f.default)) if is_dataclass(f.default) else 1 for f in own)

    assert count(IQLearnContinuous) <= 30
    assert count(IQLearn) <= 30


def batch(settings: Any) -> tuple[TaskSpec, Batch]:
    """Half expert, half replay; some rows end."""
    discrete = settings.discrete
    task = TaskSpec(ArraySpec((3,)), 3 if discrete else Bounds((-2.0, 0.0), (2.0, 10.0)))
    rng = np.random.default_rng(0)

    def rows() -> Transitions:
        obs, next_obs = (jnp.asarray(rng.normal(1.0, 2.0, (N, 3)), jnp.float32) for _ in range(2))
        action = rng.integers(0, 3, N) if discrete else rng.uniform(*task.bounds[:2], (N, 2)).astype(np.float32)
        return Transitions(obs, jnp.asarray(action), next_obs, jnp.arange(N) % 4 == 0)

    return task, Batch(rows(), rows(), rows().obs)


def begun(settings: Any, factor: float) -> TrainState:
    """A state whose critics are `factor` times as large as new ones, and whose slow copies lag behind."""
    task, both = batch(settings)
    encoder = encoders.fit(task.obs, np.asarray(both.expert.obs), settings.scaling, settings.saturation)
    state = settings.init(task, encoder, jr.key(0))

    def last(model: Any) -> Any:
        return (model.net if settings.discrete else model.critic).members.layers[-1]

    grown = jax.tree.map(lambda w: factor * w, last(state.model))
    lagging = jax.tree.map(lambda x: 0.5 * x + 0.1, state.target)
    state = replace(state, model=eqx.tree_at(last, state.model, grown), target=lagging)
    known = Demonstrations(filled(both.expert), filled(both.initial_obs))
    parts = ((part.name, part.begin(task, settings, state, known, jr.key(1))) for part in settings.extensions)
    return replace(state, aux=dict(parts))


def seen(settings: Any, state: TrainState, batch: Batch) -> tuple[dict, jax.Array]:
    """The figures of the loss, and the actions of the policy."""
    loss, metrics = settings.loss(state.model, state, batch, KEY)
    return metrics | {"loss": loss}, settings.policy(state).act(batch.expert.obs)


def difference(settings: Any, base: Any, factor: float = 30.0) -> set[str]:
    """The names of the figures that differ between two settings, and `act` if the actions differ."""
    (figures, act), (others, other) = (seen(s, begun(s, factor), batch(s)[1]) for s in (settings, base))
    found = {name for name in figures if name not in others or not np.allclose(figures[name], others[name], rtol=1e-5)}
    return found | (set() if np.allclose(act, other, atol=1e-5) else {"act"})


def test_the_default_loss_for_continuous_actions_is_the_papers():
    """(1−γ)·E_E[V(s)] − E_E[r] + ½·(E_E[r²] + E_ρ[r²])/(4α), r = Q(s,a) − γV(s') with V = 0 after an end, and SAC's
    actor loss. V(s') is that of the target critic and the live actor."""
    state, (_, both) = begun(CONTINUOUS, 30.0), batch(CONTINUOUS)
    model, (draw_key, next_key, *_) = state.model, jr.split(KEY, 4)
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), both.expert, both.visited)
    inputs = model.encoder(rows.obs)
    drawn = model.draw(inputs, draw_key)
    next_v = next_value(model, state.target.critic, None, rows, next_key)[0] * ~rows.terminal
    reward = model.unit_q(inputs, model.actions.to_unit(rows.action))[0] - 0.99 * next_v
    value = model.unit_q(inputs, drawn.unit)[0] - 0.01 * drawn.log_prob
    penalty = 0.5 * (jnp.mean(reward[:N] ** 2) + jnp.mean(reward[N:] ** 2)) / (4 * 0.5)
    critic = 0.01 * jnp.mean(value[:N]) - jnp.mean(reward[:N]) + penalty
    figures, _ = seen(CONTINUOUS, state, both)
    assert float(figures["critic_loss"]) == pytest.approx(float(critic), rel=1e-3)
    assert float(figures["actor_loss"]) == pytest.approx(-float(jnp.mean(value)), rel=1e-3)
    assert float(figures["loss"]) == pytest.approx(float(critic - jnp.mean(value)), rel=1e-3)


def test_the_default_loss_for_discrete_actions_offline_is_the_papers():
    """−E_E[Q(s,a) − V(s)] + E_E[(Q(s,a) − γV(s'))²]/(4α)."""
    state, (_, both) = begun(DISCRETE, 30.0), batch(DISCRETE)
    rows, model = both.expert, state.model
    q, v, next_v = model.q(rows.obs, rows.action), model.v(rows.obs), model.v(rows.next_obs) * ~rows.terminal
    wanted = -jnp.mean(q - v) + jnp.mean((q - 0.99 * next_v) ** 2) / (4 * 0.5)
    figures, _ = seen(DISCRETE, state, both._replace(visited=None))
    assert float(figures["loss"]) == pytest.approx(float(wanted), rel=1e-4)


def test_default_discrete_online_loss_takes_half_of_the_value_term_from_the_replay():
    state, (_, both) = begun(DISCRETE, 30.0), batch(DISCRETE)
    model = state.model

    def flow(rows: Transitions) -> jax.Array:
        return jnp.mean(model.v(rows.obs) - 0.99 * model.v(rows.next_obs) * ~rows.terminal)

    rows = both.expert
    reward = model.q(rows.obs, rows.action) - 0.99 * model.v(rows.next_obs) * ~rows.terminal
    wanted = 0.5 * (flow(both.expert) + flow(both.visited)) - jnp.mean(reward - reward**2 / 2)
    figures, _ = seen(DISCRETE, state, both)
    assert float(figures["loss"]) == pytest.approx(float(wanted), rel=1e-4)


def test_default_policy_is_the_live_model():
    for settings in (DISCRETE, CONTINUOUS):
        state = begun(settings, 1.0)
        assert settings.policy(state) is state.model


DEVIATIONS = {
    "absorbing": {"absorbing": True},
    "scaling": {"scaling": "standard"},
    "whitening": {"scaling": "whiten"},
    "saturation": {"saturation": 0.5},
    "divergence": {"divergence": "tv"},
    "value_term": {"value_term": "expert"},
    "state_only": {"state_only": True},
}
OF_Q = {"target_rate": {"target_rate": 0.01}, "members": {"members": 2}, "output_scale": {"output_scale": 0.5}}
OF_CRITIC = {
    "target_rate": {"target_rate": 0.0},
    "squash": {"squash": "clip"},
    "critics": {"critics": 2},
    "cloning": {"extensions": (Cloning(updates=1),)},
    "reward_regression": {"extensions": (RewardRegression(),)},
}


@pytest.mark.parametrize("name", [*DEVIATIONS, *OF_Q])
def test_each_deviation_changes_the_loss_for_discrete_actions(name):
    changed = replace(DISCRETE, **(DEVIATIONS | OF_Q)[name])
    found = difference(changed, DISCRETE)
    if name == "state_only":  # the action is drawn before the loss
        assert found >= {"entropy"}
    else:
        assert "loss" in found


@pytest.mark.parametrize("name", [*DEVIATIONS, *OF_CRITIC])
def test_each_deviation_changes_the_loss_for_continuous_actions(name):
    found = difference(replace(CONTINUOUS, **(DEVIATIONS | OF_CRITIC)[name]), CONTINUOUS)
    assert ("actor_loss" if name in ("squash", "cloning") else "critic_loss") in found
    assert ("act" in found) == (name in ("scaling", "whitening", "squash"))


@pytest.mark.parametrize("settings", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_clip_value_changes_the_loss_only_where_values_exceed_their_bound(settings):
    base = replace(settings, divergence="chi2_mixture", target_rate=0.0)
    assert "loss" not in difference(replace(base, clip_value=True), base)
    assert "loss" in difference(replace(base, clip_value=True), base, factor=1e5)


def test_average_rate_changes_only_the_acting_policy_and_next_policy_only_the_critic_loss():
    averaged = replace(CONTINUOUS, average_rate=0.005)
    assert difference(averaged, CONTINUOUS) == {"act"}
    found = difference(replace(averaged, next_policy="averaged"), averaged)
    assert {"critic_loss", "loss"} <= found
    assert not {"act", "actor_loss"} & found
