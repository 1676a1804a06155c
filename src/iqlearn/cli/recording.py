"""What `iqlearn demos record` does: a window for a person or a policy, and a file that grows by each episode."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

import iqlearn as iq
from iqlearn.cli.flags import named_env
from iqlearn.data import formats
from iqlearn.envs.gym import Environment
from iqlearn.errors import InputError
from iqlearn.evaluation.record import Recorder, key_code, play_by_hand
from iqlearn.evaluation.returns import reset_seed


def recorded(o: Namespace) -> Any:
    """Record, and give the demonstrations that were written.

    Raises:
        InputError: flags do not go together, nothing was recorded, or the file cannot be written.
    """
    if o.append and o.overwrite:
        raise InputError("--append and --overwrite are both given; expected one of them.")
    by_name = formats.named(o.out)
    if not by_name and Path(o.out).exists() and not (o.append or o.overwrite):
        raise InputError(f"{o.out} exists; choose another --out, or add --append or --overwrite.")
    run = None if o.run is None else iq.Run.load(o.run, False, o.trust)
    environment = named_env(o) or (None if run is None else run.environment())
    if environment is None:
        raise InputError("--env is missing; expected the environment to record in, or --run.")
    for name in ("keys", "idle") if run else ("hidden",):
        if getattr(o, name) not in (None, False):
            raise InputError(f"--{name} has no effect {'with' if run else 'without'} --run; leave it out.")
    kept: list[Any] = [iq.Demos.load(o.out)] if o.append else []
    place = Path(tempfile.mkdtemp(prefix="iqlearn-record-")) / "demos.npz" if by_name else Path(o.out)
    plain = environment.to_dict() == {"id": environment.name, "kwargs": {}}

    def keep(episode: Any) -> None:
        kept.append(episode)
        merged().save(place)
        print(f"episode {len(kept)}: {len(episode)} steps, return {episode.episode_return[0]:g}", flush=True)

    def merged() -> Any:
        return iq.Demos.merged([iq.Demos.from_arrays(part.arrays() | named) for part in kept], str(o.out))

    named = {"env": np.array(environment.name)} if plain else {}
    mode = None if o.hidden else "human" if run else "rgb_array"
    shown = environment if mode is None else Environment.of(environment, {"render_mode": mode})
    recorder = Recorder(shown.make(), environment.task.obs, reset_seed("collect", o.seed), keep)
    if run is None:
        play_by_hand(recorder, keys_of(o, environment.task), idle_of(o, environment.task), o.fps, o.episodes or 0)
    else:
        watch(recorder, run.player(), o.episodes or 10)
    if not kept:
        raise InputError("No step was played, so nothing is written.")
    if by_name:
        merged().save(o.out)
    return merged()


def watch(recorder: Any, act: Any, episodes: int) -> None:
    """Let a policy play so many episodes."""
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
    """The action of each key."""
    found = {}
    for word in o.keys or ():
        name, equals, text = word.partition("=")
        if not (name and equals):
            raise InputError(f"--keys is {word!r}; expected KEY=ACTION.")
        found[key_code(name)] = action_of(text, task, "--keys")
    return found


def idle_of(o: Namespace, task: Any) -> Any:
    """The action while no key is pressed."""
    if o.idle is not None:
        return action_of(o.idle, task, "--idle")
    return 0 if task.discrete else np.zeros(task.action_shape, np.float32)


def action_of(text: str, task: Any, flag: str) -> Any:
    """An action from its words: a number, or numbers with commas between."""
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
