"""Behavioural cloning pretraining with states around the expert's, the cloning term, and policy regularisation."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Behaviour, Now, Rows
from iqlearn.data.sources import Demonstrations
from iqlearn.extensions import cloning
from iqlearn.extensions.cloning import Cloning
from iqlearn.networks import encoders
from iqlearn.networks.distributions import ClippedGaussian
from iqlearn.networks.gaussian_process import expert_process
from iqlearn.networks.mlp import MLP
from iqlearn.types import ActionScale, ArraySpec, Bounds, TaskSpec

TASK = TaskSpec(ArraySpec((3,)), Bounds((-2.0, -1.0), (2.0, 3.0)))
SMALL = iq.Network((32,), "silu")
SETTINGS = iq.IQLearnContinuous(critic=SMALL, critics=2, actor=SMALL, squash="clip", scaling="standard")


def wanted(obs: np.ndarray) -> np.ndarray:
    """The expert's actions, in units of the environment."""
    return np.stack([2.0 * np.tanh(obs[:, 0] / 5.0), 1.0 + obs[:, 1]], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def demos() -> iq.Demos:
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(60, 3)).astype(np.float32) * [5.0, 0.5, 0.0] + [0.0, 0.0, 7.0]
    obs = obs.astype(np.float32)
    n = len(obs)
    arrays = {"obs": obs, "act": wanted(obs), "next_obs": obs, "ep": np.zeros(n, int)}
    return iq.Demos.from_arrays(arrays | {"term": np.zeros(n, bool), "trunc": np.arange(n) == n - 1})


def state_of(demos: iq.Demos, task: TaskSpec = TASK, extension: Cloning | None = None):
    encoder = encoders.fit(task.obs, demos.obs, "standard")
    state = SETTINGS.init(task, encoder, jr.key(0))
    if extension is None:
        return state
    known = Demonstrations.of(demos)
    return replace(state, aux={"cloning": extension.begin(task, SETTINGS, state, known, jr.key(9))})


@pytest.fixture(scope="module")
def state(demos):
    return state_of(demos)


def prepared(extension: Cloning, state, known: Demonstrations, task: TaskSpec = TASK, labelled: bool = True):
    return extension.prepare(Now(task, SETTINGS, known, state, known, jr.key(0), labelled))


def made(demos: iq.Demos, state, reach: float = 0.3):
    """The states that are cloned, and their actions."""
    known = Demonstrations.of(demos).expert()
    unit = state.model.actions.to_unit(known.action)
    process = expert_process(state.model.encoder(known.obs), unit, state.model.actions.unit_limits)
    rows = known.obs, np.asarray(known.action)
    return Cloning(reach=reach).with_neighbours(state.model, *rows, process, np.random.default_rng(1))


def test_half_of_the_cloned_states_are_the_experts_and_half_are_neighbours(demos, state):
    obs, action = made(demos, state)
    half = cloning.NEIGHBOURS
    assert len(obs) == len(action) == 2 * half
    apart = np.abs(obs[:half, None] - demos.obs[None]).sum(axis=2)
    assert np.all(apart.min(axis=1) == 0.0)
    np.testing.assert_array_equal(action[:half], demos.actions[apart.argmin(axis=1)])
    scaled = obs[half:, None, :2] / demos.obs[:, :2].std(axis=0) - demos.obs[None, :, :2] / demos.obs[:, :2].std(axis=0)
    nearest = np.sqrt((scaled**2).sum(axis=2).min(axis=1))
    assert nearest.min() > 0.0
    assert nearest.max() < 5 * 0.3  # standard deviations of a normal
    np.testing.assert_array_equal(obs[half:, 2], 7.0)  # a constant coordinate stays


def test_neighbour_actions_match_the_expert_in_environment_units(demos, state):
    obs, action = (x[cloning.NEIGHBOURS :] for x in made(demos, state))
    true = np.clip(wanted(obs), [-2.0, -1.0], [2.0, 3.0])
    assert np.sqrt(np.mean((action - true) ** 2)) < 0.03
    assert np.all(action >= [-2.0, -1.0])
    assert np.all(action <= [2.0, 3.0])


def test_neighbours_move_vectors_but_not_pixels_and_categories(demos):
    rng = np.random.default_rng(2)
    whole, cell = rng.integers(0, 12, size=demos.obs.shape).astype(np.uint8), 4 * rng.integers(0, 3, size=len(demos))
    spec = {"place": ArraySpec((3,)), "pixels": ArraySpec((3,), "uint8"), "cell": ArraySpec((), "int32", 9)}
    task = replace(TASK, obs=spec)
    seen = {"place": demos.obs, "pixels": whole, "cell": cell.astype(np.int32)}
    fields = {f"{name}/{part}": x for name in ("obs", "next_obs") for part, x in seen.items()}
    rest = {name: getattr(demos, name) for name in ("act", "term", "trunc", "ep")}
    mixed = iq.Demos.from_arrays(fields | rest)
    obs, _ = made(mixed, state_of(mixed, task), reach=0.5)
    assert obs["pixels"].dtype == np.uint8
    assert obs["cell"].dtype == np.int32
    still, known = (np.column_stack([x["pixels"], x["cell"]]).tolist() for x in (obs, seen))
    assert set(map(tuple, still)) <= set(map(tuple, known)), "both are those of one expert row"
    assert len(set(map(tuple, still[cloning.NEIGHBOURS :]))) > 1
    assert len(np.unique(obs["place"][cloning.NEIGHBOURS :, 0])) > len(demos)


def test_padding_is_not_cloned(demos, state):
    """The demonstrations of two seeds are padded to one size."""
    few, extension = demos.subsample(2), Cloning(updates=5)
    padded = Demonstrations.of(few, rows=len(demos))
    clones = [prepared(extension, state, known).model.actor for known in (Demonstrations.of(few), padded)]
    jax.tree.map(np.testing.assert_array_equal, *clones)


def test_no_neighbours_are_made_with_many_transitions_or_zero_reach(demos, state, monkeypatch):
    monkeypatch.setattr(cloning, "expert_process", lambda *_: pytest.fail("a process is fitted"))
    known = Demonstrations.of(demos)
    monkeypatch.setattr(cloning, "ENOUGH", 59)
    prepared(Cloning(updates=5), state, known)
    monkeypatch.setattr(cloning, "ENOUGH", 60)
    prepared(Cloning(updates=5, reach=0.0), state, known)
    with pytest.raises(pytest.fail.Exception):
        prepared(Cloning(updates=5), state, known)


def test_clone_with_neighbours_fits_them_better_than_one_without(demos, state):
    """The error is measured against the Gaussian process's actions around the demonstrated states."""
    obs, action = (jnp.asarray(x[cloning.NEIGHBOURS :]) for x in made(demos, state, 1.0))

    def error(reach: float) -> float:
        cloned = prepared(Cloning(updates=5_000, reach=reach), state, Demonstrations.of(demos))
        return float(jnp.mean((cloned.model.act(obs) - action) ** 2))

    assert error(1.0) < 0.8 * error(0.0)


def test_clone_becomes_the_actor_the_averaged_actor_and_the_regularisation_reference(demos):
    known = Demonstrations.of(demos)
    for regularisation, settings in ((1.0, replace(SETTINGS, average_rate=0.1)), (0.0, SETTINGS)):
        extension = Cloning(updates=5, regularisation=regularisation)
        before = settings.init(TASK, encoders.fit(TASK.obs, demos.obs, "standard"), jr.key(0))
        aux = extension.begin(TASK, settings, before, known, jr.key(9))
        after = prepared(extension, replace(before, aux={"cloning": aux}), known)
        assert jax.tree.structure(after.aux["cloning"]) == jax.tree.structure(aux), (
            "compiled and saved before it is known"
        )
        assert np.any(after.model.actor.layers[0].weight != before.model.actor.layers[0].weight)
        others = [after.target.actor, after.aux["cloning"].get("clone")] if regularisation else []
        for other in others:
            jax.tree.map(np.testing.assert_array_equal, other, after.model.actor)


def test_unknown_actions_or_zero_updates_leave_the_state_unchanged(demos):
    extension = Cloning(updates=5)
    state = state_of(demos, extension=extension)
    assert prepared(extension, state, Demonstrations.of(demos), labelled=False) is state
    none = Cloning(updates=0, regularisation=0.0)
    assert prepared(none, state, Demonstrations.of(demos)) is state


def test_actor_loss_terms_match_hand_computed_values():
    """One expert row is off by 0.5 and 0.1. One learner row is off the clone by 0.2 and 0, with trust 0.5."""
    constant = MLP(3, 4, iq.Network(()), jr.key(0))
    parts = jnp.zeros((3, 4)), jnp.array([0.3, 0.0, 0.0, 0.0])
    clone = eqx.tree_at(lambda m: (m.layers[0].weight, m.layers[0].bias), constant, parts)
    mean = jnp.array([[0.5, 0.1], [0.1, 0.0]])
    policy = ClippedGaussian(mean, jnp.zeros_like(mean), jnp.array([[-1.0, -1.0], [1.0, 1.0]]))
    rows = Rows(policy, jnp.zeros((2, 3)), jnp.zeros((2, 2)), 1, jnp.array([1.0, 0.5]))
    loss, figures = Cloning(weight=10.0, regularisation=4.0).actor_loss({"clone": clone}, rows)
    expert, held = float(policy.distance(rows.unit)[0]), float(policy.distance(jnp.array([[0, 0], [0.3, 0.0]]))[1])
    assert expert == pytest.approx(0.26)
    assert held == pytest.approx(0.04)
    assert float(loss) == pytest.approx(10.0 * expert + 4.0 * 0.5 * held)
    assert float(figures["clone_distance"]) == pytest.approx(held)
    assert Cloning(weight=10.0, regularisation=0.0).actor_loss({}, rows)[1] == {}
    gradient = jax.grad(lambda clone: Cloning().actor_loss({"clone": clone}, rows)[0])(clone)
    assert not np.any(gradient.layers[0].bias), "the clone is fixed"


def test_the_learner_acts_with_the_clone_from_the_first_step_on(state):
    """Without a clone `behaviour` returns None, so the first steps are random."""
    assert Cloning(updates=5).behaviour({}, state.model, 0) == Behaviour(state.model, random=0.0)
    assert Cloning(updates=0, regularisation=0.0).behaviour({}, state.model, 0) is None


@pytest.mark.parametrize(
    ("extension", "settings", "online", "told"),
    [
        (Cloning(), iq.IQLearn(), True, "cloning has no effect on iq with discrete actions; expected a run without it"),
        (Cloning(), iq.IQLearnContinuous(), False, r"cloning\.regularisation is 1\.0; expected 0 offline"),
        (
            Cloning(regularisation=0.0),
            iq.IQLearnContinuous(state_only=True),
            False,
            "no cloning with state_only, or action_inf",
        ),
    ],
)
def test_cloning_is_refused_in_unsupported_runs(extension, settings, online, told):
    with pytest.raises(iq.InputError, match=told):
        extension.check(settings, online, 1_000)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"updates": 0}, r"cloning\.regularisation is 1\.0; expected 0 without cloning\.updates"),
        ({"reach": -1.0}, r"reach is -1\.0"),
        ({"weight": float("inf")}, "weight is inf"),
    ],
)
def test_settings_out_of_range_are_refused(change, told):
    with pytest.raises(iq.InputError, match=told):
        Cloning(**change)


def test_cloning_is_recommended_if_actions_are_known_or_can_be_inferred(demos):
    plain, hidden = iq.IQLearnContinuous(), iq.IQLearnContinuous(state_only=True)

    def suggested(settings, online: bool):
        return Cloning.suggest(demos, TASK, settings, online, 1_000)[0]

    assert suggested(plain, True) == suggested(hidden, True) == Cloning()
    assert suggested(plain, False) == Cloning(weight=1_000.0, regularisation=0.0)
    assert suggested(hidden, False) is None
    assert suggested(iq.IQLearn(), True) is None


def test_action_bounds_scale_to_plus_and_minus_one():
    """Cloning compares actions in these units."""
    unit = ActionScale(TASK).to_unit(jnp.array([[2.0, 3.0], [-2.0, -1.0]]))
    np.testing.assert_allclose(unit, [[1.0, 1.0], [-1.0, -1.0]])


def test_cloning_without_any_effect_is_refused():
    with pytest.raises(iq.InputError, match=r"cloning.weight is 0.0; expected above 0 without cloning.updates"):
        Cloning(updates=0, weight=0.0, regularisation=0.0)
