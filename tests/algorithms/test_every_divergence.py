"""Every divergence and value term trains, with discrete and continuous actions, online and offline. W1 has its gradient
penalty by default."""

from dataclasses import replace
from functools import cache
from typing import Any, get_args

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, IQLearn, IQLearnContinuous, Network
from iqlearn.algorithms import objective
from iqlearn.networks import encoders
from iqlearn.objectives import divergence
from iqlearn.objectives.divergences import DivergenceName
from iqlearn.objectives.iq import ValueTerm
from iqlearn.runs.provenance import settings_of, to_dict
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

NETWORK = Network(hidden=(8,))
DISCRETE = IQLearn(network=NETWORK, batch_size=8, learning_rate=1e-3)
CONTINUOUS = IQLearnContinuous(critic=NETWORK, actor=NETWORK, batch_size=8)
BOTH = pytest.mark.parametrize("settings", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
NAMES = get_args(DivergenceName)
TARGETS = {"none": {"target_rate": 0.0}, "copy": {"target_rate": 1.0, "target_period": 2}, "slow": {"target_rate": 0.1}}


def rows(task: TaskSpec, seed: int) -> Transitions:
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(8, 3)), jnp.float32) for _ in range(2))
    if task.discrete:
        action = jnp.asarray(rng.integers(0, task.choices, 8), jnp.int32)
    else:
        action = jnp.asarray(rng.uniform(*task.bounds[:2], (8, 2)), jnp.float32)
    return Transitions(obs, action, next_obs, jnp.arange(8) == 3)


def data(settings: Any, visits: bool) -> tuple[TaskSpec, Batch]:
    task = TaskSpec(ArraySpec((3,)), 3 if settings.discrete else Bounds((-1.0, 0.0), (1.0, 4.0)))
    return task, Batch(rows(task, 0), rows(task, 1) if visits else None, rows(task, 2).obs)


@cache
def begun(settings: Any) -> Any:
    """The state before the first update."""
    task = data(settings, True)[0]
    return jax.jit(lambda key: settings.init(task, encoders.blank(task.obs, "standard"), key))(jr.key(0))


def trained(many: dict[str, Any], visits: bool) -> dict[str, tuple[Any, Any, Any]]:
    """The state before and after an update, and the metrics, of each of the settings."""
    found = {}
    for name, settings in many.items():
        start, (_, batch) = begun(settings), data(settings, visits)
        found[name] = start, *jax.jit(settings.update)(start, batch, jr.key(1))
    return found


def check(found: dict[str, tuple[Any, Any, Any]]) -> None:
    """Every network has learnt, and every number is finite."""
    for name, (start, state, metrics) in found.items():
        assert int(state.step) == 1, name
        assert all(np.isfinite(value) for value in metrics.values()), name
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.model, state.target))), name
        for part in ("net", "critic", "actor"):
            old, new = (jax.tree.leaves(getattr(s.model, part, None)) for s in (start, state))
            assert all(np.any(a != b) for a, b in zip(old, new, strict=True) if np.any(a)), (name, part)


@BOTH
def test_every_divergence_trains_with_discrete_and_continuous_actions(settings, monkeypatch):
    """One compiled program runs all divergences and chooses one by its index. test_iq_continuous.py tests that settings
    choose the divergence by name, also offline."""
    start, (_, batch) = begun(settings), data(settings, True)

    @jax.jit
    def program(which: jax.Array, state: Any, batch: Batch, key: jax.Array):
        def chosen(name: str, alpha: float, bound: float):
            assert name == settings.divergence
            return lambda *rewards: jax.lax.switch(which, [divergence(n, alpha, bound) for n in NAMES], *rewards)

        monkeypatch.setattr(objective, "divergence", chosen)
        return settings.update(state, batch, key)

    found = {name: (start, *program(i, start, batch, jr.key(0))) for i, name in enumerate(NAMES)}
    check(found)
    # As long as rewards are small, φ of W1 is that of TV.
    assert len({float(metrics["loss"]) for _, _, metrics in found.values()}) >= len(NAMES) - 1


def test_w1_and_spectral_norm_and_least_squares_train_with_discrete_actions():
    """For continuous actions see test_iq_continuous.py and the next test."""
    w1 = replace(DISCRETE, divergence="w1")
    check(trained({"w1": w1}, False))
    spectral, squared = (
        replace(w1, spectral_norm=True),
        replace(DISCRETE, divergence="chi2_mixture", form="least_squares"),
    )
    found = trained({"w1": w1, "spectral": spectral, "squared": squared}, True)
    check(found)
    assert len({float(metrics["loss"]) for _, _, metrics in found.values()}) == 3


def test_continuous_critics_train_with_spectral_norm():
    check(trained({"spectral": replace(CONTINUOUS, divergence="w1", spectral_norm=True)}, True))


def test_every_value_term_and_target_network_trains():
    terms = get_args(ValueTerm)
    pairs = [(term, "none") for term in terms] + [("expert", "copy"), ("mixture", "slow")]
    pairs = {f"{term} {target}": {"value_term": term, **TARGETS[target]} for term, target in pairs}
    found = trained({name: replace(DISCRETE, **changes) for name, changes in pairs.items()}, False)
    check(found)
    for name, (_, state, _) in found.items():
        assert (state.target is None) == name.endswith("none")
    losses = {name: float(metrics["loss"]) for name, (_, _, metrics) in found.items()}
    assert len({losses[f"{term} none"] for term in ("initial", "expert_states", "expert")}) == 3
    assert losses["mixture none"] == pytest.approx(losses["expert none"], rel=1e-5), "offline"


@BOTH
def test_w1_has_a_gradient_penalty_by_default(settings):
    w1 = replace(settings, divergence="w1")
    assert settings.penalty == 0.0
    assert w1.penalty == 10.0
    assert replace(w1, gradient_penalty=3.0).penalty == 3.0
    assert replace(w1, spectral_norm=True).penalty == 0.0
    assert replace(w1, spectral_norm=True, gradient_penalty=2.0).penalty == 2.0
    assert settings_of(to_dict(w1)) == w1


@BOTH
def test_w1_without_gradient_penalty_is_refused(settings):
    with pytest.raises(InputError, match=r"gradient_penalty is 0\.0; expected above 0 with w1"):
        replace(settings, divergence="w1", gradient_penalty=0.0)
    assert replace(settings, divergence="chi2", gradient_penalty=0.0)


@BOTH
def test_layer_norm_with_spectral_norm_is_refused(settings):
    name = "network" if settings.discrete else "critic"
    with pytest.raises(InputError, match=rf"{name}\.layer_norm is True; expected False with spectral_norm"):
        replace(settings, spectral_norm=True, **{name: replace(NETWORK, layer_norm=True)})
    assert settings.recommended(True, False, divergence="w1", spectral_norm=True).spectral_norm


@BOTH
def test_the_squared_bellman_error_with_another_divergence_is_refused(settings):
    with pytest.raises(InputError, match=r"form is 'least_squares'; expected inverse with divergence tv"):
        replace(settings, form="least_squares", divergence="tv")
