"""A reward from an extension: Q learns it by soft Bellman backups, with discrete and continuous actions."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Cloning, InputError, IQLearn, IQLearnContinuous, Network, RewardRegression
from iqlearn.algorithms.base import Extension, Rows, TrainState, reward_extension
from iqlearn.algorithms.common import next_value
from iqlearn.algorithms.objective import next_values
from iqlearn.data.replay import filled
from iqlearn.data.sources import Demonstrations
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec, Batch, Bounds, TaskSpec, Transitions

NETWORK = Network(hidden=(8,))
PLAIN = replace(IQLearnContinuous.recommended(True, True), critic=NETWORK, actor=NETWORK, batch_size=4)
SETTINGS = replace(PLAIN, extensions=(RewardRegression(),))
SPEC = TaskSpec(ArraySpec((3,)), Bounds((-2.0, 0.0), (2.0, 10.0)))
KEY = jr.key(7)


def rows(seed: int, spec: TaskSpec = SPEC) -> Transitions:
    rng = np.random.default_rng(seed)
    obs, next_obs = (jnp.asarray(rng.normal(size=(4, 3)), jnp.float32) for _ in range(2))
    if spec.discrete:
        action = jnp.asarray(rng.integers(0, spec.choices, 4), jnp.int32)
    else:
        action = jnp.asarray(rng.uniform(spec.bounds.low, spec.bounds.high, (4, 2)), jnp.float32)
    return Transitions(obs, action, next_obs, jnp.arange(4) == 3)


def batch(spec: TaskSpec) -> Batch:
    return Batch(rows(0, spec), rows(1, spec), rows(2, spec).obs)


BATCH = batch(SPEC)
BOTH = jax.tree.map(lambda *x: jnp.concatenate(x), BATCH.expert, BATCH.visited)


def begun(settings: Any, spec: TaskSpec) -> TrainState:
    state = settings.init(spec, encoders.blank(spec.obs, "standard", 10.0), jr.key(0))
    known = Demonstrations(filled(rows(0, spec)), filled(rows(2, spec).obs))
    aux = {part.name: part.begin(spec, settings, state, known, jr.key(1)) for part in settings.extensions}
    return replace(state, aux=aux)


START = begun(SETTINGS, SPEC)


def told(settings: Any, state: TrainState, batch: Batch) -> dict:
    return settings.loss(state.model, state, batch, KEY)[1]


def test_critic_loss_is_the_squared_bellman_error_of_the_given_reward():
    """½·E[(Q(s,a) − r − γV(s'))²] over expert and visited rows, with V(s') fixed, averaged over the critics."""
    model = START.model
    reward = START.aux["reward_regression"]["net"](BOTH.obs, BOTH.action)
    q = model.unit_q(model.encoder(BOTH.obs), model.actions.to_unit(BOTH.action))
    value = next_value(model, START.target.critic, START.target.actor, BOTH, jr.split(KEY, 4)[1])
    ends = jnp.where(jnp.arange(8) < 4, 1.0, -1.0)
    error = 0.5 * np.mean((q - reward - next_values(SETTINGS, value, BOTH.terminal, ends)) ** 2)
    assert float(told(SETTINGS, START, BATCH)["critic_loss"]) == pytest.approx(float(error), rel=1e-4)
    assert not np.isclose(float(told(PLAIN, START, BATCH)["critic_loss"]), float(error), rtol=1e-2)


def test_discrete_loss_is_the_squared_bellman_error_of_the_given_reward():
    spec = TaskSpec(SPEC.obs, 3)
    settings = IQLearn(
        divergence="chi2_mixture", network=NETWORK, target_rate=0.1, gamma=0.9, extensions=(RewardRegression(),)
    )
    state, both = begun(settings, spec), batch(spec)
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), both.expert, both.visited)
    reward = state.aux["reward_regression"]["net"](rows.obs, rows.action)
    values = state.model.v(rows.next_obs) * ~rows.terminal
    error = 0.5 * np.mean((state.model.q(rows.obs, rows.action) - reward - 0.9 * values) ** 2)
    loss, _ = settings.loss(state.model, state, both, KEY)
    assert float(loss) == pytest.approx(float(error), rel=1e-4)


def test_update_changes_critics_and_actor_but_not_the_reward():
    state, _ = eqx.filter_jit(SETTINGS.update)(START, BATCH, KEY)
    jax.tree.map(np.testing.assert_array_equal, state.aux, START.aux)
    for part in ("critic", "actor"):
        old, new = (jax.tree.leaves(getattr(s.model, part)) for s in (START, state))
        assert any(np.any(a != b) for a, b in zip(old, new, strict=True)), part


@pytest.mark.parametrize(
    ("settings", "online", "sentence"),
    [
        (SETTINGS, False, "Extension reward_regression needs states of the learner; expected an online run"),
        (replace(SETTINGS, form="least_squares"), True, "expected chi2_mixture and inverse with reward_regression"),
        (replace(SETTINGS, divergence="tv"), True, "expected chi2_mixture and inverse with reward_regression"),
    ],
    ids=["offline", "form", "divergence"],
)
def test_reward_regression_is_refused_offline_and_with_other_objectives(settings, online, sentence):
    RewardRegression().check(SETTINGS, True, 10_000)
    with pytest.raises(InputError, match=sentence):
        RewardRegression().check(settings, online, 10_000)


@dataclass(frozen=True)
class Probe(Extension):
    """Gives the same reward to every row, and reports the trust that its actor loss receives."""

    name: ClassVar[str] = "probe"
    needs: ClassVar[tuple[str, ...]] = ("reward", "actor_loss")
    gives_reward: ClassVar[bool] = True

    def reward(self, aux: Any, rows: Transitions) -> jax.Array:
        return jnp.full(len(rows.terminal), aux)

    def actor_loss(self, aux: Any, rows: Rows) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.float32(5.0), {"trust": jnp.mean(rows.trust), "experts": jnp.float32(rows.experts)}


@pytest.mark.parametrize(("reward", "trust"), [(1.0, 1.0), (0.0, 1.0), (-0.25, 0.75), (-1.0, 0.0), (-3.0, 0.0)])
def test_regularisation_to_the_clone_is_scaled_by_the_trust_from_the_reward(reward, trust):
    state = replace(START, aux={"probe": jnp.float32(reward)})
    metrics = told(replace(PLAIN, extensions=(Probe(),)), state, BATCH)
    assert float(metrics["trust"]) == pytest.approx(trust)
    assert float(metrics["experts"]) == 4
    assert float(metrics["actor_loss"]) == pytest.approx(5.0 + float(told(PLAIN, START, BATCH)["actor_loss"]), rel=1e-5)

    model = START.model
    inputs, unit = model.encoder(BOTH.obs), model.actions.to_unit(BOTH.action)
    bias = model.actor.layers[-1].bias
    clone = eqx.tree_at(lambda a: a.layers[-1].bias, model.actor, bias.at[: len(bias) // 2].add(-0.25))
    of_actor = Rows(model.policy(inputs), inputs, unit, 4, jnp.full(8, trust))
    held, _ = Cloning(updates=1, weight=0.0, regularisation=3.0).actor_loss({"clone": clone}, of_actor)
    assert float(held) == pytest.approx(3.0 * trust * 2 * 0.25**2, rel=1e-4)  # two actions, each 0.25 off


def test_reward_extension_returns_the_first_extension_that_gives_a_reward():
    assert reward_extension(()) is None
    assert reward_extension((Cloning(),)) is None
    assert reward_extension((Cloning(), Probe(), RewardRegression())) == Probe()
