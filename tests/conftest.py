"""Runtime shape checks of the whole package during the tests, and shared fixtures."""

import gc
import html
import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# Tests compile hundreds of small programs and run each a few times: with less optimisation they take half the time.
# Set before jax is imported, and for the workers and commands that the tests start. A flag that another version of XLA
# does not know would end the process, so a separate process tries them first. The slow tests, which do train, are run
# with JAX_DISABLE_MOST_OPTIMIZATIONS=0.
FLAGS = ("use_fusion_emitters=false", "parallel_codegen_split_count=1", "multi_thread_eigen=false")
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": " ".join(f"--xla_cpu_{flag}" for flag in FLAGS)}
if not QUICK.keys() & os.environ.keys():
    tried = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(tried, env={**os.environ, **QUICK}, capture_output=True).returncode != 0:
        del QUICK["XLA_FLAGS"]
    os.environ.update(QUICK)
# A shell lets jobs in the background ignore Ctrl-C, and the processes that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a worker a core: more threads only wait for each other

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

# Left out: `errors`, whose small checks are called most often and hold no arrays.
CHECKED = "algorithms api data envs evaluation extensions files networks objectives rewards runs training types"

with install_import_hook([f"iqlearn.{name}" for name in CHECKED.split()], "beartype.beartype"):
    for module in pkgutil.walk_packages(importlib.import_module("iqlearn").__path__, "iqlearn."):
        # Left out: programs, whose flags are read from annotations.
        if module.name != "iqlearn.__main__" and not module.name.startswith("iqlearn.cli"):
            importlib.import_module(module.name)

from iqlearn import cli, files
from iqlearn.data.demos import Demos
from iqlearn.evaluation import plots
from iqlearn.evaluation.returns import Evaluator, as_arrays
from iqlearn.files import read_arrays, read_json
from iqlearn.runs import folder
from iqlearn.training import learner, trainer
from iqlearn.training.callbacks import Callback

EXPERTS = Path(os.environ.get("IQLEARN_DEMOS", Path(__file__).parents[2] / "shared" / "demos"))


@pytest.fixture(scope="session", autouse=True)
def programs_of_all_modules(tmp_path_factory):
    """A persistent compilation cache: modules of this worker load the programs that earlier ones compiled."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("programs")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Clear the caches: a program takes dozens of memory mappings, a process has 65,530, and all tests need more."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def pictures_left_out():
    """Plots of short runs are left out, since they take longer than the training; test_plots.py draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "curves", lambda *_: b"")
        yield


@pytest.fixture(scope="session", autouse=True)
def disk_not_awaited():
    """Tests write thousands of files without flushing them; test_files.py checks that each is flushed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "flush", lambda path: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_beginnings(request):
    """In fast tests the random policy plays one episode, and 50 observations scale the networks of an expert."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("markexpr") == "not slow":
            patch.setattr(trainer, "RANDOM_EPISODES", 1)
            patch.setattr(learner, "RANDOM_OBSERVATIONS", 50)
        yield


@pytest.fixture(scope="session")
def expert_demos():
    """`expert_demos("CartPole-v1")` is the real expert's `Demos` of that task; skips where the files are missing."""

    def load(task: str) -> Demos:
        path = EXPERTS / f"{task}.npz"
        if not path.is_file():
            pytest.skip(f"no expert demonstrations of {task}: set IQLEARN_DEMOS to the folder that holds {path.name}")
        return Demos.load(path)

    return load


@pytest.fixture
def stop_at(monkeypatch):
    """`stop_at(2)`: the second evaluation from now on raises an interrupt, or another error, once.

    Returns a list to which each evaluation appends the steps done.
    """
    evaluate = trainer.Trainer.evaluate

    def stop(number: int, error: type[BaseException] = KeyboardInterrupt) -> list[int]:
        calls: list[int] = []

        def stopped(self: trainer.Trainer) -> None:
            calls.append(self.done)
            if len(calls) == number:
                raise error
            evaluate(self)

        monkeypatch.setattr(trainer.Trainer, "evaluate", stopped)
        return calls

    return stop


@pytest.fixture(scope="session")
def cartpole_arrays() -> dict[str, np.ndarray]:
    """Six short episodes of a random policy in CartPole-v1, in the format of demonstrations."""
    rng = np.random.default_rng(0)
    evaluator = Evaluator("CartPole-v1", lanes=6)
    episodes = evaluator.play(lambda obs: rng.integers(0, 2, len(obs)), episodes=6, seed=0)
    evaluator.close()
    return {**as_arrays(episodes), "env": np.array("CartPole-v1")}


@pytest.fixture(scope="session")
def cartpole(cartpole_arrays) -> Demos:
    return Demos.from_arrays(cartpole_arrays, source="random.npz")


@pytest.fixture(scope="session")
def cartpole_file(cartpole, tmp_path_factory) -> Path:
    """A file of `cartpole`; tests read it only."""
    path = tmp_path_factory.mktemp("demos") / "random.npz"
    cartpole.save(path)
    return path


@pytest.fixture(scope="session")
def pendulum_arrays() -> dict[str, np.ndarray]:
    """Two episodes of a random policy in Pendulum-v1, in the format of demonstrations."""
    rng = np.random.default_rng(0)
    evaluator = Evaluator("Pendulum-v1", lanes=2)
    episodes = evaluator.play(lambda obs: rng.uniform(-2, 2, (len(obs), 1)).astype(np.float32), episodes=2, seed=0)
    evaluator.close()
    return {**as_arrays(episodes), "env": np.array("Pendulum-v1")}


@pytest.fixture(scope="session")
def pendulum(pendulum_arrays) -> Demos:
    return Demos.from_arrays(pendulum_arrays, source="pendulum.npz")


@pytest.fixture(scope="session")
def pendulum_file(pendulum, tmp_path_factory) -> Path:
    """A file of `pendulum`; tests read it only."""
    path = tmp_path_factory.mktemp("demos") / "pendulum.npz"
    pendulum.save(path)
    return path


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=10000"),
)
PROBE = """
<script>
const later = time => new Promise(done => setTimeout(done, time));
const sorted = (table, name) => {  // what stands in a column after one and after two clicks on its name
  const column = [...table.tHead.rows[0].cells].findIndex(c => c.textContent.trim() === name);
  const cells = () => [...table.tBodies[0].rows].map(r => r.cells[column].textContent.trim());
  const button = table.tHead.rows[0].cells[column].querySelector("button");
  return [0, 1].map(() => { button.click(); return cells(); });
};
const hovered = async (place, line, point) => {  // what Plotly shows beside a point
  Plotly.Fx.hover(place, [{curveNumber: line, pointNumber: point}]);
  await later(500);
  const lines = text => [...text.querySelectorAll("tspan.line")].map(line => line.textContent).join(" ");
  return [...place.querySelectorAll(".hoverlayer text")].map(text => lines(text) || text.textContent).join(" ");
};
addEventListener("load", async () => {
  let found;
  try { found = await (async () => {%s})(); } catch (error) { window.faults.push(String(error)); }
  const pre = document.createElement("pre");
  pre.id = "probe";
  pre.textContent = JSON.stringify({found, faults: window.faults});
  document.body.append(pre);
});
</script>"""


@pytest.fixture
def browse(tmp_path):
    """`browse(page, script, "dark")` opens an HTML file in headless Chromium and returns the result of the script.

    The page must cause no error. Skips where there is no browser.
    """
    if BROWSER is None:
        pytest.skip("no browser: needs chromium or google-chrome on the PATH to open a page")

    def look(page: Path, script: str, scheme: str = "light") -> Any:
        faults = "<script>window.faults = []; addEventListener('error', e => window.faults.push(e.message));</script>"
        text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{faults}", 1)
        probed = tmp_path / f"probed-{scheme}.html"
        probed.write_text(text.replace("</body>", PROBE % script + "</body>"), encoding="utf-8")
        setting = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
        command = [BROWSER, *HEADLESS, f"--user-data-dir={tmp_path / scheme}", setting, "--dump-dom", probed.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout
        seen = json.loads(html.unescape(shown.rpartition('<pre id="probe">')[2].partition("</pre>")[0]))
        assert seen["faults"] == []
        return seen["found"]

    return look


LENGTHS, NUMBERS = (5, 3, 7), (2, 3, 9)


@pytest.fixture
def counting_arrays() -> dict[str, np.ndarray]:
    """Three episodes, numbered 2, 3 and 9, of 5, 3 and 7 steps, whose observations are (episode, time).

    The first terminates, the others are truncated. The reward of a step is 100·episode + time.
    """
    ep = np.repeat(NUMBERS, LENGTHS)
    time = np.concatenate([np.arange(n) for n in LENGTHS])
    last = np.cumsum(LENGTHS) - 1
    term, trunc = np.zeros((2, len(ep)), bool)
    term[last[0]], trunc[last[1:]] = True, True
    return {
        "obs": np.stack([ep, time], axis=1).astype(np.float32),
        "act": (time % 3).astype(np.int64),
        "next_obs": np.stack([ep, time + 1], axis=1).astype(np.float32),
        "rew": (100 * ep + time).astype(np.float32),
        "term": term,
        "trunc": trunc,
        "ep": ep.astype(np.int64),
    }


@pytest.fixture
def counting(counting_arrays) -> Demos:
    return Demos.from_arrays(counting_arrays, source="counting.npz")


@pytest.fixture
def told(capsys):
    """`told(*arguments)` runs a command that must fail without a traceback, and returns its error output."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert caught.value.code == 2
        assert out == ""
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def sentence(told):
    """`told`, for an error output of exactly one line."""

    def run(*arguments: object) -> str:
        err = told(*arguments)
        assert err.startswith("iqlearn: ")
        assert err.endswith(".\n")
        assert err.count("\n") == 1
        return err

    return run


class Snapshots(Callback):
    """Copies the run folder at each evaluation, as it would be left if the process ended there."""

    def __init__(self, run: Path, folder: Path) -> None:
        self.run, self.folder, self.copies = run, folder, []

    def on_evaluation(self, training: trainer.Trainer) -> None:
        del training
        self.copies.append(self.folder / str(len(self.copies)))
        shutil.copytree(self.run, self.copies[-1])


@pytest.fixture
def snapshots(tmp_path):
    """`snapshots(out)`: a callback that copies the run folder `out` at each evaluation, to `.copies[i]`."""
    return lambda run: Snapshots(run, tmp_path / "snapshots")


@pytest.fixture(scope="session")
def same_run():
    """`same_run(a, b)`: two run folders hold the same run, bit for bit, except for timings and stacking."""

    def check(a: Path, b: Path) -> None:
        for name in (folder.MODEL, folder.LAST, folder.METRICS, folder.CONFIG):
            assert (a / name).read_bytes() == (b / name).read_bytes(), name
        assert untimed(read_json(a / folder.RESULT)) == untimed(read_json(b / folder.RESULT))
        ours, theirs = (read_arrays(path / folder.CHECKPOINT) for path in (a, b))
        assert ours.arrays.keys() == theirs.arrays.keys()
        for name, array in ours.arrays.items():
            assert array.tobytes() == theirs.arrays[name].tobytes(), name
        known, expected = (of.about | {"result": untimed(of.about["result"])} for of in (ours, theirs))
        assert json.dumps(known) == json.dumps(expected)  # so that NaN equals NaN

    def untimed(result: dict) -> dict:
        return {
            k: v
            for k, v in result.items()
            if not k.startswith("seconds") and k not in ("updates_per_second", "seeds_together")
        }

    return check
