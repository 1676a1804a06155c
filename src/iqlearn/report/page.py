"""A page in one HTML file: sections of figures, tables, pictures and videos. It opens from disk, without a network.

Jinja2 escapes every text, because names of environments and files may come from others. Plotly draws in the browser.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

from iqlearn.errors import missing
from iqlearn.evaluation.statistics import Interval

COLOURS = ("#3b7dd8", "#d9663d", "#36a167", "#a05fd0", "#c19026", "#1fa3a3", "#d0548a", "#7d6b5d")
"""Colours of lines and points, which can be told apart on a light and on a dark page."""
DASHES = ("solid", "dash", "dot", "dashdot")


def colour(i: int) -> str:
    """Return the colour of item `i`."""
    return COLOURS[i % len(COLOURS)]


def dash(i: int) -> str:
    """Return the dash style of line `i`. Lines of the same colour have different styles."""
    return DASHES[i // len(COLOURS) % len(DASHES)]


def label(name: str) -> str:
    """Return a name that is escaped for Plotly, which interprets tags and %{…} in names."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%{", "&#37;{")


def require() -> None:
    """Raise `InputError` unless jinja2 and plotly are installed."""
    for package in ("jinja2", "plotly"):
        if find_spec(package) is None:
            raise missing(f"{package}, which makes the page,", "report")


Trace = dict[str, Any]
"""A trace of Plotly as plain values."""


@dataclass(frozen=True)
class Figure:
    """A plot, drawn by Plotly in the browser, with values on hover."""

    title: str
    traces: list[Trace]
    layout: dict[str, Any]
    """Plotly's layout as plain values. The page sets the colours."""
    wide: bool = False
    """Whether it is as wide as the page."""
    small: bool = False
    """Whether it is lower than other figures."""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Table:
    """A table. A click on the name of a column sorts the rows by it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    folded: bool = False
    """Whether it is shown only after a click."""
    kind: ClassVar[str] = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        return [any(sortable(row[i]) for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    title: str
    values: dict[str, Any]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Picture:
    """A PNG picture."""

    title: str
    content: bytes
    note: str = ""
    kind: ClassVar[str] = "picture"

    @property
    def data(self) -> str:
        """The content in Base64, as it is embedded in the page."""
        return base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Film:
    """An MP4 video."""

    title: str
    content: bytes
    note: str = ""
    kind: ClassVar[str] = "film"
    data = Picture.data


@dataclass(frozen=True)
class Words:
    """Paragraphs."""

    lines: Sequence[str]
    kind: ClassVar[str] = "words"


@dataclass(frozen=True)
class Folded:
    """Figures that are shown only after a click."""

    title: str
    items: Sequence[Figure]
    kind: ClassVar[str] = "folded"


Item = Figure | Table | Facts | Picture | Film | Words | Folded


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    """The anchor for links to the section."""
    title: str
    items: Sequence[Item]
    about: str = ""
    """What the section shows, in a sentence or two."""


def page(title: str, subtitle: str, sections: Iterable[Section], made: str) -> str:
    """Return the page as HTML.

    Args:
        title, subtitle: title and subtitle of the page.
        sections: parts of the page. Sections without items are left out.
        made: text of the footer.

    Raises:
        InputError: jinja2 or plotly is not installed.
    """
    require()
    import jinja2
    from plotly.offline import get_plotlyjs

    loader = jinja2.PackageLoader("iqlearn", "report")
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    templates.filters |= {"words": in_words, "sortable": sortable}
    shown = [section for section in sections if section.items]
    library = get_plotlyjs().replace("</script", r"<\/script")
    return templates.get_template("page.html").render(
        title=title, subtitle=subtitle, sections=shown, made=made, library=library
    )


def in_words(value: Any) -> str:
    """Return a value of a table as text: floats with four digits, from 1,000 on without decimals; None and NaN as –."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value + 0.0:.4g}"  # + 0.0: no −0
    if isinstance(value, Interval):
        mean, low, high = (f"{round(x, 2) + 0.0:.2f}" for x in value)
        return mean if math.isnan(value.low) else f"{mean} [{low}, {high}]"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {in_words(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return "; ".join(map(in_words, value)) or "–"
    return str(value)


def sortable(value: Any) -> str:
    """Return the sort key of a value of a table, for an interval its mean; empty if the value is not a number."""
    value = value.mean if isinstance(value, Interval) else value
    known = isinstance(value, int | float) and not math.isnan(value)
    return str(float(value)) if known else ""
