"""Output in a Jupyter notebook, which stores the output of a cell and shows the error stream as a failure."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 100
"""Characters of a line."""


def running() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


def remark(text: str) -> None:
    """Print on the error stream, or in a notebook on the standard output of the cell."""
    print(text, file=sys.stdout if running() else sys.stderr)


def plain(content: RenderableType) -> str:
    """Return the content as a terminal would show it, as text without colours."""
    console = Console(file=io.StringIO(), width=WIDTH, force_jupyter=False, color_system=None)
    with console.capture() as captured:
        console.print(content)
    return captured.get().rstrip()


class Line:
    """A line in the output of a cell that is replaced in place. A stored notebook keeps its last text."""

    def __init__(self) -> None:
        self._text, self._handle = "", None

    def show(self, text: str) -> None:
        """Replace the line."""
        from IPython.display import DisplayHandle  # pyright: ignore[reportMissingImports]

        if text == self._text:
            return
        content: Any = {"text/plain": text}
        if self._handle is None:
            self._handle = DisplayHandle()
            self._handle.display(content, raw=True)
        else:
            self._handle.update(content, raw=True)
        self._text = text
