"""Runs stacked into one program, as on a GPU, are the runs alone: what they meet, what they learn, what is kept."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import session
from iqlearn.acting import Online
from iqlearn.beginning import begin, begin_expert
from iqlearn.envs import vector
from iqlearn.learning import continue_runs
from iqlearn.settings import SAC, Imitation, Interaction, Network, Regression, Schedule, SoftQ
from iqlearn.telling import finish
from iqlearn.training import on_device

SMALL = Network(hidden=(8,))
PAIR = Network(hidden=(8,), ensemble=2)
INVERSE = iq.IQLearnContinuous(
    network=PAIR, actor=SMALL, batch_size=4, online=Imitation(warm_start=10, cloning=1.0, anchor=1.0)
)
REGRESSED = replace(INVERSE, form="regressed", regression=Regression(steps=20, updates=50))
DISCRETE = iq.IQLearn(network=SMALL, batch_size=4)
ACTING = Interaction(random_steps=10, round_steps=10)
TOGETHER = Schedule(steps=60, evaluations=3, eval_episodes=1)


@pytest.fixture(autouse=True)
def few_random_episodes(monkeypatch):
    monkeypatch.setattr(session, "RANDOM_EPISODES", 1)


@pytest.fixture
def stacked(monkeypatch):
    """Sessions stack their runs, as where there is a GPU."""
    monkeypatch.setattr(session, "workers", lambda: 1)
    monkeypatch.setattr(session.jax, "default_backend", lambda: "gpu")


def begun(settings, demos, env, seeds=(0, 1)):
    return [
        begin(settings, part, replace(TOGETHER, seed=seed), env, interaction=ACTING)
        for seed, part in zip(seeds, demos, strict=True)
    ]


def advanced(runs, data):
    group = Online(runs, data)
    group.compile()
    figures = [group.advance(20) for _ in range(3)][-1]
    group.close()
    return group, figures


def check(runs, data):
    """Advance together and alone; all must agree but for the order of sums."""
    group, figures = advanced(runs, data)
    for i, run in enumerate(runs):
        alone, of_alone = advanced([run], data[i : i + 1])
        (state,), (extra,) = alone.states, alone.extras
        kept = group.extras[i]
        assert group.done == alone.done == int(kept["env_steps"]) == 60
        assert int(group.states[i].step) == int(state.step) > 0
        for a, b in zip(jax.tree.leaves(group.states[i]), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(*map(plain, (a, b)), rtol=1e-3, atol=1e-4)
        for a, b in zip(jax.tree.leaves(kept["replay"]), jax.tree.leaves(extra["replay"]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
        assert figures[i].keys() == of_alone[0].keys()
        np.testing.assert_allclose(list(figures[i].values()), list(of_alone[0].values()), rtol=1e-2, atol=1e-3)


def plain(x):
    return jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x


@pytest.mark.parametrize("settings", [INVERSE, REGRESSED], ids=["inverse", "regressed"])
def test_continuous_actions_and_demonstrations_of_unequal_length(pendulum, settings):
    demos = [pendulum, pendulum.take(1, seed=0).subsample(3, seed=0)]
    check(begun(settings, demos, "Pendulum-v1"), on_device(demos))


def test_discrete_actions_and_episodes_that_end(cartpole):
    demos = [cartpole.take(1, seed=seed) for seed in range(2)]
    check(begun(DISCRETE, demos, "CartPole-v1"), on_device(demos))


@pytest.mark.parametrize(
    ("settings", "env"),
    [
        (SAC(network=PAIR, actor=SMALL, batch_size=4), "Pendulum-v1"),
        (SoftQ(network=SMALL, batch_size=4), "CartPole-v1"),
    ],
)
def test_experts(settings, env):
    runs = [begin_expert(settings, replace(TOGETHER, seed=seed), env, ACTING) for seed in range(2)]
    check(runs, [])


@pytest.mark.usefixtures("stacked")
def test_a_session_evaluates_and_writes_each_run(pendulum, tmp_path):
    demos = [pendulum] * 2
    folders = [tmp_path / str(i) for i in range(2)]
    for folder in folders:
        folder.mkdir()
    runs = continue_runs(begun(INVERSE, demos, "Pendulum-v1"), demos, folders, quiet=True)
    for run, folder in zip(runs, folders, strict=True):
        kept = iq.Run.load(folder)
        assert [row["step"] for row in kept.rows] == [20, 40, 60]
        assert kept.result["status"] == "completed"
        assert kept.result["seeds_together"] == 2
        np.testing.assert_array_equal(kept.policy(pendulum.obs[:3]), run.policy(pendulum.obs[:3]))
    assert np.any(runs[0].policy(pendulum.obs[:3]) != runs[1].policy(pendulum.obs[:3]))


@pytest.mark.usefixtures("stacked")
def test_stopped_together_they_go_on_together(pendulum, tmp_path, stop_at):
    """Interrupted and continued is the whole, bit for bit."""
    demos, kept = [pendulum] * 2, []
    for name in ("whole", "parts"):
        folders = [tmp_path / name / str(i) for i in range(2)]
        for folder in folders:
            folder.mkdir(parents=True)
        runs = begun(REGRESSED, demos, "Pendulum-v1")
        if name == "parts":
            stop_at(2)
            runs = continue_runs(runs, demos, folders, quiet=True)
            assert runs[0].result["status"] == "interrupted"
            runs = [iq.Run.load(folder) for folder in folders]
        continue_runs(runs, demos, folders, quiet=True)
        kept.append([(folder / "checkpoint.safetensors").read_bytes() for folder in folders])
    assert kept[0] == kept[1]


@pytest.mark.parametrize("env", ["Pendulum-v1", "CartPole-v1", None])
def test_one_that_diverges_does_not_take_the_others_along(pendulum, cartpole, tmp_path, env, request, capsys):
    """Online beside each other, online stacked, and offline: the other goes on from where it was."""
    if env == "CartPole-v1":
        request.getfixturevalue("stacked")
    demos, settings = (pendulum, INVERSE) if env == "Pendulum-v1" else (cartpole, DISCRETE)
    acting, folders = None if env is None else ACTING, [tmp_path / str(i) for i in range(2)]
    runs = [begin(settings, demos, replace(TOGETHER, seed=i), env or "CartPole-v1", interaction=acting) for i in (0, 1)]
    bad = jax.tree.map(lambda x: x * np.nan if x.dtype == np.float32 else x, runs[0].state.model)
    for folder in folders:
        folder.mkdir()
    lost, kept = continue_runs(
        [replace(runs[0], state=replace(runs[0].state, model=bad)), runs[1]], [demos] * 2, folders, quiet=True
    )
    assert (lost.result["status"], kept.result["status"]) == ("diverged", "interrupted")
    assert "diverged_between" not in kept.result
    with pytest.raises(iq.InputError, match="not finite between steps"):
        finish([lost, kept], folders)
    assert f"Go on with: iqlearn resume {folders[1]}\n" in capsys.readouterr().out
    assert iq.resume(folders[1], demos, quiet=True).result["status"] == "completed"


def test_runs_that_stand_at_different_steps_are_refused(pendulum, tmp_path):
    folders = []
    for i, steps in enumerate((30, 40)):
        folders.append(tmp_path / str(i))
        length = {"steps": steps, "evaluations": 1, "eval_episodes": 1, "quiet": True}
        iq.learn(INVERSE, pendulum, env="Pendulum-v1", interaction=ACTING, out=folders[-1], **length)
    runs = [iq.Run.load(folder) for folder in folders]
    with pytest.raises(iq.InputError, match=r"stand at steps \[30, 40\]"):
        Online(runs, on_device([pendulum] * 2), folders)


def test_every_run_acts_in_environments_of_its_own(pendulum, monkeypatch):
    made = []
    monkeypatch.setattr(vector.VectorEnv, "close", lambda self: made.append(self))
    advanced(begun(INVERSE, [pendulum] * 2, "Pendulum-v1"), on_device([pendulum] * 2))
    assert len(set(map(id, made))) >= 2
