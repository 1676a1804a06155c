"""Model rollouts: the linear model of the dynamics, and the learner's transitions in this model."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Now
from iqlearn.data.sources import Demonstrations
from iqlearn.extensions import model_rollouts
from iqlearn.extensions.model_rollouts import ModelRollouts, Rollouts, fit_linear, whitened
from iqlearn.networks import encoders
from iqlearn.types import ArraySpec, TaskSpec

TASK = TaskSpec(ArraySpec((3,)), 2)
RNG = np.random.default_rng(0)
DRIFT = np.array([[0.9, 0.1, 0.0], [-0.2, 1.0, 0.05], [0.0, 0.0, 0.97]])
PUSH = np.array([[0.1, 0.0, -0.3], [-0.1, 0.2, 0.3]])
SETTINGS = iq.IQLearn(network=iq.Network((8,)), batch_size=4)


def linear_demos(n: int = 60, noise: float = 0.0) -> iq.Demos:
    """Transitions of a linear system under random actions, one episode."""
    rng = np.random.default_rng(1)
    obs, act = [np.array([1.0, -1.0, 0.5])], rng.integers(0, 2, n)
    for a in act:
        obs.append(obs[-1] @ DRIFT.T + PUSH[a] + noise * rng.normal(size=3))
    path = np.array(obs, np.float32)
    ends = np.zeros(n, bool)
    arrays = {"obs": path[:-1], "act": act, "next_obs": path[1:], "term": ends, "trunc": ends, "ep": np.zeros(n, int)}
    return iq.Demos.from_arrays(arrays)


def whitener(demos: iq.Demos) -> encoders.FlatEncoder:
    return whitened(demos.obs, demos.next_obs, TASK)


def begun(demos: iq.Demos, extension: ModelRollouts, settings: iq.IQLearn = SETTINGS, task: TaskSpec = TASK):
    """The state before the first update, and the source of batches."""
    known = Demonstrations.of(demos)
    state = settings.init(task, whitener(demos), jr.key(0))
    source = extension.source(Now(task, settings, known, state, known, jr.key(1)))
    assert isinstance(source, Rollouts)
    return state, source


@partial(jax.jit, static_argnums=3)
def drawn(source, state, key, n: int = 8):
    return source.draw(state, key, n)


def test_linear_dynamics_are_recovered_with_a_small_error():
    demos = linear_demos()
    dynamics, error = fit_linear(demos.transitions, whitener(demos), TASK)
    assert error < 0.01
    obs = jnp.asarray(RNG.normal(size=(20, 3)), jnp.float32)
    action = jnp.asarray(RNG.integers(0, 2, 20))
    truth = np.asarray(obs) @ DRIFT.T + PUSH[np.asarray(action)]
    np.testing.assert_allclose(dynamics(obs, action), truth, atol=0.02)


def test_error_is_large_for_unpredictable_dynamics():
    demos = linear_demos(noise=5.0)
    assert fit_linear(demos.transitions, whitener(demos), TASK)[1] > 0.5


@pytest.mark.parametrize(("limit", "used"), [(0.1, True), (0.0, False)])
def test_model_is_recommended_if_its_error_is_below_the_limit(limit, used, monkeypatch):
    monkeypatch.setattr(model_rollouts, "ERROR_LIMIT", limit)
    settings = iq.recommended(linear_demos(), quiet=True)
    assert settings.extensions == ((ModelRollouts(),) if used else ())
    assert (settings.target_rate > 0.0) == used, "a target network where batches hold transitions of the learner"
    assert (settings.form == "least_squares") == used
    assert "the leave-one-out error of a linear model of the dynamics is 0.0" in settings.reason
    assert f"below {limit}" in settings.reason


def test_one_vector_is_false_for_observations_too_wide_to_whiten():
    assert model_rollouts.one_vector(TaskSpec(ArraySpec((encoders.LARGEST,)), 2))
    assert not model_rollouts.one_vector(TaskSpec(ArraySpec((encoders.LARGEST + 1,)), 2))


def test_a_bad_model_is_not_recommended():
    assert iq.recommended(linear_demos(noise=5.0), quiet=True).extensions == ()


def test_model_rollouts_are_not_recommended_in_unsupported_runs(pendulum, monkeypatch):
    monkeypatch.setattr(model_rollouts, "fit_linear", lambda *_: pytest.fail("a model is fitted"))
    demos, plain = linear_demos(), iq.IQLearn()
    assert ModelRollouts.suggest(demos, TASK, plain, True, 100) == (None, "")
    assert ModelRollouts.suggest(demos, TASK, replace(plain, state_only=True), False, 100) == (None, "")
    assert ModelRollouts.suggest(pendulum, pendulum.task_spec(), iq.IQLearnContinuous(), False, 100) == (None, "")
    pixels = replace(TASK, obs=ArraySpec((3,), "uint8"))
    assert ModelRollouts.suggest(demos, pixels, plain, False, 100) == (None, "")


@pytest.mark.parametrize(
    ("settings", "online"),
    [(iq.IQLearn(), True), (iq.IQLearnContinuous(), False), (iq.IQLearn(state_only=True), False)],
)
def test_model_rollouts_are_refused_in_unsupported_runs(settings, online):
    with pytest.raises(iq.InputError, match="model_rollouts is for discrete actions, offline and not state_only"):
        ModelRollouts().check(settings, online, 100)


def test_dictionary_observations_are_refused():
    demos, task = linear_demos(), replace(TASK, obs={"a": ArraySpec((3,))})
    known = Demonstrations.of(demos)
    with pytest.raises(iq.InputError, match="model_rollouts needs observations of one vector"):
        ModelRollouts().source(
            Now(task, SETTINGS, known, SETTINGS.init(TASK, whitener(demos), jr.key(0)), known, jr.key(1))
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"particles": 0}, "particles is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"exploration": 1.5}, r"exploration is 1\.5; expected a number in \[0, 1\]"),
        ({"start_noise": -1.0}, r"start_noise is -1\.0"),
    ],
)
def test_settings_out_of_range_are_refused(change, told):
    with pytest.raises(iq.InputError, match=told):
        ModelRollouts(**change)


def test_batch_holds_every_action_of_each_particle_and_applies_one_of_them():
    state, source = begun(linear_demos(), ModelRollouts(particles=5, horizon=10**9, exploration=0.0))
    batch, after = drawn(source, state, jr.key(3))
    old, new = np.asarray(source.particles), np.asarray(after.particles)
    np.testing.assert_array_equal(batch.visited.obs, np.repeat(old, 2, axis=0))
    np.testing.assert_array_equal(batch.visited.action, np.tile([0, 1], 5))
    np.testing.assert_allclose(batch.visited.next_obs, source.dynamics(batch.visited.obs, batch.visited.action))
    assert not batch.visited.terminal.any()
    reached = np.asarray(batch.visited.next_obs).reshape(5, 2, 3)
    assert all(any(np.allclose(new[i], reached[i, a], atol=1e-5) for a in (0, 1)) for i in range(5))


def test_particles_start_again_after_their_horizon():
    demos = linear_demos()
    state, source = begun(demos, ModelRollouts(particles=200, horizon=1, start_noise=0.0))
    particles = np.asarray(drawn(source, state, jr.key(4))[1].particles)
    assert {tuple(row) for row in particles} <= {tuple(row) for row in np.asarray(demos.obs)}
    beginnings = np.all(particles == demos.initial_obs[0], axis=1).mean()
    assert 0.35 < beginnings < 0.65


def test_particles_start_again_when_they_are_far_off():
    demos = linear_demos()
    state, source = begun(demos, ModelRollouts(particles=5, horizon=10**9, start_noise=0.0, exploration=0.0))
    lost = source.restored(source.particles.at[0].set(1e6))
    particles = np.asarray(drawn(lost, state, jr.key(4))[1].particles)
    assert tuple(particles[0]) in {tuple(row) for row in np.asarray(demos.obs)}
    assert np.isfinite(particles).all()


def test_checkpoint_saves_and_restores_the_particles():
    state, source = begun(linear_demos(), ModelRollouts(particles=5))
    moved = drawn(source, state, jr.key(3))[1]
    assert np.any(moved.saved() != source.saved())
    jax.tree.map(np.testing.assert_array_equal, source.restored(moved.saved()), moved)


def test_jitter_keeps_actions_and_moves_next_states_by_the_dynamics():
    demos = linear_demos()
    _, source = begun(demos, ModelRollouts(expert_noise=0.5))
    expert = demos.transitions
    moved = source.jitter(expert, jr.key(5))
    assert float(jnp.abs(moved.obs - expert.obs).max()) > 0.05
    np.testing.assert_array_equal(moved.action, expert.action)
    np.testing.assert_allclose(moved.next_obs, source.dynamics(moved.obs, moved.action), atol=0.05)


def test_noise_has_unit_size_in_whitened_coordinates():
    _, source = begun(linear_demos(), ModelRollouts())
    unit = np.asarray(source.noise(jr.key(6), 4000) @ source.dynamics.encoder.transform)
    np.testing.assert_allclose(np.cov(unit.T), np.eye(3), atol=0.12)


def test_least_squares_and_inverse_form_have_parallel_gradients_where_q_is_v():
    """With one action Q = V, and χ² on the mixture is the squared error with rewards ±r_max up to a constant."""
    task = replace(TASK, actions=1)
    demos = linear_demos()
    demos = iq.Demos.from_arrays({**demos.arrays(), "act": np.zeros(len(demos), np.int64)})
    gradients = []
    for form in ("least_squares", "inverse"):
        algorithm = replace(iq.IQLearn.recommended(True, False), form=form)
        state, source = begun(demos, ModelRollouts(), algorithm, task)
        batch, _ = drawn(source, state, jr.key(2), 16)

        def loss(model, algorithm=algorithm, state=state, batch=batch):
            return algorithm.loss(model, state, batch, jr.key(3))[0]

        gradient = jax.jit(jax.grad(loss))(state.model)
        gradients.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient.net)]))
    cosine = gradients[0] @ gradients[1] / np.linalg.norm(gradients[0]) / np.linalg.norm(gradients[1])
    assert cosine == pytest.approx(1.0, abs=1e-3)
