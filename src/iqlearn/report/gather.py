"""The data of a report: run folders, and the episodes that their policies play for the report."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from iqlearn import origins
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.evaluation.plots import Judged
from iqlearn.evaluation.returns import KINDS, Episode, Evaluator, reset_seed
from iqlearn.evaluation.video import video
from iqlearn.files import read_json
from iqlearn.rewards.compare import judge, material
from iqlearn.runs.folder import runs_in
from iqlearn.runs.manifest import CONFIG, content_of
from iqlearn.runs.run import Run

Tell = Callable[[str], object]


@dataclass
class Shown:
    """A run folder, or the folder of several seeds. A part that could not be made is empty; `remarks` has the error."""

    name: str
    folder: Path
    runs: list[Run]
    """One for each seed."""
    config: dict[str, Any] = field(default_factory=dict)
    """The content of the first seed's `config.json`."""
    last: bool = False
    """Whether the policies are those of the last evaluation."""
    demos: Demos | None = None
    """The demonstrations that the first seed learnt from."""
    source: Demos | None = None
    """All demonstrations of the source that `demos` were taken from."""
    episodes: list[list[Episode]] = field(default_factory=list)
    """Episodes that the policy of each seed played."""
    imitation: list[dict[str, Any]] = field(default_factory=list)
    """How well the policy of each seed predicts the expert's actions."""
    reward: dict[str, Any] = field(default_factory=dict)
    """The figures of `rewards.compare.judge` for the first seed."""
    judged: dict[str, Judged] = field(default_factory=dict)
    film: bytes = b""
    """A video of the first seed."""
    remarks: list[str] = field(default_factory=list)

    @property
    def first(self) -> Run:
        """The run of the first seed."""
        return self.runs[0]

    @property
    def task(self) -> str:
        """The name of the environment, else the source of the demonstrations."""
        return self.first.origin.title

    @property
    def unit(self) -> str:
        """The unit of the runs' steps."""
        return "updates" if self.first.interaction is None else "environment steps"


def gather(
    folders: Sequence[Path],
    episodes: int,
    seed: int,
    filmed: int,
    cap: int | None,
    last: bool,
    trust: bool,
    tell: Tell,
) -> list[Shown]:
    """Read run folders, play their policies, and return the data for the report, one `Shown` for each folder.

    Args:
        folders: run folders, or folders of several seeds.
        episodes: episodes that each policy plays; 0 plays none.
        seed: seed of the episodes, as in `Run.evaluate`.
        filmed: episodes in the video of each folder; 0 makes no video.
        cap: steps after which every episode is truncated; None as in training.
        last: take the policies of the last evaluation instead of the best ones.
        trust: import modules that folders name for their environments, wherever they are.
        tell: function that is called with a line about the progress.

    Raises:
        InputError: a folder holds no run, is damaged, or is given twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"{', '.join(map(str, folders))}: a folder is given twice; expected each once.")
    found = []
    for name, folder in zip(names_of(folders), folders, strict=True):
        parts = runs_in(folder)
        runs = [Run.load(part, last, trust) for part in parts]
        config = read_json(parts[0] / CONFIG, content_of(parts[0], CONFIG))
        found.append(Shown(name, folder, runs, config, last))
    for shown in found:
        attempt(shown, partial(recorded, shown))
        plays = shown.first.origin.environment is not None
        if episodes and plays:
            tell(f"{shown.name}: playing episodes …")
            attempt(shown, partial(played, shown, episodes, seed, cap))
        if episodes:
            tell(f"{shown.name}: judging the reward …")
            attempt(shown, partial(rewarded, shown, episodes, seed, cap))
        if filmed and plays:
            tell(f"{shown.name}: making a video …")
            attempt(shown, partial(on_film, shown, filmed, seed, cap))
    return found


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, after as many of its parents as make the names of all folders differ."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({part[-depth:] for part in parts}) < len({*parts}):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def attempt(shown: Shown, act: Callable[[], None]) -> None:
    """Call a function that needs demonstrations, an environment or a package.

    An `InputError`, an `EnvironmentFault` and every `UserWarning` become remarks.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            act()
        except (InputError, EnvironmentFault) as error:
            shown.remarks.append(str(error))
    told = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    shown.remarks = list(dict.fromkeys([*shown.remarks, *told]))


def recorded(shown: Shown) -> None:
    """Read the demonstrations again, and measure how well the policies predict the expert's actions.

    This uses the episodes that a policy did not learn from, or all episodes if there are no others.
    """
    origin = shown.first.origin
    if origin.demos is None:
        return
    shown.source = whole = Demos.find(origin.demos, origin.path, (), origin.max_gib, origin.columns)
    shown.demos = origins.demos_of(shown.first, shown.folder, whole.select(origin.selection))
    for run in shown.runs if whole.act is not None else ():
        held_out = run.held_out(whole)
        part = whole if held_out is None else held_out
        shown.imitation.append({"held_out": held_out is not None, "episodes": part.episodes} | run.imitation(part))


def played(shown: Shown, episodes: int, seed: int, cap: int | None) -> None:
    """Play episodes with the policy of each seed."""
    for run in shown.runs:
        with closing(Evaluator(run.environment().capped(cap), run.schedule.eval_envs)) as evaluator:
            shown.episodes.append(evaluator.play(run.player(), episodes, reset_seed("evaluate", seed)))


def rewarded(shown: Shown, episodes: int, seed: int, cap: int | None) -> None:
    """Evaluate the reward of the first seed on the first `episodes` demonstrations and on rollouts."""
    run = shown.first
    if run.settings.reward(run.model) is None:
        return
    environment: Environment | None = None if run.origin.environment is None else run.environment().capped(cap)
    source = shown.source
    demos = None if source is None or source.act is None else source.take(min(episodes, source.episodes))
    if demos is None and environment is None:
        return
    kinds = () if environment is None else KINDS
    sets = material(environment, run.player(), demos, kinds, episodes, seed, run.schedule.eval_envs)
    shown.reward, shown.judged = judge(environment, run.reward, sets)


def on_film(shown: Shown, episodes: int, seed: int, cap: int | None) -> None:
    """Make a video of episodes of the first seed's policy."""
    run = shown.first
    reward = None if run.settings.reward(run.model) is None else run.reward
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "film.mp4"
        video(
            run.environment().capped(cap),
            run.player(),
            reward,
            path,
            episodes,
            reset_seed("evaluate", seed),
            lambda _: None,
        )
        shown.film = path.read_bytes()
