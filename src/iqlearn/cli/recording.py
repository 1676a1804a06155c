"""The recording of `iqlearn demos record`: a person or a policy plays, and each episode is added to the file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

import iqlearn as iq
from iqlearn import interrupts
from iqlearn.cli.flags import check_target, env_field, named_env
from iqlearn.data import formats
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError
from iqlearn.evaluation.record import Recorder, key_code, play_by_hand, require_pygame
from iqlearn.evaluation.returns import reset_seed
from iqlearn.files import require_file

EPISODES = 10
"""The default number of episodes that a policy records."""


def recorded(o: Namespace) -> Any:
    """Record demonstrations, write them to --out and return them.

    Raises:
        InputError: flags contradict each other, nothing was recorded, or the file cannot be written.
        KeyboardInterrupt: a signal asked to stop. The episodes so far are written.
    """
    check(o)
    if o.run is None:
        require_pygame()
    run = None if o.run is None else iq.Run.load(o.run, False, o.trust)
    environment = named_env(o) or (None if run is None else run.environment())
    if environment is None:
        raise InputError("--env is missing; expected the environment to record in, or --run.")
    kept: list[Any] = [iq.Demos.load(o.out)] if o.append else []
    for part in kept:
        part.check_task(environment.task, environment.name)
        if part.env not in (None, environment.name):
            raise InputError(
                f"{o.out} is of environment {part.env}; expected {environment.name}, choose another --out."
            )
    named = env_field(environment, o.out)
    before = sum(part.episodes for part in kept)

    def merged() -> Any:
        return iq.Demos.merged([iq.Demos.from_arrays(part.arrays() | named) for part in kept], str(o.out))

    def keep(episode: Any) -> None:
        kept.append(episode)
        with interrupts.finishing():
            merged().save(place)
        told = f"{len(episode)} steps, return {episode.episode_return[0]:g}"
        print(f"episode {before + len(kept) - bool(before)}: {told}", flush=True)

    mode = None if o.hidden else "human" if run else "rgb_array"
    shown = environment if mode is None else Environment.of(environment, {"render_mode": mode})
    keys, idle = keys_of(o, environment.task), idle_of(o, environment.task)
    first = reset_seed("collect", o.seed) + before  # the episodes in the file used the seeds before it
    recorder = Recorder(shown.make(), environment.name, environment.task.obs, first, keep)
    direct = not formats.named(o.out) and Path(o.out).suffix.lower() == ".npz"
    place = Path(o.out) if direct else Path(tempfile.mkdtemp(prefix="iqlearn-record-")) / "demos.npz"
    try:
        if not direct:
            print(f"iqlearn: episodes are kept in {place} until {o.out} is written.", file=sys.stderr)
        if run is None:
            play_by_hand(recorder, keys, idle, o.fps, o.episodes or 0)
        else:
            watch(recorder, run.player(), o.episodes or EPISODES)
    except KeyboardInterrupt as stopped:
        told = f"{o.out} holds what was played." if recorder.episodes else ""
        raise KeyboardInterrupt(told) from stopped
    finally:
        if not direct:
            if place.is_file():
                with interrupts.finishing():
                    merged().save(o.out)
            shutil.rmtree(place.parent)
    if not kept:
        raise InputError("No step was played, so nothing is written.")
    return merged()


def check(o: Namespace) -> None:
    """Check the flags before anything is played.

    Raises:
        InputError: flags contradict each other, or the target cannot be written.
    """
    if o.append and o.overwrite:
        raise InputError("--append and --overwrite are both given; expected one of them.")
    check_target(o, "append", "overwrite")
    require_file(Path(o.out))
    there = not formats.named(o.out) and Path(o.out).exists()
    if there and not (o.append or o.overwrite):
        raise InputError(f"{o.out} exists; choose another --out, or add --append or --overwrite.")
    if o.append and not there:
        raise InputError(f"--append has no effect, because {o.out} is not there; leave it out.")
    for name in ("keys", "idle", "fps") if o.run else ("hidden", "trust"):
        if getattr(o, name) not in (None, False):
            raise InputError(f"--{name} has no effect {'with' if o.run else 'without'} --run; leave it out.")
    for name, least in (("episodes", 1), ("seed", 0), ("fps", 1)):
        if (value := getattr(o, name)) is not None and value < least:
            raise InputError(f"--{name} is {value}; expected a number of at least {least}.")


def watch(recorder: Any, act: Any, episodes: int) -> None:
    """Play this many episodes with a policy, and close the recorder."""
    import jax

    try:
        while recorder.episodes < episodes:
            recorder.reset()
            over = False
            while not over:
                batch = jax.tree.map(lambda x: np.asarray(x)[None], recorder.seen)
                over = any(recorder.step(act(batch)[0])[2:4])
    finally:
        recorder.close()


def keys_of(o: Namespace, task: Any) -> dict[Any, Any]:
    """Return the action of each key, from --keys."""
    found = {}
    for word in o.keys or ():
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise InputError(f"--keys is {word!r}; expected KEY=ACTION.")
        found[key_code(name)] = action_of(text, task, "--keys")
    return found


def idle_of(o: Namespace, task: Any) -> Any:
    """Return the action while no key is pressed: that of --idle, else 0 or zeros."""
    if o.idle is not None:
        return action_of(o.idle, task, "--idle")
    return 0 if task.discrete else np.zeros(task.action_shape, np.float32)


def action_of(text: str, task: Any, flag: str) -> Any:
    """Return the action in a text: a number, or numbers separated by commas."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{flag} has the action {text!r}; expected numbers with commas between.") from error
    if task.discrete:
        if len(values) != 1 or not (values[0].is_integer() and 0 <= values[0] < task.choices):
            raise InputError(f"{flag} has the action {text!r}; expected a number from 0 to {task.choices - 1}.")
        return int(values[0])
    if (len(values),) != task.action_shape:
        raise InputError(f"{flag} has the action {text!r}; expected {task.action_shape[0]} numbers.")
    return np.array(values, np.float32)
