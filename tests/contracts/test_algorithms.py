"""One contract for every algorithm in the registry. What an algorithm needs is read from its class."""

import ast
import inspect
import json
import textwrap
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from itertools import pairwise, product
from typing import Any, Literal, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from iqlearn import InputError, Network, algorithms
from iqlearn.algorithms import ALGORITHMS, EXPERT
from iqlearn.algorithms.base import Algorithm, Implied, TrainState
from iqlearn.extensions import EXTENSIONS
from iqlearn.networks import descent, encoders
from iqlearn.runs.provenance import settings_of, to_dict
from iqlearn.training.loop import join, program, split
from iqlearn.types import ArraySpec, Batch, Bounds, Rewarded, TaskSpec, Transitions

EVERY = pytest.mark.parametrize("name", ALGORITHMS)
BOUNDS = Bounds((-1.0, 0.0), (1.0, 4.0))
VECTOR = ArraySpec((3,))
TREE = {"goal": ArraySpec((2,)), "state": {"cell": ArraySpec((), "int32", 4), "image": ArraySpec((2, 2), "uint8")}}
"""A nested dictionary with every kind of input."""
N = 8


def small(name: str, **changes: Any) -> Any:
    """The algorithm with its defaults, small and quick."""
    kind = ALGORITHMS[name]
    layers = {f.name: Network((8,)) for f in fields(kind) if isinstance(f.default, Network)}
    rates = {f.name: 1e-2 for f in fields(kind) if f.name.endswith("learning_rate")}
    return kind(**({"batch_size": N} | layers | rates | changes))


def task_of(name: str, obs: Any = TREE) -> TaskSpec:
    return TaskSpec(obs, 3 if ALGORITHMS[name].discrete else BOUNDS)


def observations(spec: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if isinstance(spec, dict):
        return {key: observations(part, seed + i) for i, (key, part) in enumerate(spec.items())}
    if spec.choices:
        return jnp.asarray(rng.integers(0, spec.choices, N), spec.dtype)
    numbers = rng.integers(0, 256, (N, *spec.shape)) if spec.dtype == "uint8" else rng.normal(size=(N, *spec.shape))
    return jnp.asarray(numbers, spec.dtype)


def transitions(task: TaskSpec, seed: int) -> Transitions:
    rng = np.random.default_rng(seed)
    if task.discrete:
        action = jnp.asarray(rng.integers(0, task.choices, N), jnp.int32)
    else:
        action = jnp.asarray(rng.uniform(*task.bounds[:2], (N, 2)), jnp.float32)
    return Transitions(observations(task.obs, seed), action, observations(task.obs, seed + 50), jnp.arange(N) == 3)


def batches(name: str, obs: Any = TREE) -> dict[str, Any]:
    """Every kind of batch that the algorithm learns from."""
    kind, task = ALGORITHMS[name], task_of(name, obs)
    if kind.family == EXPERT:
        return {"rewarded": Rewarded(transitions(task, 0), jnp.linspace(-1.0, 1.0, N))}
    online = Batch(transitions(task, 0), transitions(task, 1), observations(task.obs, 2))
    both = {"online": online, "offline": online._replace(visited=None)}
    return {
        mode: both[mode] for mode in {"never": ["offline"], "may": ["online", "offline"], "must": ["online"]}[kind.acts]
    }


class Fixed(eqx.Module):
    """A source of one batch."""

    batch: Any

    def draw(self, _state: Any, _key: Any, _n: int) -> tuple[Any, "Fixed"]:
        return self.batch, self

    def saved(self) -> tuple[()]:
        return ()

    def restored(self, saved: Any) -> "Fixed":
        del saved
        return self


@eqx.filter_jit
def begun(settings: Any, task: TaskSpec, key: jax.Array) -> TrainState:
    return settings.init(task, encoders.blank(task.obs, settings.scaling, settings.saturation), key)


updated = eqx.filter_jit(lambda settings, state, batch, key: settings.update(state, batch, key))


@cache
def learnt(name: str) -> dict[str, tuple[TrainState, TrainState, dict]]:
    """The state before and after an update, and its metrics, for each kind of batch."""
    start = begun(small(name), task_of(name), jr.key(0))
    return {kind: (start, *updated(small(name), start, batch, jr.key(1))) for kind, batch in batches(name).items()}


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


@EVERY
def test_algorithm_is_registered_with_its_name_and_docstring(name):
    kind = ALGORITHMS[name]
    assert kind.name == name
    assert algorithms.of(kind.family, kind.discrete) is kind
    assert kind.acts in ("never", "may", "must")
    assert isinstance(kind(), Algorithm)
    assert kind.__doc__
    assert (kind.family in algorithms.imitators()) == (kind.family != EXPERT)


@EVERY
def test_field_defaults_match_the_class_attributes(name):
    """With two bases, the fields of the first one hide those of the second, including inherited fields."""
    kind = ALGORITHMS[name]
    for f in fields(kind):
        assert f.default == getattr(kind, f.name), f.name


def test_unknown_algorithm_is_rejected_with_the_known_names():
    with pytest.raises(InputError, match=r"No algorithm 'gail' for discrete actions; expected one of iq, bc"):
        algorithms.of("gail", True)


@EVERY
def test_initial_state_is_finite_at_step_0_and_depends_on_the_key(name):
    state = next(iter(learnt(name).values()))[0]
    assert state.step.dtype == jnp.int32
    assert int(state.step) == 0
    assert state.aux == {}
    assert all(np.isfinite(leaf).all() for leaf in leaves((state.model, state.target)))
    assert not same(state.model, begun(small(name), task_of(name), jr.key(5)).model)


@EVERY
def test_update_counts_a_step_changes_the_model_and_reports_finite_metrics(name):
    for start, state, metrics in learnt(name).values():
        assert int(state.step) == 1
        assert not same(start.model, state.model)
        assert same(start.model.encoder, state.model.encoder)
        assert "loss" in metrics
        for value in metrics.values():
            assert value.shape == ()
            assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in leaves((state.model, state.target)))
        assert jax.tree.structure(state) == jax.tree.structure(start)
        kinds = ([(leaf.shape, leaf.dtype) for leaf in leaves(tree)] for tree in (start, state))
        assert next(kinds) == next(kinds)


@EVERY
def test_an_update_is_pure(name):
    for kind, batch in batches(name).items():
        start, state, metrics = learnt(name)[kind]
        again = updated(small(name), start, batch, jr.key(1))
        assert same(again, (state, metrics))
        assert int(start.step) == 0


@EVERY
def test_one_program_runs_any_chunk_length_and_stacked_runs_match_single_runs(name):
    settings, task = small(name), task_of(name)
    kind, batch = next(iter(batches(name).items()))
    keys, starts = [jr.key(3), jr.key(4)], [learnt(name)[kind][0], begun(settings, task, jr.key(5))]
    states, sources = join(starts), join([Fixed(batch), Fixed(jax.tree.map(lambda x: x[::-1], batch))])
    misses = descent._program.cache_info().misses
    for updates in (1, 2):  # the loop is requested again for each length
        loop = program(settings, states, sources, join(keys), 2)
        states, sources, metrics = loop(states, sources, join(keys), updates)
        assert metrics["loss"].shape == (2,)
    assert descent._program.cache_info().misses <= misses + 1
    assert states.step.tolist() == [3, 3]
    for state, source, key, together in zip(starts, split(sources, 2), keys, split(states, 2), strict=True):
        for step in range(3):
            loss_key = jr.split(jr.fold_in(key, step))[1]
            state, _ = updated(settings, state, source.batch, loss_key)
        for a, b in zip(leaves(together), leaves(state), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


@EVERY
def test_policy_returns_valid_actions_and_finite_values(name):
    task = task_of(name)
    _, state, _ = next(iter(learnt(name).values()))
    rows = transitions(task, 7)

    @jax.jit
    def asked(state: TrainState, rows: Transitions):
        model = small(name).policy(state)
        acts = model.act(rows.obs), model.act(rows.obs, jr.key(2))
        return acts, (model.q(rows.obs, rows.action), model.v(rows.obs), model.log_prob(rows.obs, rows.action))

    acts, judged = asked(state, rows)
    for action in acts:
        assert action.shape == (N, *task.action_shape)
        if task.discrete:
            assert jnp.issubdtype(action.dtype, jnp.integer)
            assert np.isin(action, range(task.choices)).all()
        else:
            assert action.dtype == jnp.float32
            assert (np.asarray(BOUNDS.low) - 1e-5 <= np.asarray(action)).all()
            assert (np.asarray(action) <= np.asarray(BOUNDS.high) + 1e-5).all()
    for value in judged:
        assert value.shape == (N,)
        assert np.isfinite(value).all()
    assert small(name).policy(state).encoder.spec == task.obs


@EVERY
def test_reward_is_implied_by_the_model_or_none(name):
    settings, model = small(name), small(name).policy(next(iter(learnt(name).values()))[1])
    reward = settings.reward(model)
    if reward is not None:
        assert isinstance(reward, Implied)
        assert reward.model is model
        assert reward.gamma == settings.gamma
        assert reward.limit > 0.0


@EVERY
def test_algorithm_accepts_vector_observations(name):
    """Only the encoder sees the difference, so shapes suffice."""
    settings, task = small(name), task_of(name, VECTOR)
    rows = transitions(task, 0)

    def run(batch: Any, key: jax.Array):
        start = settings.init(task, encoders.blank(task.obs, settings.scaling, settings.saturation), key)
        state, _ = settings.update(start, batch, key)
        model = settings.policy(state)
        return start, state, model.act(rows.obs, key), model.v(rows.obs)

    start, state, action, value = jax.eval_shape(run, next(iter(batches(name, VECTOR).values())), jr.key(0))
    assert jax.tree.structure(start) == jax.tree.structure(state)
    assert action.shape == (N, *task.action_shape)
    assert value.shape == (N,)


def variants(name: str) -> list[Any]:
    """The defaults, what is recommended, and the defaults with every extension."""
    kind = ALGORITHMS[name]
    every = tuple(extension() for extension in EXTENSIONS.values())
    extended = [kind(extensions=every)] if "extensions" in {f.name for f in fields(kind)} else []
    return [kind(), *(kind.recommended(*flags) for flags in product((True, False), repeat=2)), *extended]


@EVERY
def test_settings_survive_json_and_are_equal_and_hashable(name):
    for settings in variants(name):
        plain = to_dict(settings)
        assert plain["name"] == name
        again = settings_of(json.loads(json.dumps(plain)))
        assert type(again) is type(settings)
        assert again == settings
        assert hash(again) == hash(settings)
        assert again.reason == settings.reason
    changed = replace(ALGORITHMS[name](), batch_size=7)
    assert changed != ALGORITHMS[name]()
    assert replace(changed, reason="because") == changed, "the reason is no setting"


@EVERY
def test_recommended_settings_are_valid_and_keep_changes(name):
    kind = ALGORITHMS[name]
    kind().check(True)
    for visits, told in product((True, False), repeat=2):
        settings = kind.recommended(visits, told)
        assert type(settings) is kind
        settings.check(visits)
        assert kind.recommended(visits, told, batch_size=7) == replace(settings, batch_size=7)


def settings_classes() -> list[type]:
    """Every dataclass of settings: of algorithms, of what they inherit from, of extensions, and of networks."""
    kinds = [*ALGORITHMS.values(), *EXTENSIONS.values(), Network]
    return list(dict.fromkeys(k for kind in kinds for k in kind.__mro__ if is_dataclass(k)))


@pytest.mark.parametrize("kind", settings_classes(), ids=lambda kind: kind.__name__)
def test_every_setting_has_a_docstring(kind):
    """A setting whose default a class only changes has the docstring of the declaring class."""
    told = set()
    for base in filter(is_dataclass, kind.__mro__):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for line, after in pairwise(body):
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                told.add(line.target.id)
    assert {f.name for f in fields(kind)} <= told


def unchecked(settings: Any, setting: str, value: Any) -> None:
    """Make the settings with this value, without the type checks of the tests."""
    made = object.__new__(type(settings))
    for f in fields(settings):
        object.__setattr__(made, f.name, value if f.name == setting else getattr(settings, f.name))
    made.__post_init__()


def wrong_values(kind: type, f: Field) -> list[Any]:
    """Values that no setting of this type may have."""
    hint = get_type_hints(kind)[f.name]
    if get_origin(hint) is Literal:
        return ["nonsense"]
    numbers = {int, float} & {hint, *get_args(hint)}
    if not numbers:
        return []
    least = [] if f.name == "target_entropy" else [-1.0 if float in numbers else -1]  # an entropy may be negative
    return [*least, float("nan"), float("inf")]


@EVERY
def test_invalid_values_are_rejected_with_the_name_of_the_setting(name):
    kind = ALGORITHMS[name]
    tried = [(f.name, value) for f in fields(kind) for value in wrong_values(kind, f)]
    assert len(tried) > 8
    for setting, value in tried:
        with pytest.raises(InputError, match=rf"Setting {setting} is {value!r}; expected "):
            unchecked(kind(), setting, value)


@EVERY
def test_zero_is_rejected_for_settings_that_must_be_positive(name):
    kind = ALGORITHMS[name]
    positive = {"batch_size", "learning_rate", "actor_learning_rate", "average_rate", "temperature"}
    for setting in (positive | {"critics", "members", "target_period"}) & {f.name for f in fields(kind)}:
        with pytest.raises(InputError, match=rf"Setting {setting} is 0(\.0)?; expected a finite number above 0"):
            unchecked(kind(), setting, 0)
