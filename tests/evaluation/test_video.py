"""Episodes as a video: one frame per observation, each with a caption."""

import json
import sys
from itertools import pairwise
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

import iqlearn as iq
from iqlearn import cli
from iqlearn.envs.gym import Environment
from iqlearn.errors import EnvironmentFault, InputError
from iqlearn.evaluation.returns import Evaluator
from iqlearn.evaluation.video import STRIP, Moment, captioned, played, video

ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="needs the extra video")


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def left(obs):
    return np.zeros(len(obs), int)


def frames(path):
    reader = ffmpeg.read_frames(path)
    about = next(reader)
    width, height = about["size"]
    return about, [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def test_video_has_one_frame_per_observation(tmp_path):
    said = []
    environment = Environment.of("CartPole-v1")
    video(environment, left, None, tmp_path / "v.mp4", 2, 5, said.append)
    evaluator = Evaluator(environment)
    returns = evaluator.returns(left, 2, 5)
    evaluator.close()
    about, seen = frames(tmp_path / "v.mp4")
    assert about["codec"] == "h264"
    assert len(seen) == int(returns.sum()) + 2
    assert seen[0].shape == (400 + STRIP, 600, 3)
    assert said == [f"episode {i}: {n:.0f} steps, return {n:.1f}" for i, n in enumerate(returns)]
    assert seen[0][-STRIP:].max() > 128, "words under the picture"


def test_moments_carry_the_learnt_reward_of_each_transition():
    environment = Environment.of("CartPole-v1")
    given = []

    def reward(batch):
        given.append(batch)
        return np.array([0.5])

    env = environment.make()
    moments = [*played(env, environment, left, reward, 1, 3, lambda _: None)]
    env.close()
    assert moments[0] == Moment(0, paid=0.0)
    assert [m.step for m in moments] == list(range(len(moments)))
    assert moments[-1].learnt == 0.5 * moments[-1].step
    for before, after in pairwise(given):
        np.testing.assert_array_equal(before.next_obs, after.obs)
    assert [bool(batch.terminal[0]) for batch in given] == [False] * (len(given) - 1) + [True]
    assert str(moments[2]) == "episode 0   step 2   return 2.0   learnt reward +0.50   its sum +1.0"


@pytest.mark.parametrize("size", [(31, 57), (400, 600), (64, 64)])
def test_captioned_frames_of_any_size_have_even_sides(size):
    found = captioned(np.full((*size, 3), 200, np.uint8), str(Moment(0, 1234, -1234.5, -0.5, -1234.5)))
    assert found.shape[0] % 2 == found.shape[1] % 2 == 0
    assert (found[: size[0] // 2 * 2] == 200).all()


class Blind(gym.Env):
    """Takes `render_mode` but renders nothing."""

    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, True, {}


def test_environment_that_renders_nothing_is_rejected(tmp_path):
    with pytest.raises(InputError, match="gives no pictures with render_mode rgb_array"):
        video(Environment.of(Blind), lambda obs: obs, None, tmp_path / "v.mp4", 1, 0, print)
    assert list(tmp_path.iterdir()) == []


class Odd(gym.Env):
    """Episodes of three steps; a function of the step draws the frames."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space, action_space = gym.spaces.Box(-1.0, 1.0, (1,)), gym.spaces.Discrete(2)

    def __init__(self, picture, render_mode=None):
        self.picture, self.render_mode = picture, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(1, np.float32), 0.0, self.steps == 3, False, {}

    def render(self):
        return self.picture(self.steps)


def broken(step):
    if step == 2:
        raise SystemExit("no screen")
    return np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (lambda step: np.zeros((4 + 2 * step, 4, 3), np.uint8), "gives pictures of several sizes; expected one size"),
        (lambda step: np.zeros((4, 4, 3), np.float32), "expected uint8 arrays of"),
        (lambda step: np.zeros((1, 1, 3), np.uint8), "expected uint8 arrays of"),
        (broken, r"cannot draw: SystemExit: no screen; expected pictures, .*MUJOCO_GL"),
    ],
)
def test_invalid_frames_are_rejected_and_leave_no_file(picture, told, tmp_path):
    environment = Environment.of(Odd, {"picture": picture})
    with pytest.raises(InputError, match=told):
        video(environment, left, None, tmp_path / "v.mp4", 1, 0, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_environment_without_render_mode_is_rejected(tmp_path):
    environment = Environment.of("iqlearn.envs:iqlearn/GridWorld-v0")
    with pytest.raises(InputError, match=r"GridWorld-v0' draws no pictures: it takes no render_mode; leave the video"):
        video(environment, left, None, tmp_path / "v.mp4", 1, 0, lambda _: None)


def test_environment_failure_while_recording_raises_environment_fault(tmp_path):
    class Failing(Odd):
        def step(self, action):
            raise RuntimeError("motor")

    environment = Environment.of(Failing, {"picture": lambda step: np.zeros((4, 4, 3), np.uint8)})
    environment.__dict__["facts"] = Environment.of(Odd, {"picture": None}).facts
    with pytest.raises(EnvironmentFault, match=r"Failing', episode 0: step raised RuntimeError: motor"):
        video(environment, left, None, tmp_path / "v.mp4", 1, 0, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_evaluate_writes_a_video_and_rejects_invalid_options(cartpole_file, tmp_path, capsys, sentence, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "v.mp4"
    short = ("--steps", "2", "--evaluations", "1", "--network.hidden", "8", "--preset", "paper", "--seeds", "2")
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(run), *short])
    one = run / "seed-0"
    capsys.readouterr()
    cli.main(["evaluate", str(one), "--episodes", "2", "--video", str(out), "--render", "human"])
    said = capsys.readouterr().err
    assert "learnt" in said
    assert f"written: {out}" in said
    returns = iq.Run.load(one).evaluate(2)
    assert len(frames(out)[1]) == int(returns.sum()) + 2
    written = out.read_bytes()
    assert f"{out} exists; choose another file, or add --overwrite" in sentence("evaluate", one, "--video", out)
    assert out.read_bytes() == written
    cli.main(["evaluate", str(one), "--episodes", "1", "--video", str(out), "--overwrite"])
    assert out.read_bytes() != written
    capsys.readouterr()
    assert "--overwrite has no effect without --video" in sentence("evaluate", one, "--overwrite")
    assert "--video shows one run; expected one seed, such as" in sentence(
        "evaluate", run, "--video", tmp_path / "w.mp4"
    )
    monkeypatch.setattr(Evaluator, "play", lambda *_: pytest.fail("something is played before"))
    assert "--render shows one run; expected one seed, such as" in sentence("evaluate", run, "--render", "human")
    assert "w.txt has the suffix '.txt'; expected .mp4" in sentence("evaluate", one, "--video", tmp_path / "w.txt")
    with monkeypatch.context() as lacking:
        lacking.setitem(sys.modules, "imageio_ffmpeg", None)
        told = sentence("evaluate", one, "--video", tmp_path / "w.mp4")
        assert "imageio-ffmpeg, which writes videos, is not installed" in told
    assert "--render is 'ascii'; expected human" in sentence("evaluate", one, "--render", "ascii")
    assert "--video has no effect with --demos" in sentence("evaluate", one, "--demos", cartpole_file, "--video", out)


def test_evaluate_prints_the_returns_if_the_video_fails(cartpole_file, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    short = ("--steps", "2", "--evaluations", "1", "--network.hidden", "8", "--preset", "paper")
    cli.main(["train", "--demos", str(cartpole_file), "--out", str(run), *short])
    capsys.readouterr()
    monkeypatch.setattr(gym.envs.classic_control.CartPoleEnv, "render", lambda self: None)
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", str(run), "--episodes", "2", "--video", str(tmp_path / "v.mp4"), "--json"])
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert json.loads(out)["returns"] == iq.Run.load(run).evaluate(2).tolist()
    assert "gives no pictures" in err
    assert not (tmp_path / "v.mp4").exists()
