"""learn, resume, recommended: accepted and rejected arguments. Settings of the user are never changed."""

import json
from dataclasses import fields, replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv
from safetensors.numpy import load_file

import iqlearn as iq
from iqlearn import api
from iqlearn.algorithms import ALGORITHMS
from iqlearn.checks import check, default_steps, environment_of, joint, mode_of
from iqlearn.data.fields import OBSERVED
from iqlearn.envs.gym import Environment
from iqlearn.evaluation.returns import Evaluator, as_arrays, uniform
from iqlearn.extensions import EXTENSIONS, model_rollouts, reward_first
from iqlearn.runs import folder
from iqlearn.types import ArraySpec, Bounds, TaskSpec

SMALL = iq.Network((8,))
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
CONTINUOUS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=4)
TINY = {"steps": 4, "evaluations": 2, "eval_episodes": 1, "quiet": True}
SHORT = {"env": "CartPole-v1", "env_kwargs": {"max_episode_steps": 10}}
ACTING = iq.Interaction(random_steps=5, round_steps=5)
CARTPOLE, PENDULUM = Environment.of("CartPole-v1"), Environment.of("Pendulum-v1")


# Seeds and demonstrations.


def test_each_seed_trains_a_run_equal_to_the_same_run_alone(cartpole, tmp_path):
    runs = iq.learn(DISCRETE, cartpole, seeds=[3, 1], out=tmp_path / "runs", **SHORT, **TINY)
    assert [run.schedule.seed for run in runs] == [3, 1]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".lock", "manifest.json", "seed-1", "seed-3"]
    alone = iq.learn(DISCRETE, cartpole, seed=3, **SHORT, **TINY)
    np.testing.assert_array_equal(alone.policy(cartpole.obs), runs[0].policy(cartpole.obs))
    np.testing.assert_allclose(alone.reward(cartpole), runs[0].reward(cartpole), rtol=1e-5)
    assert alone.result["returns"] == runs[0].result["returns"]


def test_each_seed_may_have_its_own_demonstrations(cartpole):
    parts = [cartpole.take(2, seed=seed).subsample(3) for seed in (0, 1)]
    runs = iq.learn(DISCRETE, parts, seeds=range(2), **TINY, **SHORT)
    assert [run.origin.sha256 for run in runs] == [part.sha256() for part in parts]
    assert [run.origin.transitions for run in runs] == [len(part) for part in parts]
    assert [run.origin.selection for run in runs] == [part.selection for part in parts]


@pytest.mark.parametrize(
    ("seeds", "n", "told"),
    [
        ([0, 1], 3, r"3 demonstrations for seeds \[0, 1\]; expected one set for each, seeds that differ"),
        ([2, 2], 2, r"2 demonstrations for seeds \[2, 2\]; expected one set for each, seeds that differ"),
        ([], 1, r"seeds is \[\]; expected one seed at least"),
        ([-1], 1, "seed is -1; expected a number of at least 0"),
    ],
)
def test_invalid_seeds_are_rejected(cartpole, seeds, n, told):
    demos = [cartpole] * n if n > 1 else cartpole
    with pytest.raises(iq.InputError, match=told):
        iq.learn(DISCRETE, demos, seeds=seeds, **TINY)


# Environments.


def make_short(steps: int = 10) -> gym.Env:
    return gym.wrappers.TimeLimit(CartPoleEnv(), steps)


@pytest.mark.parametrize(
    ("env", "kwargs", "name"),
    [
        ("CartPole-v1", {"max_episode_steps": 10}, "CartPole-v1"),
        (gym.spec("CartPole-v1"), {"max_episode_steps": 10}, "CartPole-v1"),
        (make_short, None, "make_short"),
        (make_short, {"steps": 10}, "make_short"),
        (partial(make_short, steps=10), None, "make_short"),
        (lambda: make_short(), None, "<lambda>"),
    ],
    ids=["id", "spec", "function", "function with arguments", "partial", "lambda"],
)
def test_learn_accepts_environment_ids_specs_and_functions(cartpole, tmp_path, env, kwargs, name):
    run = iq.learn(DISCRETE, cartpole, env=env, env_kwargs=kwargs, out=tmp_path / "run", **TINY)
    assert run.result["mean_return"] == 10.0
    assert run.origin.title.endswith(name)
    loaded = iq.Run.load(tmp_path / "run")
    assert loaded.evaluate(1, env=None if isinstance(env, str) or not callable(env) else env).tolist() == [10.0]
    if callable(env):
        with pytest.raises(iq.InputError, match="was a function, which no file holds; expected it again"):
            loaded.evaluate(1)


def test_the_environment_that_demonstrations_name_is_the_default(cartpole):
    run = iq.learn(DISCRETE, cartpole, **TINY)
    assert run.origin.title == "CartPole-v1"
    assert run.interaction is None


def test_missing_environment_warns_offline_and_raises_online(cartpole):
    demos = iq.Demos.from_arrays(cartpole.arrays() | {"env": np.array("Gone-v7")}, source="gone.npz")
    with pytest.warns(
        UserWarning, match=r"gone\.npz names an environment that cannot be made, so no returns are measured"
    ):
        run = iq.learn(DISCRETE, demos, **TINY)
    assert (run.origin.environment, run.result["mean_return"]) == (None, None)
    with pytest.raises(iq.InputError, match="No environment 'Gone-v7'"):
        iq.learn(DISCRETE, demos, mode="online", **TINY)


def test_keyword_arguments_without_an_environment_are_refused(cartpole):
    with pytest.raises(iq.InputError, match="Keyword arguments are given without an environment"):
        iq.learn(DISCRETE, cartpole, env_kwargs={"max_episode_steps": 10}, **TINY)


def test_demonstrations_of_another_task_are_refused(cartpole):
    with pytest.raises(iq.InputError, match=r"random\.npz: field 'obs' holds observations of shape \(4,\)"):
        iq.learn(CONTINUOUS, cartpole, env="Pendulum-v1", **TINY)


def test_without_an_environment_the_task_covers_all_demonstrations(cartpole):
    """The demonstrations of one seed may contain fewer actions."""
    nameless = replace(cartpole, env=None)
    parts = [replace(nameless, act=np.zeros(len(cartpole), np.int64)), nameless]
    assert [part.task_spec().actions for part in parts] == [1, 2]
    runs = iq.learn(DISCRETE, parts, seeds=range(2), **TINY)
    assert [run.task.actions for run in runs] == [2, 2]
    low, high = (TaskSpec(ArraySpec((3,)), Bounds(*bounds)) for bounds in (((-2.0,), (1.0,)), ((-1.0,), (3.0,))))
    assert joint([low, high]).bounds == Bounds((-2.0,), (3.0,))
    parts = [nameless, replace(nameless, **{name: {"a": getattr(nameless, name)} for name in OBSERVED})]
    with pytest.raises(iq.InputError, match=r"field 'obs.*' is"):
        iq.learn(DISCRETE, parts, seeds=range(2), **TINY)


def test_learn_rejects_expert_settings_and_train_expert_rejects_imitators(cartpole):
    with pytest.raises(iq.InputError, match="SoftQLearning, which learns from rewards; expected an algorithm that imi"):
        iq.learn(iq.SoftQLearning(), cartpole, quiet=True)
    with pytest.raises(iq.InputError, match="IQLearn, which learns from demonstrations; expected iq"):
        iq.train_expert("CartPole-v1", iq.IQLearn(), quiet=True)
    with pytest.raises(iq.InputError, match="settings is 'iq'; expected an algorithm that imitates"):
        iq.learn("iq", cartpole, quiet=True)
    with pytest.raises(iq.InputError, match=r"settings is the class SAC; expected an object, iq.SAC\(\)"):
        iq.train_expert("CartPole-v1", iq.SAC, quiet=True)
    with pytest.raises(iq.InputError, match="Setting seed is 5; expected 0, because seeds is given"):
        iq.learn(iq.IQLearn(), cartpole, seed=5, seeds=[0, 1], quiet=True)
    with pytest.raises(iq.InputError, match="EarlyStopping has no effect without demonstrations"):
        iq.train_expert("CartPole-v1", callbacks=[iq.EarlyStopping(1)], quiet=True)


def test_settings_for_the_other_kind_of_actions_are_refused(cartpole, pendulum):
    with pytest.raises(iq.InputError, match="the actions are continuous; expected IQLearnContinuous"):
        iq.learn(DISCRETE, pendulum, env="Pendulum-v1", **TINY)
    with pytest.raises(iq.InputError, match="the actions are discrete; expected BC"):
        iq.learn(iq.BCContinuous(), cartpole, **TINY)


# Mode.


@pytest.mark.parametrize(
    ("settings", "env", "mode", "acts", "expected"),
    [
        (DISCRETE, True, None, False, "offline"),
        (DISCRETE, True, "online", False, "online"),
        (DISCRETE, True, None, True, "online"),
        (CONTINUOUS, True, None, False, "online"),
        (CONTINUOUS, False, None, False, "offline"),
        (CONTINUOUS, False, "online", False, "online"),
        (CONTINUOUS, True, "offline", False, "offline"),
        (iq.BC(), True, None, False, "offline"),
        (iq.BCContinuous(), True, None, False, "offline"),
        (iq.SAC(), True, None, False, "online"),
        (iq.SoftQLearning(), True, None, False, "online"),
    ],
)
def test_the_mode_follows_from_algorithm_and_environment(settings, env, mode, acts, expected):
    assert mode_of(settings, env, mode, ACTING if acts else None) == expected


def test_impossible_modes_are_rejected(cartpole, pendulum):
    nameless = iq.Demos.from_arrays({k: v for k, v in pendulum.arrays().items() if k != "env"})
    with pytest.raises(iq.InputError, match=r"^Learning online needs an environment.*env=\.\.\.\)\.$"):
        iq.learn(CONTINUOUS, nameless, mode="online")
    with pytest.raises(iq.InputError, match="learns from the demonstrations alone"):
        iq.learn(iq.BCContinuous(), pendulum, env="Pendulum-v1", mode="online")
    with pytest.raises(iq.InputError, match="learns from the demonstrations alone"):
        iq.learn(iq.BC(), cartpole, interaction=ACTING)
    with pytest.raises(iq.InputError, match="mode is offline, but interaction is given"):
        iq.learn(DISCRETE, cartpole, mode="offline", interaction=ACTING)
    with pytest.raises(iq.InputError, match="'sac' learns from its own transitions; expected mode online"):
        mode_of(iq.SAC(), True, "offline", None)


def test_default_steps_depend_on_action_type_and_mode():
    modes = [(CONTINUOUS, "online"), (CONTINUOUS, "offline"), (DISCRETE, "online"), (DISCRETE, "offline")]
    assert [default_steps(*each) for each in modes] == [100_000, 10_000, 10_000, 10_000]


# Settings are passed through unchanged.


def test_recommended_reports_its_reason_and_the_run_folder_keeps_it(cartpole, tmp_path, capsys):
    settings = iq.recommended(cartpole)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err == f"iqlearn: {settings.reason}\n"
    assert settings.reason.endswith(".")
    assert settings.reason.startswith("Recommended for random.npz, offline: ")
    assert "leave-one-out error" in settings.reason
    settings = replace(settings, network=SMALL, batch_size=4)
    before = replace(settings)
    run = iq.learn(settings, cartpole, out=tmp_path / "run", **SHORT, **TINY)
    assert run.settings is settings, "settings in are settings out"
    assert settings == before == iq.Run.load(tmp_path / "run").settings
    config = json.loads((tmp_path / "run" / folder.CONFIG).read_text())
    assert config["settings"]["reason"] == settings.reason
    assert iq.Run.load(tmp_path / "run").settings.reason == settings.reason
    assert iq.recommended(cartpole, quiet=True).reason == settings.reason
    assert capsys.readouterr().err == ""


def test_recommended_returns_algorithm_settings_and_rejects_unknown_names(cartpole, pendulum):
    assert type(iq.recommended(cartpole, quiet=True)) is iq.IQLearn
    assert type(iq.recommended(pendulum, quiet=True)) is iq.IQLearnContinuous
    assert type(iq.recommended(pendulum, algorithm="bc", quiet=True)) is iq.BCContinuous
    with pytest.raises(iq.InputError, match="No algorithm 'ppo' for discrete actions; expected one of iq, bc"):
        iq.recommended(cartpole, algorithm="ppo", quiet=True)
    with pytest.raises(iq.InputError, match="colour is 'blue'; expected a setting of IQLearn"):
        iq.recommended(cartpole, colour="blue", quiet=True)


OTHER = {
    "batch_size": 7,
    "learning_rate": 0.0123,
    "weight_decay": 0.0456,
    "scaling": "whiten",
    "saturation": 3.0,
    "gamma": 0.95,
    "temperature": 0.037,
    "target_rate": 0.5,
    "divergence": "chi2",
    "value_term": "expert",
    "form": "inverse",
    "chi2_alpha": 0.25,
    "gradient_penalty": 0.3,
    "spectral_norm": True,
    "state_only": True,
    "absorbing": False,
    "clip_value": False,
    "extensions": (),
    "target_period": 4,
    "output_scale": 2.5,
    "members": 3,
    "network": iq.Network((5,)),
    "next_value_gradient": False,
    "actor_learning_rate": 0.0777,
    "decay_after": 123,
    "average_rate": 0.5,
    "target_entropy": -0.5,
    "critics": 4,
    "critic": iq.Network((5,)),
    "actor": iq.Network((6,)),
    "squash": "tanh",
    "next_policy": "live",
    "reason": "mine",
}
"""A value of each setting that is never recommended (of two possible values, the one that is not recommended)."""
NEEDED = {"target_period": {"target_rate": 0.5}, "next_value_gradient": {"target_rate": 0.0, "form": "inverse"}}
"""Settings that a value of `OTHER` requires: without them it has no effect and is rejected."""
MORE = {"scaling": "standard", "form": "least_squares", "target_rate": 1.0, "divergence": "tv", "squash": "clip"}
"""Values of the paper, or other defaults: a default that the user names is kept too."""


def found_to_be(monkeypatch, error: float) -> None:
    """Set the leave-one-out errors of the expert's actions and of the dynamics, where extensions ask for them."""
    monkeypatch.setattr(reward_first, "leave_one_out_error", lambda *_: error)
    monkeypatch.setattr(model_rollouts, "fit_linear", lambda *_: (None, error))


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("others", [{}, {"state_only": True}], ids=["", "state_only"])
@pytest.mark.parametrize("error", [0.01, 0.2, 0.5], ids=["easy", "hard", "hopeless"])
@pytest.mark.parametrize("kind", [iq.IQLearn, iq.IQLearnContinuous])
def test_recommended_chooses_extensions_and_keeps_user_settings(
    kind, mode, others, error, cartpole, pendulum, monkeypatch
):
    """Each setting is tried with an unusual value, with its default, and with its value in `MORE`."""
    found_to_be(monkeypatch, error)
    demos, env = (cartpole, CARTPOLE) if kind.discrete else (pendulum, PENDULUM)
    ask = partial(iq.recommended, demos, env, mode=mode, quiet=True)
    chosen = ask(**others)
    assert type(chosen) is kind
    names, hidden, online = [part.name for part in chosen.extensions], "state_only" in others, mode == "online"
    helpful = {
        "action_inference": not kind.discrete and online and hidden,
        "reward_regression": not kind.discrete and online and (error == 0.2 or hidden),
        "energy_reward": not kind.discrete and online and error == 0.5 and not hidden,
        "cloning": not kind.discrete and (online or not hidden),
        "model_rollouts": kind.discrete and not online and not hidden and error < 0.1,
    }
    assert names == [name for name in EXTENSIONS if helpful.get(name)]
    if kind.discrete:
        visits = online or bool(names)
        assert (chosen.form, chosen.absorbing) == (("least_squares", True) if visits else ("inverse", False))
    else:
        gammas = {"reward_regression": 0.97, "energy_reward": 0.98}
        assert chosen.gamma == next((gamma for name, gamma in gammas.items() if name in names), 0.9)
    for name in (f.name for f in fields(kind) if f.name not in others):
        for value in (OTHER[name], getattr(kind(), name), *([MORE[name]] if name in MORE else [])):
            changes = others | NEEDED.get(name, {}) | {name: value}
            found = ask(**changes)
            assert {key: getattr(found, key) for key in changes} == changes, name


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("kind", [iq.IQLearn, iq.IQLearnContinuous])
def test_recommended_keeps_all_changes_at_once(kind, mode, cartpole, pendulum, monkeypatch):
    found_to_be(monkeypatch, 0.5)
    demos, env = (cartpole, CARTPOLE) if kind.discrete else (pendulum, PENDULUM)
    changes = {f.name: OTHER[f.name] for f in fields(kind)}
    changes |= {"next_value_gradient": True} if kind.discrete else {}
    assert {f.name for f in fields(kind)} <= OTHER.keys()
    found = iq.recommended(demos, env, mode=mode, quiet=True, **changes)
    assert found == kind(**changes)
    assert found.reason == "mine"
    plain = {f.name: getattr(kind(), f.name) for f in fields(kind)}
    assert iq.recommended(demos, env, mode=mode, quiet=True, **plain) == kind()


def test_output_scale_is_one_with_spectral_normalisation(cartpole):
    ask = partial(iq.recommended, cartpole, mode="online", env=CARTPOLE, quiet=True)
    assert ask().output_scale == pytest.approx(ask().value_bound)
    assert ask(spectral_norm=True).output_scale == 1.0


@pytest.mark.parametrize("steps", [3_000, 9_999, 10_000, 11_000, 100_000])
def test_recommended_settings_pass_the_checks_of_learn(cartpole, pendulum, steps, monkeypatch):
    """In any mode, with or without actions, for easy and hard tasks."""
    for error in (0.01, 0.5):
        found_to_be(monkeypatch, error)
        for demos, env in ((cartpole, CARTPOLE), (pendulum, PENDULUM)):
            for mode in ("online", "offline"):
                for changes in ({}, {"state_only": True}, {"divergence": "tv"}, {"divergence": "w1"}):
                    settings = iq.recommended(demos, env, mode=mode, steps=steps, quiet=True, **changes)
                    acting = iq.Interaction() if mode == "online" else None
                    check(settings, environment_of(demos, None)[0].task, acting, steps)


# Structured observations: dictionaries, tuples and categories, from the environment to the reward.


class Point(gym.Env):
    """A point on a line walks to a goal. `view` is the kind of observation; actions are discrete or one number."""

    def __init__(self, view: str = "dict", discrete: bool = True) -> None:
        self.view, self.discrete = view, discrete
        vector = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = {
            "dict": spaces.Dict({"observation": vector, "desired_goal": spaces.Box(-9.0, 9.0, (1,), np.float64)}),
            "tuple": spaces.Tuple((vector, spaces.Box(0, 255, (2, 2), np.uint8))),
            "discrete": spaces.Discrete(5),
        }[view]
        self.action_space = spaces.Discrete(2) if discrete else spaces.Box(-1.0, 1.0, (1,), np.float32)

    def shown(self):
        vector = np.array([self.at, self.time])
        pixels = np.full((2, 2), 10 * self.time, np.uint8)
        goal = np.array([self.goal])
        cell = int(np.clip(self.at + 2, 0, 4))
        return {"dict": {"observation": vector, "desired_goal": goal}, "tuple": (vector, pixels), "discrete": cell}[
            self.view
        ]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.time, self.goal = 0.0, 0, float(self.np_random.integers(-2, 3))
        return self.shown(), {}

    def step(self, action):
        self.at += float(2 * action - 1) if self.discrete else float(action[0])
        self.time += 1
        return self.shown(), -abs(self.at - self.goal), False, self.time == 6, {}


def recorded(env) -> iq.Demos:
    evaluator = Evaluator(env, lanes=3)
    episodes = evaluator.play(uniform(evaluator.environment.task, 0), 4, 0)
    evaluator.close()
    return iq.Demos.from_arrays(as_arrays(episodes), source="point.npz")


@pytest.mark.parametrize(
    ("view", "discrete", "mode"),
    [
        ("dict", False, "online"),
        ("dict", True, "offline"),
        ("tuple", True, "online"),
        ("tuple", False, "offline"),
        ("discrete", True, "offline"),
    ],
)
def test_structured_observations_work_from_the_environment_to_the_resumed_run(
    view, discrete, mode, tmp_path, snapshots, same_run
):
    env = partial(Point, view, discrete)
    recorded(env).save(tmp_path / "point.npz")
    demos = iq.Demos.load(tmp_path / "point.npz").take(3)
    settings = replace(DISCRETE if discrete else CONTINUOUS, scaling="standard")
    out = tmp_path / "run"
    copies = snapshots(out)
    run = iq.learn(
        settings,
        demos,
        env=env,
        mode=mode,
        interaction=ACTING if mode == "online" else None,
        steps=20 if mode == "online" else 4,
        evaluations=2,
        eval_episodes=2,
        callbacks=[copies],
        out=out,
        quiet=True,
    )
    assert run.result["status"] == "completed"
    assert int(run.state.step) > 0
    assert len(run.evaluate(2, env=env)) == 2
    loaded = iq.Run.load(out)
    assert loaded.task == run.task
    np.testing.assert_array_equal(loaded.policy(demos.obs), run.policy(demos.obs))
    np.testing.assert_array_equal(loaded.reward(demos), run.reward(demos))
    assert np.isfinite(run.reward(demos)).all()
    assert run.reward(demos).shape == (len(demos),)
    shown = env().reset(seed=0)[0]
    action, _ = run.policy.predict(shown)
    assert action.shape == (() if discrete else (1,))
    if view == "tuple":
        assert demos.obs["1"].dtype == np.uint8
        if mode == "online":
            assert load(out)["['source'].frames['1']"].dtype == np.uint8, "bytes stay bytes in the replay"
    iq.resume(copies.copies[0], env=env, quiet=True)
    same_run(copies.copies[0], out)


def load(path) -> dict[str, np.ndarray]:
    return load_file(path / folder.CHECKPOINT)


# Resume.


def test_resume_finds_demonstrations_by_path_and_selection(cartpole_file, tmp_path, snapshots, same_run):
    path = tmp_path / "demos.npz"
    path.write_bytes(cartpole_file.read_bytes())
    demos = iq.Demos.load(path).take(4, seed=1).subsample(3, seed=2)
    copies = snapshots(tmp_path / "run")
    iq.learn(DISCRETE, demos, out=tmp_path / "run", callbacks=[copies], **SHORT, **TINY)
    iq.resume(copies.copies[0], quiet=True)
    same_run(copies.copies[0], tmp_path / "run")
    path.unlink()
    with pytest.raises(iq.InputError, match=r"0 learns from demonstrations: .*demos\.npz"):
        iq.resume(copies.copies[0], quiet=True)
    iq.Demos.load(cartpole_file).take(3).save(path)
    with pytest.raises(iq.InputError, match=r"expected|trajectories"):
        iq.resume(copies.copies[0], quiet=True)


def test_resume_finds_builtin_demonstrations(tmp_path, snapshots):
    copies = snapshots(tmp_path / "run")
    demos = iq.Demos.builtin("CartPole-v1").take(1, seed=3).subsample(20)
    iq.learn(DISCRETE, demos, out=tmp_path / "run", callbacks=[copies], **SHORT, **TINY)
    assert iq.resume(copies.copies[0], quiet=True).result["status"] == "completed"


def test_resume_of_several_seeds_takes_one_set_of_demonstrations_per_seed(cartpole, tmp_path, snapshots, same_run):
    parts = [cartpole.take(2, seed=seed) for seed in (0, 1)]
    copies = snapshots(tmp_path / "runs")
    iq.learn(DISCRETE, parts, seeds=[4, 7], out=tmp_path / "runs", callbacks=[copies], **SHORT, **TINY)
    stopped = copies.copies[0]
    with pytest.raises(iq.InputError, match=r"is not what .*began with"):
        iq.resume(stopped, parts[::-1], quiet=True)
    with pytest.raises(iq.InputError, match=r"3 demonstrations for the 2 runs in .*expected one set for each"):
        iq.resume(stopped, [*parts, cartpole], quiet=True)
    runs = iq.resume(stopped, parts, quiet=True)
    assert [run.result["status"] for run in runs] == ["completed"] * 2
    for name in ("seed-4", "seed-7"):
        same_run(stopped / name, tmp_path / "runs" / name)


def test_resume_passes_env_kwargs_to_an_environment_function(cartpole, tmp_path, snapshots):
    asked = []

    def make(**options):
        asked.append(options)
        return make_short(**options)

    copies = snapshots(tmp_path / "run")
    shared = {"env_kwargs": {"steps": 7}, "out": tmp_path / "run", "callbacks": [copies], **TINY}
    run = iq.learn(DISCRETE, cartpole, env=make, **shared)
    asked.clear()
    assert len(run.evaluate(1)) == 1, "the run in memory still has the function"
    iq.resume(copies.copies[0], cartpole, env=make, quiet=True)
    run.evaluate(1, env=make)
    assert asked
    assert all(options == {"steps": 7} for options in asked)
    with pytest.raises(iq.InputError, match=r"Pendulum-v1 has .* as the run was trained on"):
        iq.resume(copies.copies[0], cartpole, env="Pendulum-v1", quiet=True)


def test_nonempty_folder_is_rejected_before_preparation(cartpole, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr("iqlearn.api.Learner", lambda *_, **__: pytest.fail("prepared"))
    with pytest.raises(iq.InputError, match="not empty"):
        iq.learn(DISCRETE, cartpole, out=tmp_path, **TINY)
    with pytest.raises(iq.InputError, match="not empty"):
        iq.train_expert("CartPole-v1", out=tmp_path, quiet=True)


# Experts.


def test_expert_trains_on_a_recovered_reward_and_records_its_source(cartpole, tmp_path):
    imitator = iq.learn(DISCRETE, cartpole, out=tmp_path / "imitator", **SHORT, **TINY)
    settings = iq.SoftQLearning(network=SMALL, batch_size=4)
    known = {"env_kwargs": SHORT["env_kwargs"], "interaction": ACTING, **TINY, "steps": 20}
    agent = iq.train_expert("CartPole-v1", settings, reward=tmp_path / "imitator", out=tmp_path / "agent", **known)
    assert agent.origin.reward == str((tmp_path / "imitator").resolve())
    paid = load(tmp_path / "agent")["['source'].reward"]
    assert np.any(paid != 1.0), "CartPole pays 1"
    assert np.all(np.abs(paid) <= 1e3)
    with pytest.raises(iq.InputError, match="holds the reward that --reward names; choose another folder"):
        iq.train_expert(
            "CartPole-v1", settings, reward=tmp_path / "imitator", out=tmp_path / "imitator", overwrite=True
        )
    with pytest.raises(iq.InputError, match=r"No reward at .*expected a run folder"):
        iq.train_expert("CartPole-v1", settings, reward=tmp_path / "none", **known)
    imitator.settings.check(False)
    other = iq.learn(DISCRETE, cartpole, seed=9, **SHORT, **TINY)
    other.save(tmp_path / "imitator", overwrite=True)
    with pytest.raises(iq.InputError, match=r"is not what .*agent began with; expected SHA-256"):
        iq.resume(tmp_path / "agent", quiet=True)


def test_default_expert_matches_the_action_type(monkeypatch):
    for env, kind in (("CartPole-v1", iq.SoftQLearning), ("Pendulum-v1", iq.SAC)):
        with pytest.raises(iq.InputError, match="steps is 5; expected at least"):
            iq.train_expert(env, steps=5, quiet=True)
        assert iq.algorithms.of("expert", kind.discrete) is kind
        with monkeypatch.context() as patch:
            patch.setattr(api, "begin", lambda runs, *_: runs[0])  # the run is not trained
            assert iq.train_expert(env, quiet=True).settings == kind()


def test_public_names_are_importable_from_the_package():
    assert {"learn", "resume", "recommended", "train_expert", "Demos", "IQLearn", "Callback"} <= set(dir(iq))
    assert all(getattr(iq, name) is not None for name in dir(iq))
    for kind in (*ALGORITHMS.values(), *EXTENSIONS.values()):  # a new one is public without a further line
        assert getattr(iq, kind.__name__) is kind
        assert kind.__name__ in dir(iq)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iq.nothing
