"""Callbacks: hooks that are called during training and may stop it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from iqlearn.errors import missing, require_positive
from iqlearn.evaluation.diagnostics import misfit
from iqlearn.files import Row
from iqlearn.runs.run import Run
from iqlearn.training import notebook
from iqlearn.training.guard import divergence

DRIFTED = 2.0
"""`GuardReport` prints a message if the occupancy distance of the last policy is more than this many times that of the
best one."""


@runtime_checkable
class Training(Protocol):
    """The part of the `Trainer` that hooks may read."""

    runs: Sequence[Run]
    """The runs as of the last evaluation, one for each seed."""
    done: int
    """Steps done: environment steps online, updates offline."""
    steps: int
    """Total number of steps."""

    @property
    def rate(self) -> float:
        """Updates per second, summed over all runs."""
        ...

    def checkpoints(self) -> Sequence[dict[str, Any]]:
        """Return the current checkpoint of each run, from which it can be resumed."""
        ...


class Callback:
    """Hooks of training. Override the ones you need. A hook that returns True stops training."""

    needs_distance: ClassVar[bool] = False
    """Whether it reads the occupancy distance, which needs demonstrations, an environment and evaluations."""

    def on_start(self, training: Training) -> bool | None:
        """Called before the first step."""

    def on_round(self, training: Training) -> bool | None:
        """Called after each round: acting and updates online, updates offline."""

    def on_evaluation(self, training: Training) -> bool | None:
        """Called after each evaluation: `training.runs[i].rows[-1]` is the new row of metrics."""

    def on_end(self, training: Training) -> bool | None:
        """Called when training has ended, for whatever reason: `training.runs[i].result["status"]` holds it."""


class EachEvaluation(Callback):
    """Calls a function with the trainer after each evaluation. Training stops if the function returns True."""

    def __init__(self, function: Callable[[Training], Any]) -> None:
        self.function = function

    def on_evaluation(self, training: Training) -> bool:
        return bool(self.function(training))


class Progress(Callback):
    """Shows the progress of training: on a terminal a bar with the time left, in a notebook one line that is updated in
    place, elsewhere one line for each evaluation on the error stream."""

    def on_start(self, training: Training) -> None:
        run = training.runs[0]
        self._title, self._live = f"{run.settings.name} · {run.origin.title}", sys.stderr.isatty()
        self._line = notebook.Line() if notebook.running() else None
        self._figures, self._facts = "", "compiling …"
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True, force_jupyter=False),
            disable=not self._live,
        )
        done, facts = training.done, self._facts
        self._task = self._bar.add_task(self._title, total=training.steps, completed=done, facts=facts)
        self._bar.start()
        self._show(training)

    def on_round(self, training: Training) -> None:
        self._show(training)

    def on_evaluation(self, training: Training) -> None:
        row, rate = training.runs[0].rows[-1], training.rate
        earned = "" if row.get("return_mean") is None else f"return {row['return_mean']:.1f}  "
        self._figures = f"loss {row.get('loss') or 0.0:.3g}  {earned}" if rate > 0.0 else f"no update yet  {earned}"
        self._facts = f"{self._figures}{rate:,.0f}/s" if rate > 0.0 else self._figures.rstrip()
        self._show(training)
        if not self._live and self._line is None:
            print(f"{self._title}  {training.done} of {training.steps}  {self._facts}", file=sys.stderr, flush=True)

    def on_end(self, training: Training) -> None:
        self._bar.stop()
        if self._line is not None:  # without the rate, which differs in each execution of the notebook
            self._line.show(f"{self._title}  {training.done} of {training.steps}  {self._figures}".rstrip())

    def _show(self, training: Training) -> None:
        self._bar.update(self._task, completed=training.done, facts=self._facts)
        if self._line is not None:
            self._line.show(notebook.plain(self._bar.get_renderable()))


class RunFolder(Callback):
    """Writes the run folder of each run at every evaluation, with a checkpoint to resume from, and at the end."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def on_evaluation(self, training: Training) -> None:
        for run, folder, checkpoint in zip(training.runs, self.folders, training.checkpoints(), strict=True):
            run.write(folder, checkpoint)

    def on_end(self, training: Training) -> None:
        for run, folder in zip(training.runs, self.folders, strict=True):
            run.conclude(folder)


class GuardReport(Callback):
    """Prints why the guard rolled training back. At the end, prints which runs have critics that diverge, or a last
    policy that is much farther from the expert than the returned one (`DRIFTED`)."""

    def on_evaluation(self, training: Training) -> None:
        for run in training.runs:
            back = run.result.get("guard", [])
            if back and back[-1]["step"] == training.done:
                told = f"{back[-1]['because']}. Training goes back to step {run.result['best_step']}"
                self._tell(run, f"{told}, with smaller learning rates")

    def on_end(self, training: Training) -> None:
        for run in training.runs:
            if run.drift > DRIFTED:
                told = f"the states of the last policy are {run.drift:.1f} times as far from the expert's as after"
                self._tell(run, f"{told} {run.result['best_step']} steps; the run returns the policy of that step")
            if (found := divergence(run.rows[-1], run.target) if run.rows else None) is not None:
                self._tell(run, f"{found}: the critics diverge; lower the learning rate (--learning-rate)")

    def _tell(self, run: Run, what: str) -> None:
        notebook.remark(f"iqlearn: seed {run.schedule.seed}: {what}.")


class EarlyStopping(Callback):
    """Stops training when the occupancy distance has not improved for `patience` evaluations. It reads no reward.

    Args:
        patience: number of evaluations, at least 1. Training stops when no run has improved in its
            last `patience` evaluations.
    """

    needs_distance = True

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        require_positive(self, "patience")

    def on_evaluation(self, training: Training) -> bool:
        return all(self._settled(run.rows) for run in training.runs)

    def _settled(self, rows: Sequence[Row]) -> bool:
        known = [found for row in rows if math.isfinite(found := misfit(row))]
        return len(known) > self.patience and min(known[-self.patience :]) >= min(known[: -self.patience])


class TensorBoard(Callback):
    """Writes every metric to TensorBoard event files, a folder for each seed. Needs the extra `tensorboard`.

    >>> iq.learn(settings, demos, env="Hopper-v5", callbacks=[iq.TensorBoard("runs/tb")])
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise missing("TensorBoard", "tensorboard") from error
        self._open, self._writers = lambda seed: Writer(str(Path(folder) / f"seed-{seed}")), []

    def on_start(self, training: Training) -> None:
        self._writers = [self._open(run.schedule.seed) for run in training.runs]

    def on_evaluation(self, training: Training) -> None:
        for run, writer in zip(training.runs, self._writers, strict=True):
            for name, value in run.rows[-1].items():
                if name != "step" and value is not None:
                    writer.add_scalar(name, float(value), int(run.rows[-1]["step"] or 0))
            writer.flush()

    def on_end(self, training: Training) -> None:
        for writer in self._writers:
            writer.close()


class WandB(Callback):
    """Logs every metric to Weights & Biases, a run for each seed. Needs the extra `wandb`.

    Args:
        options: arguments of `wandb.init`, for instance `project="imitation"` or `mode="offline"`.
    """

    def __init__(self, **options: Any) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("Weights & Biases", "wandb") from error
        self._begin, self._logs = partial(wandb.init, reinit="create_new", **options), []

    def on_start(self, training: Training) -> None:
        self._logs = [
            self._begin(config=run.config(), name=f"{run.origin.title}-seed-{run.schedule.seed}")
            for run in training.runs
        ]

    def on_evaluation(self, training: Training) -> None:
        for run, log in zip(training.runs, self._logs, strict=True):
            log.log({k: v for k, v in run.rows[-1].items() if v is not None}, step=int(run.rows[-1]["step"] or 0))

    def on_end(self, training: Training) -> None:
        for log in self._logs:
            log.finish()


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[Callable[..., object]]:
    """Show progress in a `with` block: on a terminal a bar with the time left, in a notebook one line that is updated
    in place, elsewhere lines on the error stream.

    Args:
        what: the text that a terminal shows first.
        quiet: show nothing.

    Yields:
        A function `tell(text, share=None)` that shows `text` and the share of that work that is done, in [0, 1].
    """
    if quiet:
        yield lambda text, share=None: None
        return
    if notebook.running():
        place = notebook.Line()
        yield lambda text, share=None: place.show(f"{text}: done" if share == 1.0 else f"{text} {share or 0.0:.0%}")
        return
    if not sys.stderr.isatty():
        told: set[str] = set()

        def line(text: str, share: float | None = None) -> None:
            for words in (text, *([f"{text}: done"] if share == 1.0 else [])):
                if words not in told:
                    print(words, file=sys.stderr, flush=True)
                told.add(words)

        yield line
        return
    columns = TextColumn("{task.description}"), BarColumn(bar_width=12), TimeRemainingColumn(compact=True)
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(text: str, share: float | None = None) -> None:
            if text != bar.tasks[0].description:
                bar.reset(task, total=None if share is None else 1.0, description=text)
            bar.update(task, completed=share or 0.0)

        yield show
