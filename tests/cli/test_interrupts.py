"""Ctrl-C: training stops soon, what was evaluated last is kept whole, and nothing is torn down under a live thread."""

import os
import signal
import threading

import pytest

import iqlearn as iq
from iqlearn.cli.output import finish
from iqlearn.evaluation.returns import Evaluator, reset_seed
from iqlearn.training.learner import Learner

SMALL = iq.Network(hidden=(4,))
SETTINGS = iq.IQLearnContinuous(critic=SMALL, actor=SMALL, batch_size=4)


@pytest.fixture(autouse=True)
def heard():
    """Interrupts are heard, also where the tests were started in the background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("seeds", [None, range(2)])
def test_it_stops_within_a_round_and_waits_for_the_environments(pendulum, monkeypatch, seeds):
    """Two interrupts amid 2,000 rounds: few more are played, and none is when the environments are closed."""
    rounds, alive, playing = [], [], []
    act, close = Learner.act, Learner.close

    def interrupting(self, *arguments):
        rounds.append(len(rounds))
        if len(rounds) in (3, 4):
            os.kill(os.getpid(), signal.SIGINT)
        playing.append(threading.current_thread())
        try:
            return act(self, *arguments)
        finally:
            playing.pop()

    def closing(self):
        alive.extend(playing)
        close(self)

    monkeypatch.setattr(Learner, "act", interrupting)
    monkeypatch.setattr(Learner, "close", closing)
    interaction = iq.Interaction(random_steps=10, round_steps=10)
    more = {"steps": 20_000, "evaluations": 1, "seeds": seeds}
    with pytest.warns(RuntimeWarning, match="before its time, after step 0: .* interrupted"):
        found = iq.learn(SETTINGS, pendulum, env="Pendulum-v1", interaction=interaction, **more)
    for run in [found] if seeds is None else found:
        assert run.result["status"] == "interrupted"
        assert run.rows == []
    assert len(rounds) < 200
    assert seeds is None or alive == []


def test_all_of_several_seeds_that_are_stopped_go_on_together(cartpole_file, tmp_path, stop_at, capsys):
    """All are in their folders from the start."""
    demos, out = iq.Demos.load(cartpole_file), tmp_path / "runs"
    stop_at(2)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        stopped = iq.learn(
            iq.IQLearn(network=SMALL, batch_size=4),
            demos,
            steps=4,
            evaluations=2,
            eval_episodes=1,
            seeds=range(2),
            out=out,
            quiet=True,
        )
    folders = [out / f"seed-{i}" for i in range(2)]
    with pytest.raises(SystemExit) as caught:
        finish(stopped, folders)
    assert caught.value.code == 130
    assert f"Go on with: iqlearn resume {out}\n" in capsys.readouterr().out
    resumed = iq.resume(out, quiet=True)
    assert [run.result["status"] for run in resumed] == ["completed"] * 2
    assert [run.result["seeds_together"] for run in resumed] == [2, 2]


def test_an_interrupted_evaluation_leaves_every_seed_as_it_was(cartpole, tmp_path, monkeypatch):
    """Two seeds, stopped in the second evaluation of the second one: result, metrics and model are of the first."""
    play, played = Evaluator.play, []

    def stopping(self, *arguments, **more):
        played.append(arguments)
        if len(played) == 5:  # random policy, two seeds, the first seed again, the second one
            raise KeyboardInterrupt
        return play(self, *arguments, **more)

    settings = iq.IQLearn(network=SMALL, batch_size=4)
    more = {"steps": 40, "evaluations": 2, "eval_episodes": 1, "out": tmp_path / "runs", "quiet": True}
    monkeypatch.setattr(Evaluator, "play", stopping)
    with pytest.warns(RuntimeWarning, match="interrupted"):
        iq.learn(settings, cartpole, env="CartPole-v1", seeds=range(2), **more)
    monkeypatch.setattr(Evaluator, "play", play)
    for seed in range(2):
        run = iq.Run.load(tmp_path / "runs" / f"seed-{seed}")
        assert run.result["status"] == "interrupted"
        assert run.result["updates"] == 20
        assert [row["step"] for row in run.rows] == [20]
        evaluator = Evaluator("CartPole-v1")
        assert evaluator.returns(run.player(), 1, reset_seed("in_training", seed)).tolist() == run.result["returns"]
        evaluator.close()
