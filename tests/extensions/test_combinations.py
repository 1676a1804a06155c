"""Extensions alone, in combinations, and none: each run trains, and a resumed run equals the whole run."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.algorithms.base import Extension
from iqlearn.checks import check
from iqlearn.envs.gym import Environment
from iqlearn.envs.stepper import Stepper
from iqlearn.extensions import EXTENSIONS
from iqlearn.runs.provenance import settings_of, to_dict
from iqlearn.training.learner import steps_before_updates
from iqlearn.training.streams import Streams

SMALL = iq.Network((8,))
ACTING = iq.Interaction(random_steps=10, round_steps=10)
CONTINUOUS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, average_rate=0.1, batch_size=4)
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
SMALLEST = {
    "action_inference": {"steps": 30, "rounds": 3, "updates": 5, "clone_updates": 5},
    "reward_regression": {"steps": 30, "updates": 20},
    "energy_reward": {"steps": 30, "every": 20},
    "cloning": {"updates": 10},
    "cold_start": {},
    "model_rollouts": {"particles": 5},
}


def part(name: str, **changes: Any) -> Extension:
    return EXTENSIONS[name](**SMALLEST[name] | changes)


def of(base: Any, *names: str, **changes: Any) -> Any:
    """Settings with these extensions."""
    extensions = tuple(part(name, **changes) for name in names)
    hidden = any(extension.gives_actions for extension in extensions)
    return replace(base, extensions=extensions, **({"state_only": True} if hidden else {}))


COMBINATIONS = [
    ("online", ()),
    ("online", ("cloning",)),
    ("online", ("reward_regression",)),
    ("online", ("energy_reward",)),
    ("online", ("action_inference",)),
    ("online", ("cold_start",)),
    ("online", ("reward_regression", "cloning")),
    ("online", ("energy_reward", "cloning")),
    ("online", ("action_inference", "cloning")),
    ("online", ("action_inference", "reward_regression")),
    ("online", ("action_inference", "energy_reward")),
    ("online", ("action_inference", "reward_regression", "cloning")),
    ("offline", ("cloning",)),
    ("offline", ("model_rollouts",)),
]
THERE = [(mode, names) for mode, names in COMBINATIONS if set(names) <= EXTENSIONS.keys()]
"""If an extension is deleted, the combinations without it remain."""


def first_random_actions(n: int) -> np.ndarray:
    """The random actions with which a run of seed 0 begins."""
    stepper = Stepper(Environment.of("Pendulum-v1"), 1)
    stepper.seed_actions(Streams.of(0).reset_seed(1))
    actions = [stepper.random_actions()[0] for _ in range(n)]
    stepper.close()
    return np.stack(actions)


def cases(combinations: list[tuple[str, tuple[str, ...]]]) -> list[Any]:
    """Online pairs of extensions are slow tests. Single extensions and the largest combination are not."""
    slow = {case: [pytest.mark.slow] if case[0] == "online" and len(case[1]) == 2 else [] for case in combinations}
    return [pytest.param(*case, marks=marks, id=f"{case[0]}: {', '.join(case[1])}") for case, marks in slow.items()]


@pytest.mark.parametrize(("mode", "names"), cases(THERE))
def test_combination_trains_and_a_resumed_run_is_identical(
    mode, names, pendulum, cartpole, tmp_path, snapshots, same_run
):
    online, base = mode == "online", DISCRETE if names == ("model_rollouts",) else CONTINUOUS
    settings = of(base, *names, **({"regularisation": 0.0} if (mode, names) == ("offline", ("cloning",)) else {}))
    demos, env = (cartpole, "CartPole-v1") if settings.discrete else (pendulum, "Pendulum-v1")
    paid = replace(demos, rew=np.full(len(demos), np.nan, np.float32))  # no reward of the expert is read
    copies, acted = snapshots(tmp_path / "run"), []

    class Look(iq.Callback):
        def on_round(self, training) -> None:
            if online and not acted:
                acted.append(np.asarray(training.groups[0].sources.replay.newest(10).action))

    run = iq.learn(
        settings,
        paid,
        env=env,
        env_kwargs={"max_episode_steps": 25},
        mode=mode,
        interaction=ACTING if online else None,
        steps=60 if online else 6,
        evaluations=3,
        eval_episodes=1,
        callbacks=[copies, Look()],
        out=tmp_path / "run",
        quiet=True,
    )
    assert run.result["status"] == "completed"
    assert int(run.state.step) > 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((run.state.model, run.rows[-1]["loss"])))
    assert list(run.state.aux) == sorted(extension.name for extension in settings.extensions)
    assert iq.Run.load(tmp_path / "run").settings == settings == settings_of(to_dict(settings))
    for copy in copies.copies[: 2 if len(names) == 3 else 1]:
        assert iq.resume(copy, demos, quiet=True).result["status"] == "completed"
        same_run(copy, tmp_path / "run")
    # The effect of each extension.
    first, second, last = [row for row in run.rows if row["step"]][:2] + run.rows[-1:]
    if online:
        random = np.array_equal(acted[0][::-1], first_random_actions(10))
        assert random == (names != ("cloning",)), "a clone acts from the first step on"
        assert second["updates"] == (
            0 if set(names) & {"action_inference", "reward_regression", "energy_reward"} else 20
        )
    assert ("inverse_error" in first) == ("action_inference" in names)
    assert ("clone_distance" in last) == (online and "cloning" in names)
    assert ("squared_error" in last) == (not settings.discrete and not settings.state_only)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "names"), [case for case in THERE if len(case[1]) == 3 or "model_rollouts" in case[1]]
)
def test_padding_for_other_seeds_does_not_change_a_run(mode, names, pendulum, cartpole):
    """Demonstrations of several seeds are padded to one size. Each seed learns as it does alone."""
    settings = of(DISCRETE if names == ("model_rollouts",) else CONTINUOUS, *names)
    demos = cartpole if settings.discrete else pendulum
    few = demos.take(1, seed=0).subsample(3, seed=0)
    acting = {"interaction": ACTING, "env_kwargs": {"max_episode_steps": 25}} if mode == "online" else {}
    how = {"mode": mode, "steps": 60 if acting else 6, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    how |= acting | {"env": demos.env}
    together = iq.learn(settings, [demos, few], seeds=[0, 1], **how)[1]
    alone = iq.learn(settings, few, seed=1, **how)
    for padded, plain in zip(jax.tree.leaves(together.state), jax.tree.leaves(alone.state), strict=True):
        cut = padded[: len(plain)] if np.ndim(plain) else padded
        np.testing.assert_allclose(key_data(cut), key_data(plain), rtol=1e-3, atol=1e-3)


def key_data(x: Any) -> Any:
    """The numbers of an array, or of a random key."""
    return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x


WRONG = [
    (CONTINUOUS, "online", ("cloning", "reward_regression"), {}, "expected the order "),
    (CONTINUOUS, "online", ("cloning", "cloning"), {}, "expected each extension once"),
    (
        CONTINUOUS,
        "online",
        ("action_inference",),
        {"state_only": False},
        "infers continuous actions online, with state_",
    ),
    (CONTINUOUS, "online", ("cloning",), {"state_only": True}, "no cloning with state_only, or action_inf"),
    (CONTINUOUS, "offline", ("cloning",), {}, r"cloning\.regularisation is 1\.0; expected 0 offline"),
    (CONTINUOUS, "offline", ("reward_regression",), {}, "needs states of the learner; expected an online run"),
    (CONTINUOUS, "online", ("reward_regression",), {"divergence": "tv"}, "expected chi2_mixture and inverse"),
    (CONTINUOUS, "offline", ("model_rollouts",), {}, "model_rollouts is for discrete actions"),
    (DISCRETE, "online", ("model_rollouts",), {}, "model_rollouts is for discrete actions, offline"),
    (DISCRETE, "online", ("cloning",), {}, "cloning has no effect on iq"),
    (DISCRETE, "online", ("cold_start",), {}, "cold_start has no effect on iq"),
    (CONTINUOUS, "offline", ("cold_start",), {}, "expected mode online, or no cold_start"),
    (CONTINUOUS, "online", ("cloning", "cold_start"), {}, "expected cold_start or cloning"),
    (CONTINUOUS, "online", ("energy_reward", "cold_start"), {}, "expected cold_start or energy_reward"),
    (DISCRETE, "online", ("reward_regression",), {}, "expected chi2_mixture and inverse with reward_regression"),
]


@pytest.mark.parametrize(
    ("base", "mode", "names", "changes", "told"), [w for w in WRONG if set(w[2]) <= EXTENSIONS.keys()]
)
def test_wrong_combinations_are_refused_with_a_one_line_message(base, mode, names, changes, told, pendulum, cartpole):
    task = (cartpole if base.discrete else pendulum).task_spec()
    with pytest.raises(iq.InputError, match=told) as caught:
        check(replace(of(base, *names), **changes), task, iq.Interaction() if mode == "online" else None, 100_000)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.skipif(
    not {"action_inference", "reward_regression"} <= EXTENSIONS.keys(), reason="two extensions with phases are needed"
)
def test_the_longest_phase_decides_when_updates_begin():
    inference, regression = part("action_inference", steps=300), part("reward_regression", steps=200)
    assert steps_before_updates(replace(CONTINUOUS, extensions=(regression,)), ACTING) == (200, 200)
    both = replace(CONTINUOUS, extensions=(inference, regression))
    assert steps_before_updates(both, ACTING) == (300, 310), "an emptied replay is filled first"
    assert steps_before_updates(replace(CONTINUOUS, extensions=(inference,)), replace(ACTING, random_steps=50)) == (
        300,
        350,
    )


@pytest.mark.parametrize("kind", EXTENSIONS.values())
def test_registered_extensions_have_comparable_defaults_and_a_docstring(kind):
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    assert EXTENSIONS[kind.name] is kind
    assert kind.__doc__
