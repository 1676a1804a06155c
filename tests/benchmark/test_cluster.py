"""Cells as tasks of a real Ray cluster on this machine."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from iqlearn import InputError, benchmark
from iqlearn.benchmark import cluster, grid, results

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow
SCRIPTS = Path(sys.executable).parent
LONG = {
    "env": "CartPole-v1",
    "steps": 3_000,
    "evaluations": 60,
    "eval-episodes": 1,
    "algorithm": "iq",
    "preset": "paper",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A cluster of one machine with two cores."""
    scratch = tmp_path_factory.mktemp("ray")
    start = [SCRIPTS / "ray", "start", "--head", "--num-cpus", "2", "--port", "6399", "--include-dashboard=false"]
    begun = subprocess.run(
        [*start, "--temp-dir", tempfile.mkdtemp(prefix="ray")], capture_output=True, text=True, cwd=scratch
    )
    if begun.returncode != 0:
        pytest.skip(f"Ray does not begin on this machine: {begun.stderr}")
    yield "127.0.0.1:6399"
    subprocess.run([SCRIPTS / "ray", "stop", "--force"], check=True, capture_output=True)


def test_killed_worker_is_replaced_and_its_cell_resumes(address, cartpole_file, tmp_path):
    """Demonstrations are sent, results come back during the run, and the process of a task is killed."""
    tasks = [LONG | {"demos": cartpole_file.name}]
    plan = grid.grid_of({"tasks": tasks, "methods": [{"name": "iq"}]}, "g")
    (place,) = benchmark.places(plan.cells, tmp_path / "out")
    killed = []

    def kill(_):
        if not killed and place.status == "running" and len(place.rows) > 1:
            found = subprocess.run(["pgrep", "-f", "ray::worked"], capture_output=True, text=True, check=True)
            for worker in found.stdout.split():
                os.kill(int(worker), signal.SIGKILL)
            killed.append(len(place.rows))

    now = benchmark.run(plan, tmp_path / "out", cartpole_file.parent, 1, kill, address, 1.0)
    assert killed
    assert now.done == [place]
    assert now.tries[place] == 2
    (cell,) = results.evaluated([place], tmp_path / "out")
    assert [row["step"] for row in cell.rows] == [50 * (i + 1) for i in range(60)]
    assert (tmp_path / "out" / "index.html").is_file()


def test_missing_cluster_is_reported_with_the_command_to_start_one(tmp_path):
    found = grid.grid_of({"tasks": [LONG], "methods": [{"name": "iq"}]}, "g")
    with pytest.raises(InputError, match=r"No Ray cluster at '127\.0\.0\.1:9'.*begin one with: ray start --head"):
        cluster.run(benchmark.places(found.cells, tmp_path), None, "127.0.0.1:9", 1.0, lambda now: None)
