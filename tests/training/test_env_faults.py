"""Environments that fail in training: the checkpoint is kept, or the copy is restarted and counted."""

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

import iqlearn as iq
from iqlearn import cli
from iqlearn.errors import EnvironmentFault
from iqlearn.files import read_json

SETTINGS = iq.IQLearn(network=iq.Network((8,)), batch_size=4)
LENGTH = {"steps": 60, "evaluations": 3, "eval_episodes": 1, "quiet": True}


class Flaky(CartPoleEnv):
    """CartPole that raises in the steps whose numbers, counted over all copies, are in `bad`."""

    steps, bad = 0, ()

    def step(self, action):
        type(self).steps += 1
        if type(self).steps in self.bad:
            raise OSError("the simulator is gone")
        obs, *rest = super().step(action)
        return obs, *rest


@pytest.fixture
def flaky():
    """An id whose environment can be told to fail."""
    Flaky.steps, Flaky.bad = 0, ()
    gym.register("IqlearnFlaky-v0", entry_point=Flaky, max_episode_steps=25)
    yield "IqlearnFlaky-v0"
    del gym.registry["IqlearnFlaky-v0"]


def acting(**how):
    return iq.Interaction(random_steps=10, round_steps=10, **how)


def test_run_with_a_failed_environment_keeps_its_checkpoint_and_can_be_resumed(flaky, cartpole, tmp_path, same_run):
    known = {"env": flaky, "interaction": acting(), "seed": 3, **LENGTH}
    iq.learn(SETTINGS, cartpole, out=tmp_path / "whole", **known)
    Flaky.steps, Flaky.bad = 0, range(Flaky.steps - 20, 10**6)
    with pytest.raises(EnvironmentFault, match=r"Environment 'IqlearnFlaky-v0', copy 0, reset seed \d+.*, step \d+: "):
        iq.learn(SETTINGS, cartpole, out=tmp_path / "run", **known)
    stopped = iq.Run.load(tmp_path / "run")
    assert stopped.result["status"] == "failed"
    assert 1 <= len(stopped.rows) < 3
    Flaky.bad = ()
    assert iq.resume(tmp_path / "run", cartpole, quiet=True).result["status"] == "completed"
    same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("copies", [1, 2])
def test_failed_environment_copies_are_restarted_and_counted(flaky, cartpole, copies):
    kept = []

    def keep(training):
        kept.append(jax.tree.map(np.asarray, training.groups[0].sources.replay))

    Flaky.bad = (27, 38, 51)
    how = acting(env_faults="restart", num_envs=copies)
    run = iq.learn(SETTINGS, cartpole, env=flaky, interaction=how, callbacks=[keep], **LENGTH)
    assert run.result["status"] == "completed"
    assert run.result["env_restarts"] == 3
    assert [int(replay.size) for replay in kept] == [20, 40, 60]
    rows = jax.device_get(jax.tree.map(jax.numpy.asarray, kept[-1]).sample(jax.random.key(0), 500))
    moved = rows.obs[:, 0] + 0.02 * rows.obs[:, 1]  # as CartPole moves the cart: no transition crosses episodes
    np.testing.assert_allclose(rows.next_obs[:, 0], moved, atol=1e-6)


def test_train_reports_an_environment_fault_and_exits_with_3(flaky, cartpole_file, tmp_path, capsys):
    Flaky.bad = range(10, 10**6)
    flags = ("--mode", "online", "--random-steps", "10", "--round-steps", "10", "--steps", "60")
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--env", flaky, "--demos", str(cartpole_file), *flags, "--out", str(tmp_path / "run")])
    told = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 3
    assert "Environment 'IqlearnFlaky-v0', copy 0, reset seed" in told
    assert "OSError: the simulator is gone. Where a run folder is there already, iqlearn resume" in told
    assert read_json(tmp_path / "run" / "result.json")["status"] == "failed"


def test_run_without_evaluations_still_writes_its_folder(flaky, cartpole, tmp_path):
    known = {"env": flaky, "interaction": acting(), "out": tmp_path / "run", "callbacks": []}
    run = iq.learn(SETTINGS, cartpole, **known, **LENGTH | {"evaluations": 0})
    assert Flaky.steps == 60 + 3, "the first look, and acting"
    assert (run.result["status"], run.result["mean_return"], len(run.rows)) == ("completed", None, 10)
    assert iq.Run.load(tmp_path / "run").evaluate(2).shape == (2,)
    with pytest.raises(iq.InputError, match="EarlyStopping has no effect without evaluations"):
        iq.learn(SETTINGS, cartpole, env=flaky, evaluations=0, callbacks=[iq.EarlyStopping()], quiet=True)


@pytest.mark.parametrize(("cap", "length"), [(7, 7), (100, 25)])
def test_episodes_are_truncated_at_max_episode_steps(flaky, cartpole, tmp_path, cap, length):
    up = iq.learn(SETTINGS, cartpole, env=flaky, max_episode_steps=cap, out=tmp_path / "run", **LENGTH)
    loaded = iq.Run.load(tmp_path / "run")
    assert up.environment().time_limit == loaded.environment().time_limit == length
    assert max(up.result["returns"]) <= length
    assert loaded.evaluate(3).max() <= length


def test_evaluation_in_another_environment_keeps_the_time_limit(flaky, cartpole):
    run = iq.learn(SETTINGS, cartpole, env=flaky, max_episode_steps=7, **LENGTH)
    assert run.environment("CartPole-v1").time_limit == 7
    assert run.evaluate(3, env="CartPole-v1").max() <= 7
    assert run.environment(run.environment().capped(9)).time_limit == 9


@pytest.mark.parametrize("every", [1, 20])
def test_returns_under_a_shorter_time_limit_are_not_compared_with_the_expert(every):
    """Expert episodes have 500 steps. Where rewards are costs, a shorter episode of any policy would look better."""
    part = iq.Demos.builtin("CartPole-v1").take(1).subsample(every)
    shown = {"env": "CartPole-v1", "steps": 4, "evaluations": 1, "eval_episodes": 2}
    with pytest.warns(UserWarning, match=r"has \d+ steps, more than the time limit of CartPole-v1, 30; ret"):
        run = iq.learn(SETTINGS, part, max_episode_steps=30, **shown)
    assert run.result["mean_return"] > 0.0
    assert run.result["expert_return"] is run.result["normalised_return"] is None
    assert iq.learn(SETTINGS, part, **shown).result["normalised_return"] is not None


def test_evaluation_opens_eval_envs_environment_copies(cartpole):
    made = []

    class Counted(CartPoleEnv):
        def __init__(self):
            super().__init__()
            made.append(self)

    known = {"env": lambda: gym.wrappers.TimeLimit(Counted(), 9), "quiet": True, "steps": 4, "evaluations": 1}
    iq.learn(SETTINGS, cartpole, eval_envs=1, eval_episodes=4, **known)
    assert len(made) == 1 + 1, "the first look, and one for the random policy and for all episodes"
    made.clear()
    iq.learn(SETTINGS, cartpole, eval_episodes=3, **known)
    assert len(made) == 1 + 1 + 3
