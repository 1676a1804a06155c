"""A report on run folders: one HTML page with their results, curves, episodes, rewards, videos, data and settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iqlearn import __version__, files
from iqlearn.report.gather import Tell, gather
from iqlearn.report.page import page, require
from iqlearn.report.sections import sections

__all__ = ["report"]


def report(
    folders: Sequence[Path],
    out: Path,
    episodes: int = 10,
    seed: int = 0,
    filmed: int = 1,
    cap: int | None = None,
    last: bool = False,
    trust: bool = False,
    tell: Tell = lambda text: None,
) -> list[str]:
    """Write the report on run folders as one HTML file.

    Args:
        folders: run folders, or folders of several seeds.
        out: the file to write.
        episodes: episodes that each policy plays; 0 plays none.
        seed: seed of the episodes, as in `Run.evaluate`.
        filmed: episodes in the video of each folder; 0 makes no video.
        cap: steps after which every episode is truncated; None as in training.
        last: take the policies of the last evaluation instead of the best ones.
        trust: import modules that folders name for their environments, wherever they are.
        tell: function that is called with a line about the progress.

    Returns:
        Remarks: why a part could not be made and is left out, and the text of every warning.

    Raises:
        InputError: a folder holds no run, is damaged, or is given twice; jinja2 or plotly is not installed; or the
            file cannot be written.
    """
    require()
    found = gather(folders, episodes, seed, filmed, cap, last, trust, tell)
    tell("writing the page …")
    names = [shown.name for shown in found]
    tasks = dict.fromkeys(f"{shown.task} · {shown.first.settings.name}" for shown in found)
    content = page(f"Report: {', '.join(names)}", "; ".join(tasks), sections(found), f"Made by iqlearn {__version__}.")
    files.write(out, content.encode())
    return [f"{shown.name}: {remark}" for shown in found for remark in shown.remarks]
