"""The flags of every command. They and their help come from the settings; what is heavy is imported when one runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from iqlearn.settings import SAC, Interaction, Schedule, SoftQ
from iqlearn.settings.presets import Imitator

S = TypeVar("S", bound=Imitator)
E = TypeVar("E", SoftQ, SAC)


@dataclass(frozen=True, kw_only=True)
class Train(Generic[S]):
    """Learn a policy and a reward from demonstrations, and evaluate them.

    Without arguments: CartPole-v1 from one built-in demonstration, every 20th step of it, offline. Of a file's
    demonstrations everything is used unless --trajectories or --subsample say less.

    Which settings there are, and their defaults, depends on the actions, discrete or continuous, of the environment
    that --env names, else of the file, and on --form; add --help behind them to see them. With continuous actions and
    --env, inverse soft-Q learning acts in the environment while it learns; add --offline to learn from the
    demonstrations alone. In all other cases it is offline unless --online is given. Ctrl-C keeps the run;
    `iqlearn resume DIR` goes on with it.
    """

    env: Annotated[str | None, arg(metavar="ID")] = None
    """Gymnasium id to act and to be evaluated in, MODULE:ID where a module of yours registers it. Without it nothing
    is acted in, and the policy is evaluated in the one that the demonstrations name; without either it is not."""
    demos: Annotated[Path | None, arg(metavar="FILE")] = None
    """Demonstrations, an .npz file; by default those that ship for the environment (CartPole-v1)."""
    trajectories: Annotated[int | None, arg(metavar="K")] = None
    """Use this many of its episodes, drawn at random by the seed (default: 1 of CartPole-v1's built-in ones, else
    all)."""
    subsample: Annotated[int | None, arg(metavar="N")] = None
    """Use every N-th transition of each episode, from a start drawn by the seed (default: 20 of CartPole-v1's
    built-in ones, else 1)."""
    algorithm: Literal["iq", "bc"] = "iq"
    """Inverse soft-Q learning, or behavioural cloning as the baseline."""
    offline: bool = False
    """Learn from the demonstrations alone."""
    online: bool = False
    """Learn while acting in the environment."""
    seeds: int = 1
    """Train this many seeds, from --seed up, side by side; each gets a folder seed-S in --out."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Run folder to write (default: a new one under runs/)."""
    overwrite: bool = False
    """Replace a run that is in --out already."""
    schedule: Annotated[Schedule, arg(name="")] = field(default_factory=Schedule)
    interaction: Annotated[Interaction, arg(name="")] = field(default_factory=Interaction)
    """How to act online."""
    learner: Annotated[S, arg(name="")]

    def run(self) -> None:
        from iqlearn import commands

        commands.train(self)


@dataclass(frozen=True, kw_only=True)
class TrainExpert(Generic[E]):
    """Make an expert: learn from the environment's own reward, with soft Q-learning (discrete actions) or soft
    actor-critic (continuous ones). `iqlearn demos collect DIR` records its demonstrations; `iqlearn resume DIR` goes
    on after a stop.
    """

    env: Annotated[str, arg(metavar="ID")]
    """Gymnasium id to act and to be evaluated in."""
    reward: Annotated[Path | None, arg(metavar="REWARD")] = None
    """Learn from a recovered reward instead: of this run folder, or in this file of `iqlearn reward --distil` or
    `--refit`. The environment's own is still what the evaluation reports."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Run folder to write (default: a new one under runs/)."""
    overwrite: bool = False
    """Replace a run that is in --out already."""
    schedule: Annotated[Schedule, arg(name="")] = field(default_factory=Schedule)
    interaction: Annotated[Interaction, arg(name="")] = field(default_factory=Interaction)
    """How to act."""
    learner: Annotated[E, arg(name="")]

    def run(self) -> None:
        from iqlearn import commands

        commands.expert(self)


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run, to the same result as if it had never stopped."""

    dir: Positional[Path]
    """Run folder, or the folder of several seeds, which go on side by side."""

    def run(self) -> None:
        from iqlearn import commands

        commands.resume(self)


@dataclass(frozen=True)
class Evaluate:
    """Play episodes with a run's policy and report the returns."""

    dir: Positional[Path]
    """Run folder."""
    episodes: int = 20
    """Episodes to play."""
    seed: int = 0
    """Reset seed of the first episode; the next ones count up."""
    env: Annotated[str | None, arg(metavar="ID")] = None
    """Gymnasium id, if not the one the run names."""
    sampled: bool = False
    """Play samples of the soft policy instead of its most likely actions (as a run trained with --sampled does)."""
    best: bool = False
    """The policy whose states were closest to the expert's, a choice that needs no reward, instead of the last one."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from iqlearn import commands

        commands.evaluate(self)


@dataclass(frozen=True)
class Reward:
    """Judge transitions with a run's recovered reward, beside the true one where that is known.

    Prints Pearson's and Spearman's correlation by transition and by episode (undiscounted returns), and writes
    reward.json and reward.png: learned against true reward, both along an episode, and maps where states are 2-D.
    """

    dir: Positional[Path]
    """Run folder."""
    demos: Annotated[Path | None, arg(metavar="FILE")] = None
    """Transitions to judge, an .npz file (default, without --rollouts: the demonstrations that ship for the run's
    environment)."""
    rollouts: Annotated[str, arg(metavar="KINDS")] = ""
    """Episodes to play and judge too, of these kinds, with commas between: expert (the run's policy), random, noisy
    (the run's policy, 5 to 75 % of its actions replaced by random ones)."""
    episodes: int = 20
    """Episodes of each kind of rollouts."""
    seed: int = 0
    """Which episodes; none of them was met in training or evaluation."""
    distil: Literal["state", "state-action"] | None = None
    """Also fit a small network to the reward on what was judged, of states or of states and actions, and write it to
    reward-KIND.safetensors (`iqlearn expert --reward` trains on it)."""
    refit: Literal["state", "state-action"] | None = None
    """Judge, in its place, a reward to train on: refitted with the policy fixed, high on the run's demonstrations, low
    on other episodes of a random and of its disturbed policy and in states that nobody met, smooth between. It is
    written to refit-KIND.safetensors (for `iqlearn expert --reward`), the figures to refit-KIND.json and .png."""
    best: bool = False
    """Policy and reward of the step whose states were closest to the expert's, instead of the last one's."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for what is written (default: the run folder)."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from iqlearn import commands

        commands.reward(self)


@dataclass(frozen=True)
class Inspect:
    """Check a file of demonstrations and tell what is in it."""

    file: Positional[Path]
    """An .npz file."""
    env: Annotated[str | None, arg(metavar="ID")] = None
    """Compare with the spaces of this Gymnasium environment too."""
    json: bool = False
    """Print one JSON object."""

    def run(self) -> None:
        from iqlearn import commands

        commands.inspect(self)


@dataclass(frozen=True)
class Collect:
    """Record demonstrations: play a run's policy and write its episodes."""

    dir: Positional[Path]
    """Run folder."""
    out: Path
    """The .npz file to write."""
    episodes: int = 10
    """Episodes to record."""
    seed: int = 0
    """Reset seed of the first episode; the next ones count up."""
    best: bool = False
    """The policy whose states were closest to the expert's instead of the last one."""
    overwrite: bool = False
    """Replace the file if it exists."""

    def run(self) -> None:
        from iqlearn import commands

        commands.collect(self)


@dataclass(frozen=True)
class Demonstrations:
    """Look at demonstrations, or make some."""

    action: OmitSubcommandPrefixes[
        Annotated[Inspect, subcommand("inspect")] | Annotated[Collect, subcommand("collect")]
    ]

    def run(self) -> None:
        self.action.run()
