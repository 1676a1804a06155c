"""Episodes shown in a window, or as a video with the learnt reward and the returns as text under each frame."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from iqlearn import interrupts
from iqlearn.envs.gym import Environment
from iqlearn.envs.spaces import canonical, executed
from iqlearn.envs.worker import Copy, one_line
from iqlearn.errors import EnvironmentFault, InputError, missing
from iqlearn.evaluation.returns import Act
from iqlearn.files import replacing
from iqlearn.types import RewardFunction, Transitions

Say = Callable[[str], object]
STRIP = 34
"""Height of the strip of text under each frame, in pixels."""
GRAPHICS = "install what it draws with (MuJoCo without a screen: set MUJOCO_GL=egl or MUJOCO_GL=osmesa)"
FPS = 30
"""Frames per second if the environment specifies none."""


def video(
    environment: Environment, act: Act, reward: RewardFunction | None, path: Path, episodes: int, seed: int, say: Say
) -> None:
    """Play episodes and write them as MP4 (H.264).

    Args:
        environment: it must render as `rgb_array`.
        act: the policy.
        reward: the learnt reward; None leaves it out.
        path: the file to write.
        episodes: number of episodes.
        seed: reset seed of the first episode.
        say: called with a line of text after each episode.

    Raises:
        InputError: imageio-ffmpeg is not installed, or the environment renders no pictures.
    """
    require()
    import imageio_ffmpeg

    with closing(drawing(environment)) as env, replacing(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        moments = played(env, environment, act, reward, episodes, seed, say)
        frames = (captioned(frame_of(env, environment), str(moment)) for moment in moments)
        first = next(frames)
        height, width = first.shape[:2]
        fps: Any = env.metadata.get("render_fps") or FPS
        output = partial.with_name(partial.name + ".mp4")  # ffmpeg takes the format from the suffix
        writer = imageio_ffmpeg.write_frames(output, (width, height), fps=fps, macro_block_size=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about JAX's threads: ffmpeg is a separate program
            writer.send(None)
        try:
            for frame in chain([first], frames):
                if frame.shape != first.shape:
                    told = f"Environment {environment.name!r} gives pictures of several sizes"
                    raise InputError(f"{told}; expected one size, leave the video out.")
                writer.send(np.ascontiguousarray(frame))
            writer.close()
            output.replace(partial)
        finally:
            writer.close()
            output.unlink(missing_ok=True)


def require() -> None:
    """Raise `InputError` unless imageio-ffmpeg is installed."""
    if find_spec("imageio_ffmpeg") is None:
        raise missing("imageio-ffmpeg, which writes videos,", "video")


def drawing(environment: Environment) -> Any:
    """Return a copy of the environment that renders pictures (`rgb_array`).

    Raises:
        InputError: the environment takes no render mode, or cannot be made.
    """
    try:
        return Environment.of(environment, {"render_mode": "rgb_array"}).make()
    except InputError as error:
        if "unexpected keyword argument 'render_mode'" not in str(error):
            raise
        told = f"Environment {environment.name!r} draws no pictures: it takes no render_mode"
        raise InputError(f"{told}; leave the video out.") from error


def window(environment: Environment, act: Act, episodes: int, seed: int, say: Say) -> None:
    """Play episodes in a window.

    Raises:
        InputError: the environment has no window, or a package that draws it is not installed.
    """
    with closing(Environment.of(environment, {"render_mode": "human"}).make()) as env:
        for _ in played(env, environment, act, None, episodes, seed, say):
            interrupts.check()


class Moment(NamedTuple):
    """The current step of an episode and its returns so far."""

    episode: int
    step: int = 0
    true: float = 0.0
    """True return so far."""
    paid: float | None = None
    """Learnt reward of the last step. None if there is no learnt reward."""
    learnt: float = 0.0
    """Sum of the learnt reward so far."""

    def __str__(self) -> str:
        words = f"episode {self.episode}   step {self.step}   return {self.true:.1f}"
        return words if self.paid is None else f"{words}   learnt reward {self.paid:+.2f}   its sum {self.learnt:+.1f}"


def played(
    env: Any, environment: Environment, act: Act, reward: RewardFunction | None, episodes: int, seed: int, say: Say
) -> Iterator[Moment]:
    """Play episodes one after another, and yield the moment after each reset and step.

    Episode i begins from reset seed `seed` + i.

    Raises:
        EnvironmentFault: the environment failed.
    """
    spec, copy = environment.task.obs, Copy(lambda: env)

    def done(call: str, argument: Any) -> Any:
        try:
            with interrupts.Foreign():
                return copy.do(call, argument)
        except EnvironmentFault as fault:
            raise EnvironmentFault(f"Environment {environment.name!r}, episode {number}: {fault}.") from fault

    for number in range(episodes):
        seen, over = canonical(done("reset", seed + number), spec), False
        now = Moment(number, paid=None if reward is None else 0.0)
        yield now
        while not over:
            action = np.asarray(act(jax.tree.map(lambda x: np.asarray(x)[None], seen)))[0]
            acted = executed(env.action_space, action)
            obs, earned, terminated, truncated = done("step", acted.copy())
            before, seen, over = seen, canonical(obs, spec), bool(terminated or truncated)
            now = now._replace(step=now.step + 1, true=now.true + float(np.asarray(earned).item()))
            if reward is not None:
                row = jax.tree.map(lambda x: np.asarray(x)[None], (before, acted, seen, np.bool_(terminated)))
                paid = float(reward(Transitions(*row))[0])
                now = now._replace(paid=paid, learnt=now.learnt + paid)
            yield now
        learnt = "" if reward is None else f", learnt {now.learnt:.1f}"
        say(f"episode {number}: {now.step} steps, return {now.true:.1f}{learnt}")


def frame_of(env: Any, environment: Environment) -> np.ndarray:
    """Return the picture that the environment renders, uint8 of shape (height, width, 3)."""
    shown: Any = np.zeros(0)
    try:
        with interrupts.Foreign(), suppress(NotImplementedError):
            shown = env.render()
    except (Exception, SystemExit) as error:
        told = f"Environment {environment.name!r} cannot draw: {type(error).__name__}: {one_line(error)}"
        raise InputError(f"{told}; expected pictures, {GRAPHICS}, or leave the video out.") from error
    frame = np.asarray(shown[-1] if isinstance(shown, list) and shown else shown)
    if frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < 2 or frame.dtype != np.uint8:
        told = f"Environment {environment.name!r} gives no pictures with render_mode rgb_array"
        raise InputError(f"{told}; expected uint8 arrays of (height, width, 3), leave the video out.")
    return frame


def captioned(frame: np.ndarray, words: str) -> np.ndarray:
    """Return a frame with words under it. Its height and width are even, as H.264 requires."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
    picture = Image.new("RGB", (width, height + STRIP), "black")
    picture.paste(Image.fromarray(frame[:height, :width]))
    size = 16
    draw = ImageDraw.Draw(picture)
    while size > 8 and draw.textlength(words, ImageFont.load_default(size)) > width - 12:
        size -= 1
    draw.text((6, height + 8), words, "white", ImageFont.load_default(size))
    return np.asarray(picture)
