"""The reports of tasks of a cluster, without a cluster."""

import subprocess
from types import SimpleNamespace

import pytest

from iqlearn import InputError
from iqlearn.benchmark import cluster, grid, local
from iqlearn.benchmark.cells import Place, Progress
from iqlearn.benchmark.cluster import Given, News
from iqlearn.runs.manifest import CHECKPOINT, MANIFEST, PREVIOUS


@pytest.fixture
def place(tmp_path):
    (cell,) = grid.grid_of({"tasks": [{"env": "CartPole-v1"}], "methods": [{"name": "clone"}]}, "g").cells
    place = Place(cell, tmp_path / cell.name)
    place.folder.mkdir(parents=True)
    return place


@pytest.mark.parametrize("fails", [True, False])
def test_failed_task_is_reported_with_its_own_message_and_not_retried(place, fails):
    """A lost worker is retried instead."""
    exceptions = pytest.importorskip("ray.exceptions", reason="needs the extra ray")
    cause = ModuleNotFoundError("No module named 'iqlearn'")
    task = exceptions.RayTaskError("worked", "Traceback …", cause, "ray", 1, "127.0.0.1").as_instanceof_cause()
    error = task if fails else exceptions.WorkerCrashedError()

    def get(_):
        raise error

    ray = SimpleNamespace(exceptions=exceptions, wait=lambda refs, **_: (refs, []), get=get)
    now = Progress.of([place])
    handle = iter([object()])
    now.running[now.next()] = handle
    now.queued.add(place)
    cluster.hear(now, place, handle, ray)
    assert now.queued == set()
    if fails:
        assert now.failed == {place: "the task failed: ModuleNotFoundError: No module named 'iqlearn'"}
        assert now.waiting == []
    else:
        assert now.waiting == [place]
        assert place.said().startswith("the worker is lost: WorkerCrashedError: The worker died unexpectedly")


def test_folder_of_demonstrations_is_refused_before_the_cluster_is_asked(tmp_path):
    tasks = [{"env": "CartPole-v1", "demos": "recordings"}]
    (cell,) = grid.grid_of({"tasks": tasks, "methods": [{"name": "clone"}]}, "g").cells
    (tmp_path / "recordings").mkdir()
    with pytest.raises(InputError, match=r"recordings is a folder, but --ray sends one file .* iqlearn demos convert"):
        cluster.run([Place(cell, tmp_path / "run")], tmp_path, "auto", 1.0, lambda _: None)


def test_first_report_says_that_the_task_has_begun(place):
    ray = SimpleNamespace(wait=lambda refs, **_: (refs, []) if reports else ([], refs), get=lambda ref: ref)
    reports = [News()]
    handle = iter(lambda: reports.pop(), None)
    now = Progress.of([place])
    now.running[now.next()] = handle
    now.queued.add(place)
    ray.exceptions = SimpleNamespace(RayError=OSError)
    cluster.hear(now, place, handle, ray)
    assert now.queued == set()
    assert list(now.running) == [place]


def test_task_returns_changed_files_without_those_that_each_folder_keeps(place, monkeypatch):
    begun = []

    def begin(place, _command, cores):
        place.log.write_bytes(b"done\n")
        begun.append(cores)
        return SimpleNamespace(poll=lambda: 0)

    monkeypatch.setattr(local, "begun", begin)
    monkeypatch.setattr(cluster, "snapshot", lambda _: {CHECKPOINT: b"1", PREVIOUS: b"0", MANIFEST: b"{}"})
    reports = [*cluster.worked(Given(place.cell, {}, 2.0), None)]
    assert reports == [News(), News({CHECKPOINT: b"1"}, b"done\n", 0)]
    assert begun == [2.0]


def test_file_of_demonstrations_is_sent_once(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"demos")
    put, sent = [], {}
    ray = SimpleNamespace(put=lambda content: put.append(content) or len(put))
    assert [cluster.reference(tmp_path / "a.npz", sent, ray) for _ in range(3)] == [1, 1, 1]
    assert put == [b"demos"]
    assert cluster.reference(tmp_path / "b.npz", sent, ray) is None
    assert cluster.reference(None, sent, ray) is None


@pytest.mark.parametrize(("cores", "limited"), [(0.5, True), (1.0, True), (2.0, False)])
def test_process_with_several_cores_may_use_them(place, monkeypatch, cores, limited):
    found = {}
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    monkeypatch.setattr(subprocess, "Popen", lambda _, env, **__: found.update(env))
    local.begun(place, [], cores)
    assert ("multi_thread_eigen=false" in found["XLA_FLAGS"]) == limited
    assert ("OPENBLAS_NUM_THREADS" in found) == limited
