"""What a run is at: a live line on a terminal, else a line an evaluation."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

Tell = Callable[[str], object]
"""Says on the error stream what is done now."""


def nothing(what: str) -> None:
    """Says nothing."""
    del what


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[Tell]:
    """While something runs that does not tell how far it is: a turning mark beside `what` on a terminal. Gives what
    says more of it, there in the place of `what`, in a log as a line."""
    if quiet:
        yield nothing
    elif sys.stderr.isatty():
        with Console(stderr=True).status(what) as status:
            yield status.update
    else:
        yield partial(print, file=sys.stderr, flush=True)


class Watch:
    """Loss, return and rate on the error stream: a progress bar on a terminal, else (a log, a notebook) a line each
    time; nothing if `quiet`."""

    def __init__(self, title: str, total: int, quiet: bool = False) -> None:
        shown = not quiet and sys.stderr.isatty()
        self._title, self._total, self._logged = title, total, not quiet and not shown
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=not shown,
        )
        self._task = self._progress.add_task(title, total=total, facts="compiling …")

    def __enter__(self) -> "Watch":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def tell(self, done: int, loss: float, mean_return: float | None, rate: float) -> None:
        """`done` updates of the total so far, with the newest figures."""
        earned = "" if mean_return is None else f"return {mean_return:.1f}  "
        facts = f"loss {loss:.3g}  {earned}{rate:,.0f}/s" if rate > 0.0 else f"no update yet  {earned}".rstrip()
        self._progress.update(self._task, completed=done, facts=facts)
        if self._logged:
            print(f"{self._title}  {done} of {self._total}  {facts}", file=sys.stderr, flush=True)
