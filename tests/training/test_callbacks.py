"""Callbacks: when they are called, how they stop a run, and those that come with the library."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iqlearn as iq
from iqlearn.evaluation.occupancy import ExpertStates
from iqlearn.runs import folder
from iqlearn.training.callbacks import GuardReport, Progress, working

SETTINGS = iq.IQLearn(network=iq.Network((8,)), batch_size=4)
LENGTH = {"steps": 8, "evaluations": 4, "eval_episodes": 1, "quiet": True}
PLAYED = {"env": "CartPole-v1", "env_kwargs": {"max_episode_steps": 10}, **LENGTH}


class Log(iq.Callback):
    """Records every call, with the steps done and the number of rows of the first run."""

    def __init__(self, stop: tuple[str, int] | None = None) -> None:
        self.calls, self.stop = [], stop

    def heard(self, hook: str, training) -> bool:
        self.calls.append((hook, training.done, len(training.runs[0].rows), training.runs[0].result["status"]))
        return (hook, training.done) == self.stop

    def on_start(self, training):
        return self.heard("start", training)

    def on_round(self, training):
        return self.heard("round", training)

    def on_evaluation(self, training):
        return self.heard("evaluation", training)

    def on_end(self, training):
        return self.heard("end", training)


def expected(stops: int, last: str) -> list[tuple[str, int, int, str]]:
    each = [[("round", 2 * i, i - 1, "running"), ("evaluation", 2 * i, i, "running")] for i in range(1, stops + 1)]
    calls = [("start", 0, 0, "running"), *(call for pair in each for call in pair), ("end", 2 * stops, stops, last)]
    return [(hook, done, n, "running" if n == 0 and hook != "end" else status) for hook, done, n, status in calls]


def test_hooks_are_called_in_order(cartpole):
    log = Log()
    iq.learn(SETTINGS, cartpole, callbacks=[log], **PLAYED)
    assert log.calls == expected(4, "completed")


def test_online_training_has_several_rounds_per_evaluation(cartpole):
    log, acting = Log(), iq.Interaction(random_steps=2, round_steps=2)
    iq.learn(SETTINGS, cartpole, callbacks=[log], interaction=acting, **PLAYED | {"evaluations": 2})
    assert [call[:2] for call in log.calls] == [
        ("start", 0),
        *(("round", 2), ("round", 4), ("evaluation", 4)),
        *(("round", 6), ("round", 8), ("evaluation", 8)),
        ("end", 8),
    ]


@pytest.mark.parametrize("hook", ["evaluation", "round"])
def test_stopped_run_resumes_to_the_uninterrupted_run(cartpole, tmp_path, same_run, hook):
    """A requested stop does not warn. Offline, a round ends at an evaluation."""
    log = Log((hook, 4))
    stopped = iq.learn(SETTINGS, cartpole, callbacks=[log], out=tmp_path / "run", **PLAYED)
    assert log.calls == expected(2, "stopped")
    assert stopped.result["status"] == iq.Run.load(tmp_path / "run").result["status"] == "stopped"
    with pytest.raises(iq.InputError, match="go on with iqlearn resume"):
        folder.vacant(tmp_path / "run", overwrite=False)
    after = Log()
    resumed = iq.resume(tmp_path / "run", cartpole, callbacks=[after], quiet=True)
    assert after.calls[0] == ("start", 4, 2, "running")
    assert [call[:2] for call in after.calls[1:]] == [
        *(("round", 6), ("evaluation", 6), ("round", 8), ("evaluation", 8)),
        ("end", 8),
    ]
    assert resumed.result["status"] == "completed"
    iq.learn(SETTINGS, cartpole, out=tmp_path / "whole", **PLAYED)
    same_run(tmp_path / "run", tmp_path / "whole")


def test_run_stopped_at_its_start_can_be_resumed(cartpole, tmp_path):
    log = Log(("start", 0))
    stopped = iq.learn(SETTINGS, cartpole, callbacks=[log], out=tmp_path / "run", **PLAYED)
    assert [call[0] for call in log.calls] == ["start", "end"]
    assert (stopped.rows, stopped.result["status"]) == ([], "stopped")
    assert len(iq.resume(tmp_path / "run", cartpole, quiet=True).rows) == 4


def test_run_stopped_between_evaluations_is_evaluated_and_can_be_resumed(cartpole, tmp_path):
    acting = iq.Interaction(random_steps=2, round_steps=2)
    known = {"interaction": acting, "out": tmp_path / "run", **PLAYED, "evaluations": 2}
    stopped = iq.learn(SETTINGS, cartpole, callbacks=[Log(("round", 6))], **known)
    assert [row["step"] for row in stopped.rows] == [4, 6]
    resumed = iq.resume(tmp_path / "run", cartpole, quiet=True)
    assert resumed.result["status"] == "completed"
    assert [row["step"] for row in resumed.rows] == [4, 6, 8]


def test_a_stop_in_the_last_evaluation_completes_the_run(cartpole):
    run = iq.learn(SETTINGS, cartpole, callbacks=[Log(("evaluation", 8))], **PLAYED)
    assert run.result["status"] == "completed"


def test_function_callback_runs_after_each_evaluation_and_may_stop_the_run(cartpole):
    seen = []

    def watch(training):
        seen.append((training.done, training.steps, [run.rows[-1]["step"] for run in training.runs]))
        return training.done == 6

    runs = iq.learn(SETTINGS, cartpole, callbacks=[watch], seeds=[1, 2], **PLAYED)
    assert seen == [(done, 8, [done, done]) for done in (2, 4, 6)]
    assert [run.result["status"] for run in runs] == ["stopped"] * 2


def test_function_callback_that_returns_a_false_value_does_not_stop_the_run(cartpole):
    run = iq.learn(SETTINGS, cartpole, callbacks=[lambda training: None, lambda training: 0], **PLAYED)
    assert run.result["status"] == "completed"


def test_callbacks_see_a_folder_that_is_up_to_date(cartpole, tmp_path):
    seen = []
    iq.learn(
        SETTINGS,
        cartpole,
        out=tmp_path / "run",
        callbacks=[lambda training: seen.append(len(iq.Run.load(tmp_path / "run").rows))],
        **PLAYED,
    )
    assert seen == [1, 2, 3, 4]


STANDS = {"done": 0, "steps": 1, "rate": 0.0, "checkpoints": list}


def training_of(*distances: list[float | None]) -> SimpleNamespace:
    """A stand-in for a trainer whose runs have these occupancy distances."""
    rows = [[{"step": i, "occupancy_distance": d} for i, d in enumerate(each)] for each in distances]
    runs = [SimpleNamespace(rows=each, distances=[row["occupancy_distance"] for row in each]) for each in rows]
    return SimpleNamespace(runs=runs, **STANDS)


@pytest.mark.parametrize(
    ("distances", "patience", "stops"),
    [
        ([[3.0, 2.0, 1.0]], 1, False),
        ([[3.0, 1.0, 2.0]], 1, True),
        ([[3.0, 1.0, 2.0]], 2, False),
        ([[1.0, 2.0, 3.0]], 2, True),
        ([[1.0, 1.0, 1.0]], 2, True),
        ([[1.0, 2.0, 0.5]], 2, False),
        ([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], 2, False),
        ([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], 2, True),
        ([[]], 1, False),
    ],
)
def test_early_stopping_waits_until_no_distance_has_improved(distances, patience, stops):
    assert iq.EarlyStopping(patience).on_evaluation(training_of(*distances)) == stops


def test_early_stopping_ends_a_run_whose_distance_stops_improving(cartpole, monkeypatch):
    distances = iter([3.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr("iqlearn.evaluation.occupancy.ExpertStates.distance", lambda *_: next(distances))
    run = iq.learn(SETTINGS, cartpole, callbacks=[iq.EarlyStopping(1)], **PLAYED)
    assert [row["occupancy_distance"] for row in run.rows] == [3.0, 1.0, 2.0]
    assert (run.result["status"], run.result["best_step"]) == ("stopped", 4)


def test_on_end_is_called_after_an_error(cartpole, tmp_path):
    """The error may be one of the environment or of another callback. The run folder records the failure."""

    def broken(training) -> None:
        raise RuntimeError(training.done)

    log = Log()
    with pytest.raises(RuntimeError, match="2"):
        iq.learn(SETTINGS, cartpole, callbacks=[log, broken], out=tmp_path / "run", **PLAYED)
    assert [call[0] for call in log.calls][-2:] == ["evaluation", "end"]
    assert log.calls[-1][3] == "failed"
    assert iq.Run.load(tmp_path / "run").result["status"] == "failed"
    assert iq.resume(tmp_path / "run", cartpole, quiet=True).result["status"] == "completed"


def test_early_stopping_without_evaluations_is_refused(cartpole):
    with pytest.raises(iq.InputError, match="EarlyStopping has no effect without an environment"):
        iq.learn(SETTINGS, replace(cartpole, env=None), callbacks=[iq.EarlyStopping(1)], quiet=True)


def test_early_stopping_rejects_zero_patience():
    with pytest.raises(iq.InputError, match="patience is 0"):
        iq.EarlyStopping(0)


def test_guard_report_warns_of_drift_at_the_end(cartpole, monkeypatch, capsys):
    for distances, told in (([3.0, 1.0, 2.5, 2.5], True), ([3.0, 2.0, 2.5, 2.5], False)):
        each = iter(distances)
        monkeypatch.setattr("iqlearn.evaluation.occupancy.ExpertStates.distance", lambda *_, each=each: next(each))
        run = iq.learn(SETTINGS, cartpole, callbacks=[GuardReport()], **PLAYED)
        out, err = capsys.readouterr()
        assert out == ""
        assert (run.drift > 2.0) == told
        if told:
            assert "of the last policy are 2.5 times as far from the expert's as after 4 steps; the run returns" in err
        else:
            assert err == ""


@pytest.mark.slow
def test_guard_report_warns_of_diverging_critics_at_the_end(pendulum, capsys):
    small = iq.Network((8,))
    for rate, told in ((1e3, True), (1e-4, False)):
        settings = iq.IQLearnContinuous(critic=small, actor=small, batch_size=4, learning_rate=rate)
        iq.learn(settings, pendulum, mode="offline", steps=60, evaluations=1, callbacks=[GuardReport()], quiet=True)
        err = capsys.readouterr().err
        assert ("the critics diverge; lower the learning rate (--learning-rate)" in err) == told


def test_progress_logs_one_line_per_evaluation_to_stderr(cartpole, capsys):
    iq.learn(SETTINGS, cartpole, callbacks=[Progress()], **PLAYED)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    for i, line in enumerate(lines, 1):
        title, steps, loss, earned, rate = line.split("  ")
        assert (title, steps) == ("iq · CartPole-v1", f"{2 * i} of 8")
        assert loss.startswith("loss ")
        assert earned.startswith("return ")
        assert float(earned.split()[1]) > 0.0
        assert float(rate.removesuffix("/s").replace(",", "")) > 0.0


def test_progress_log_reports_when_there_was_no_update_yet(cartpole, capsys):
    acting = iq.Interaction(random_steps=4, round_steps=2)
    iq.learn(SETTINGS, cartpole, interaction=acting, callbacks=[Progress()], **PLAYED)
    assert capsys.readouterr().err.splitlines()[0].startswith("iq · CartPole-v1  2 of 8  no update yet  return ")


def test_progress_shows_a_bar_in_a_terminal(cartpole, capsys, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    iq.learn(SETTINGS, cartpole, callbacks=[Progress()], **PLAYED)
    out, err = capsys.readouterr()
    assert out == ""
    assert "iq · CartPole-v1" in err
    assert "8 of 8" not in err


def test_quiet_suppresses_all_output(cartpole, capsys):
    iq.learn(SETTINGS, cartpole, **PLAYED)
    with working("judging …", quiet=True) as tell:
        tell("still judging …")
    assert capsys.readouterr() == ("", "")
    iq.learn(SETTINGS, cartpole, **PLAYED | {"quiet": False})
    assert "8 of 8" in capsys.readouterr().err


def test_working_logs_its_messages_but_not_its_title(capsys):
    with working("judging …") as tell:
        assert capsys.readouterr() == ("", "")
        tell("fitting a reward …")
    assert capsys.readouterr() == ("", "fitting a reward …\n")


def test_tensorboard_gets_every_metric_of_every_seed(cartpole, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    board = iq.TensorBoard(tmp_path / "tb")
    runs = iq.learn(SETTINGS, cartpole, seeds=[3, 4], callbacks=[board], **PLAYED)
    for run in runs:
        found = events.EventAccumulator(str(tmp_path / "tb" / f"seed-{run.schedule.seed}"))
        found.Reload()
        assert set(found.Tags()["tensors"]) == run.rows[0].keys() - {"step"}
        for name in ("return_mean", "loss", "occupancy_distance"):
            points = found.Tensors(name)
            assert [point.step for point in points] == [2, 4, 6, 8]
            values = [float(np.ravel(point.tensor_proto.float_val)[0]) for point in points]
            np.testing.assert_allclose(values, [row[name] for row in run.rows], rtol=1e-6)


def test_tensorboard_server_returns_the_metrics_of_the_run(cartpole, tmp_path):
    """The real server. The values that it serves are those of the rows, in float32."""
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    run = iq.learn(SETTINGS, cartpole, callbacks=[iq.TensorBoard(tmp_path)], **PLAYED)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", tmp_path, "--port", "0", "--host", "127.0.0.1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = next(found[0] for line in server.stderr if (found := re.findall(r"http://[\d.:]+/", line)))
        page = f"{address}data/plugin/scalars/scalars?run=seed-{run.schedule.seed}&tag="
        for name in run.rows[-1].keys() - {"step"}:
            with urllib.request.urlopen(page + name) as answer:
                shown = [(step, value) for _, step, value in json.load(answer)]
            np.testing.assert_allclose(shown, [(row["step"], row[name]) for row in run.rows], rtol=1e-6)
    finally:
        server.terminate()
        server.wait()


def test_weights_and_biases_gets_every_metric_of_every_seed(cartpole, monkeypatch):
    """A stand-in takes the place of the package, so the test needs no extra."""
    logged, begun = [], []

    class Recorded:
        def __init__(self, **options) -> None:
            begun.append(options)

        def log(self, row, step) -> None:
            logged.append((step, row))

        def finish(self) -> None:
            logged.append("finished")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=Recorded))
    runs = iq.learn(SETTINGS, cartpole, seeds=[3, 4], callbacks=[iq.WandB(project="p", mode="offline")], **PLAYED)
    assert [options["name"] for options in begun] == ["CartPole-v1-seed-3", "CartPole-v1-seed-4"]
    assert begun[0]["config"] == runs[0].config()
    assert (begun[0]["project"], begun[0]["mode"], begun[0]["reinit"]) == ("p", "offline", "create_new")
    rows = [row for each in zip(*(run.rows for run in runs), strict=True) for row in each]
    assert [row["step"] for row in rows] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert logged == [*((row["step"], row) for row in rows), "finished", "finished"]


def test_weights_and_biases_writes_the_metrics_of_an_offline_run(cartpole, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = iq.learn(SETTINGS, cartpole, callbacks=[iq.WandB(project="p", mode="offline", dir=str(tmp_path))], **PLAYED)
    kept = list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(kept) == 1
    until = time.monotonic() + 30.0  # another process writes it, after `finish` at times
    while len(shown := history(kept[0])) < len(run.rows) and time.monotonic() < until:
        time.sleep(0.1)
    for row, figures in zip(run.rows, shown, strict=True):
        assert {name: figures[name] for name in row} == row


def history(path) -> list[dict[str, float]]:
    """The logged rows in the file of an offline run: records in blocks of 32 KiB, as in LevelDB logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, part, found = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        room, size, kind = 32_768 - at % 32_768, int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if room < 7:
            at += room
            continue
        part, at = (b"" if kind in (1, 2) else part) + content[at + 7 : at + 7 + size], at + 7 + size
        record = Record.FromString(part) if kind in (1, 4) and at <= len(content) else Record()
        if record.HasField("history"):
            items = record.history.item
            found.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("tensorboard.summary", lambda: iq.TensorBoard("tb"), "tensorboard"),
        ("wandb", lambda: iq.WandB(), "wandb"),
    ],
)
def test_missing_extra_error_says_what_to_install(module, make, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(iq.InputError, match=rf"is not installed; install it with: pip install .*\[{extra}\]"):
        make()


def test_drift_is_relative_to_the_returned_policy_not_to_the_pretrained_one(cartpole):
    """The pretrained policy is closest to the expert, but is returned only if all later ones have drifted."""
    run = iq.learn(SETTINGS, cartpole, **PLAYED)
    distances = {0: 0.001, 2: 0.08, 4: 0.4}
    rows = [{"step": float(step), "occupancy_distance": distance} for step, distance in distances.items()]
    assert replace(run, rows=rows, result={"best_step": 2}).drift == pytest.approx(5.0)
    assert replace(run, rows=rows, result={"best_step": 4}).drift == 1.0
    assert replace(run, rows=rows[:1], result={}).drift == 1.0


def test_callbacks_see_a_new_run_object_with_the_same_settings(cartpole):
    """A new run object after each evaluation."""
    seen = []
    run = iq.learn(SETTINGS, cartpole, callbacks=[lambda training: seen.append(training.runs[0])], **PLAYED)
    assert [len(each.rows) for each in seen] == [1, 2, 3, 4]
    assert all(replace(each, result={}).settings is run.settings for each in seen)


def test_nan_distances_are_ignored_when_choosing_the_best_policy(cartpole, monkeypatch):
    """The first distance is NaN; no other one would compare as smaller."""
    found = iter([float("nan"), 0.5, 0.4, float("nan"), 0.6])
    monkeypatch.setattr(ExpertStates, "distance", lambda *_: next(found))
    settings = iq.BC(network=iq.Network(hidden=(4,)))
    run = iq.learn(settings, cartpole, env="CartPole-v1", steps=5, evaluations=5, eval_episodes=1, quiet=True)
    assert run.distances == [0.5, 0.4, 0.6]
    assert run.result["best_step"] == 3
    assert run.drift == pytest.approx(1.5)


def test_nonfinite_weights_end_the_run_as_diverged(cartpole):
    def spoil(training):
        if training.done == 2:
            group = training.groups[0]
            group.states = jax.tree.map(lambda x: x * jnp.nan if x.dtype == "float32" else x, group.states)

    settings = iq.BC(network=iq.Network(hidden=(4,)))
    more = {"steps": 4, "evaluations": 4, "eval_episodes": 1, "quiet": True, "callbacks": [spoil]}
    with pytest.warns(RuntimeWarning, match="diverged"):
        run = iq.learn(settings, cartpole, **more)
    assert run.result["diverged_between"] == [2, 3]
