"""Progress messages where no progress bar can be shown."""

from types import SimpleNamespace
from typing import Any

import iqlearn as iq
from iqlearn.training.callbacks import Progress, working


def test_log_gets_a_line_per_evaluation_on_the_error_stream(capsys):
    run = SimpleNamespace(settings=iq.IQLearn(), origin=SimpleNamespace(title="CartPole-v1"), rows=[])
    training: Any = SimpleNamespace(runs=[run], steps=100, done=0, rate=0.0, checkpoints=list)
    progress = Progress()
    progress.on_start(training)
    rounds = [(20, 0.0, 12.5, 0.0), (50, 0.25, 12.5, 1234.5), (100, 0.125, None, 1234.5)]
    for training.done, loss, earned, training.rate in rounds:
        progress.on_round(training)
        run.rows.append({"step": training.done, "loss": loss} | ({} if earned is None else {"return_mean": earned}))
        progress.on_evaluation(training)
    progress.on_end(training)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "iq · CartPole-v1  20 of 100  no update yet  return 12.5",
        "iq · CartPole-v1  50 of 100  loss 0.25  return 12.5  1,234/s",
        "iq · CartPole-v1  100 of 100  loss 0.125  1,234/s",
    ]


def test_quiet_prints_nothing(cartpole, capsys):
    more = {"steps": 2, "evaluations": 1, "eval_episodes": 1, "quiet": True}
    iq.learn(iq.IQLearn(network=iq.Network(hidden=(4,))), cartpole, env="CartPole-v1", **more)
    with working("judging …", quiet=True) as tell:
        tell("still judging …")
    assert capsys.readouterr() == ("", "")


def test_log_gets_the_later_messages_of_working_but_not_the_first(capsys):
    with working("judging …") as tell:
        assert capsys.readouterr() == ("", "")
        tell("fitting a reward …")
    assert capsys.readouterr() == ("", "fitting a reward …\n")
