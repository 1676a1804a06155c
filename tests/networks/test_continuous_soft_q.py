"""The soft Q-function of continuous actions: bounds, shapes, and consistency of value, policy and Q."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import Network
from iqlearn.networks import encoders
from iqlearn.networks.soft_q import ContinuousSoftQ
from iqlearn.types import ActionScale, ArraySpec, Bounds, TaskSpec

BOUNDS = Bounds((-2.0, 0.5, 0.0), (3.0, 0.75, 100.0))
LOW, HIGH = np.array(BOUNDS.low), np.array(BOUNDS.high)
SPEC = TaskSpec(ArraySpec((4,)), BOUNDS)
ENCODER = encoders.blank(SPEC.obs, "standard", 10.0)
OBS = jr.normal(jr.key(9), (7, 4))
ACTION = jnp.asarray(np.random.default_rng(0).uniform(LOW, HIGH, (7, 3)), jnp.float32)
TEMPERATURE = 0.3


@eqx.filter_jit
def model(critics: int = 2, factor: float = 1.0, squash: str = "clip") -> ContinuousSoftQ:
    """A model with its last layers times `factor`, so that critics differ, and policies differ between states."""
    net = Network(hidden=(16,))
    m = ContinuousSoftQ(SPEC, net, critics, net, ENCODER, jr.key(0), TEMPERATURE, squash)
    last = (m.actor.layers[-1], m.critic.members.layers[-1])
    grown = jax.tree.map(lambda w: factor * w, last)
    return eqx.tree_at(lambda x: (x.actor.layers[-1], x.critic.members.layers[-1]), m, grown)


@eqx.filter_jit
def call(m: ContinuousSoftQ, name: str, *arguments: jax.Array) -> jax.Array:
    """A method of the model, compiled."""
    return getattr(m, name)(*arguments)


@pytest.mark.parametrize("bounds", [BOUNDS, Bounds((-1.0,), (1.0,)), Bounds((-1e-3, 5.0), (2e-3, 1e4))])
def test_scaling_there_and_back_is_the_identity(bounds):
    scale = ActionScale(TaskSpec(ArraySpec((1,)), bounds))
    rng = np.random.default_rng(1)
    actions = rng.uniform(bounds.low, bounds.high, (100, len(bounds.low))).astype(np.float32)
    unit = np.asarray(scale.to_unit(jnp.asarray(actions)))
    assert np.abs(unit).max() <= 1.0 + 1e-5
    size = np.array(bounds.high) - np.array(bounds.low)
    assert (np.abs(scale.to_env(jnp.asarray(unit)) - actions) <= 1e-5 * size).all()
    ends = np.stack([np.full(len(bounds.low), -1.0), np.full(len(bounds.low), 1.0)]).astype(np.float32)
    np.testing.assert_allclose(scale.to_env(jnp.asarray(ends)), [bounds.low, bounds.high], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("squash", ["clip", "tanh"])
@pytest.mark.parametrize("factor", [1.0, 1e4])
def test_actions_stay_in_bounds_for_extreme_actor_outputs(factor, squash):
    m = model(factor=factor, squash=squash)
    far = jnp.concatenate([OBS[:3], 1e6 * OBS[3:]])
    for action in (call(m, "act", far), call(m, "act", far, jr.key(1))):
        slack = 1e-5 * (HIGH - LOW)
        assert np.isfinite(action).all()
        assert (np.asarray(action) >= LOW - slack).all()
        assert (np.asarray(action) <= HIGH + slack).all()


@pytest.mark.parametrize("critics", [1, 3])
def test_methods_return_the_expected_shapes(critics):
    m = jax.eval_shape(lambda: model(critics))

    def shape(name: str, *arguments: jax.Array) -> tuple[int, ...]:
        return jax.eval_shape(lambda m: getattr(m, name)(*arguments), m).shape

    inputs, unit = jnp.zeros((7, 4)), jnp.zeros((7, 3))
    assert shape("unit_q", inputs, unit) == (critics, 7)
    assert shape("q", OBS, ACTION) == shape("v", OBS) == shape("log_prob", OBS, ACTION) == (7,)
    assert shape("act", OBS) == shape("act", OBS, jr.key(0)) == (7, 3)


def test_q_is_the_least_of_the_critics():
    m = model(3, factor=100.0)
    members = call(m, "unit_q", m.encoder(OBS), m.actions.to_unit(ACTION))
    assert float(jnp.abs(members[0] - members[1]).max()) > 1e-2
    np.testing.assert_allclose(call(m, "q", OBS, ACTION), np.asarray(members).min(axis=0), rtol=1e-5)


def test_value_is_close_to_a_monte_carlo_estimate():
    """V(s) = E[min Q(s,a) − τ·log π(a|s)] from actions that are drawn by `act` and judged by `q` and `log_prob`."""
    m, draws = model(), 3000
    rows = jnp.repeat(OBS, draws, axis=0)
    action = call(m, "act", rows, jr.key(4))
    sampled = np.asarray(call(m, "q", rows, action)) - TEMPERATURE * np.asarray(call(m, "log_prob", rows, action))
    sampled = sampled.reshape(7, draws)
    value = np.asarray(call(m, "v", OBS))
    spread = sampled.std(axis=1)
    assert (np.abs(value - sampled.mean(axis=1)) < 0.5 * spread).all()
    np.testing.assert_array_equal(call(m, "v", OBS), value)  # without a key the value is deterministic


def test_action_without_a_key_is_deterministic_and_near_the_median():
    m = model(factor=3.0)
    likely = call(m, "act", OBS)
    np.testing.assert_array_equal(call(m, "act", OBS), likely)
    samples = np.stack([call(m, "act", OBS, jr.key(i)) for i in range(301)])
    assert samples.std(axis=0).min() > 0.0
    median = np.median(samples, axis=0)
    assert (np.abs(likely - median) < 0.1 * (HIGH - LOW)).all()


def test_encoder_and_bounds_have_no_gradient():
    gradient = jax.jit(jax.grad(lambda m: m.q(OBS, ACTION).sum() + m.log_prob(OBS, ACTION).sum()))(model())
    assert all(not np.any(leaf) for leaf in jax.tree.leaves((gradient.encoder, gradient.actions)))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient.critic))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient.actor))


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_the_density_is_finite_at_the_bounds(squash):
    m = model(factor=100.0, squash=squash)
    for action in (BOUNDS.low, BOUNDS.high):
        rows = jnp.tile(jnp.asarray(action, jnp.float32), (7, 1))
        assert np.isfinite(call(m, "log_prob", OBS, rows)).all()
