"""Policies of Stable-Baselines3 are loaded without unpickling and act as in Stable-Baselines3."""

import base64
import io
import json
import pickle
import zipfile
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from iqlearn import cli
from iqlearn.data.demos import Demos
from iqlearn.envs.gym import Environment
from iqlearn.envs.spaces import canonical
from iqlearn.errors import InputError
from iqlearn.evaluation.returns import Evaluator
from iqlearn.evaluation.sb3 import policy

sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra sb3: pip install -e '.[sb3]'")
import torch  # noqa: E402  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

torch.set_num_threads(1)
ON = {"n_steps": 8, "device": "cpu", "seed": 0}
OFF = {"learning_starts": 4, "buffer_size": 50, "batch_size": 4, "device": "cpu", "seed": 0}


class Reach(gym.Env):
    """Observations of a vector, a category and a channels-last image; actions with unequal bounds."""

    observation_space = spaces.Dict(
        {
            "at": spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "goal": spaces.Discrete(4),
            "seen": spaces.Box(0, 255, (36, 40, 3), np.uint8),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 1.0], np.float32), np.array([0.5, 7.0], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action):
        return self.look(), 0.0, False, False, {}

    def look(self):
        draw = self.np_random
        picture = draw.integers(0, 256, (36, 40, 3), np.uint8)
        return {"at": draw.normal(size=3), "goal": int(draw.integers(4)), "seen": picture}


reach = partial(gym.wrappers.TimeLimit, Reach(), 5)
TRAINED = {
    "ppo": (lambda: sb3.PPO("MlpPolicy", "CartPole-v1", batch_size=8, **ON), "CartPole-v1"),
    "ppo_of_settings": (
        lambda: sb3.PPO(
            "MlpPolicy",
            "Pendulum-v1",
            batch_size=8,
            policy_kwargs={"net_arch": {"pi": [7, 9], "vf": [5]}, "activation_fn": torch.nn.ELU, "log_std_init": 1.0},
            **ON,
        ),
        "Pendulum-v1",
    ),
    "ppo_with_sde": (lambda: sb3.PPO("MlpPolicy", "Pendulum-v1", batch_size=8, use_sde=True, **ON), "Pendulum-v1"),
    "a2c": (lambda: sb3.A2C("MlpPolicy", "CartPole-v1", **ON), "CartPole-v1"),
    "sac": (
        lambda: sb3.SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8, 6]}, **OFF),
        "Pendulum-v1",
    ),
    "td3": (lambda: sb3.TD3("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **OFF), "Pendulum-v1"),
    "ddpg": (lambda: sb3.DDPG("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **OFF), "Pendulum-v1"),
    "dqn": (lambda: sb3.DQN("MlpPolicy", "CartPole-v1", **OFF), "CartPole-v1"),
    "ppo_of_dictionaries": (lambda: sb3.PPO("MultiInputPolicy", reach(), batch_size=8, **ON), reach),
    "sac_of_dictionaries": (lambda: sb3.SAC("MultiInputPolicy", reach(), **OFF), reach),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The zip of a trained model, the model and its environment, by name."""
    folder, made = tmp_path_factory.mktemp("sb3"), {}

    def of(name: str):
        if name not in made:
            model, env = TRAINED[name][0](), Environment.of(TRAINED[name][1])
            model.learn(16)
            model.save(folder / name)
            made[name] = folder / f"{name}.zip", model, env
        return made[name]

    return of


def observations(env: Environment, n: int = 20):
    """Observations of the environment, as its own arrays and as ours."""
    made = env.make()
    made.action_space.seed(0)
    shown = [made.reset(seed=0)[0]]
    while len(shown) < n:
        obs, _, *over, _ = made.step(made.action_space.sample())
        shown.append(made.reset()[0] if any(over) else obs)
    if isinstance(shown[0], dict):
        batch = {key: np.stack([row[key] for row in shown]) for key in shown[0]}
    else:
        batch = np.stack(shown)
    return batch, canonical(batch, env.task.obs)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", TRAINED)
def test_actions_match_those_of_the_sb3_model(saved, name, trust):
    path, model, env = saved(name)
    own, ours = observations(env)
    acted = policy(path, env, trust)(ours)
    np.testing.assert_allclose(acted, model.predict(own, deterministic=True)[0], rtol=0, atol=1e-6)
    if not env.task.discrete:
        assert len(np.unique(acted)) > 1


def test_episodes_match_those_of_the_sb3_model(saved):
    path, model, env = saved("ppo")
    evaluator = Evaluator(env)
    played = evaluator.play(policy(path, env), 3, 5)
    evaluator.close()
    for number, episode in enumerate(played):
        made = env.make()
        seen, over = made.reset(seed=5 + number)[0], False
        for action in episode.act:
            assert not over
            assert model.predict(seen, deterministic=True)[0] == action
            seen, _, *flags, _ = made.step(action)
            over = any(flags)
        assert over


def test_demos_collect_plays_an_sb3_policy_and_writes_its_episodes(saved, tmp_path, capsys, sentence):
    path, model, env = saved("sac")
    words = ("demos", "collect", "--sb3", path, "--env", env.name, "--episodes", 2, "--max-episode-steps", 9)
    cli.main([*map(str, words), "--out", str(tmp_path / "d.npz")])
    assert "names no environment, because an id alone" in capsys.readouterr().err  # the limit is not the id's
    demos = Demos.load(tmp_path / "d.npz")
    assert (demos.episodes, len(demos)) == (2, 18)
    acted = model.predict(demos.obs, deterministic=True)[0]
    np.testing.assert_allclose(demos.act, acted, rtol=0, atol=1e-6)
    assert "expected 2 discrete actions, as CartPole-v1 has them" in sentence(
        "demos", "collect", "--sb3", path, "--env", "CartPole-v1", "--out", tmp_path / "e.npz"
    )
    assert not (tmp_path / "e.npz").exists()


def rewritten(path: Path, target: Path, **members: bytes) -> Path:
    """A copy of a zip with some members replaced; those with empty content are left out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = members.get(name.partition(".")[0], old.read(name))
            if content:
                new.writestr(name, content)
    return target


def described(path: Path, **changes: object) -> bytes:
    """The JSON of a zip with changes."""
    with zipfile.ZipFile(path) as archive:
        return json.dumps(json.loads(archive.read("data")) | changes).encode()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


def test_no_pickle_is_read_without_trust(saved, tmp_path):
    path, model, env = saved("ppo")
    ran = tmp_path / "ran"
    text = described(path)
    content = json.loads(text)
    for value in content.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = base64.b64encode(pickle.dumps(Bomb(ran))).decode()
    armed = rewritten(path, tmp_path / "armed.zip", data=json.dumps(content).encode())
    own, ours = observations(env)
    np.testing.assert_array_equal(policy(armed, env)(ours), model.predict(own, deterministic=True)[0])
    assert not ran.exists()
    with pytest.raises(InputError, match=r"cannot be (unpickled|made)"):
        policy(armed, env, trust=True)
    assert ran.exists()
    ran.unlink()
    weights = io.BytesIO()
    torch.save(Bomb(ran), weights)
    armed = rewritten(path, tmp_path / "weights.zip", policy=weights.getvalue())
    for trust in (False, True):
        with pytest.raises(InputError, match=r"is damaged \(policy\.pth\)"):
            policy(armed, env, trust)
    assert not ran.exists()


class Swish(torch.nn.SiLU):
    """An activation that the library does not have."""


def test_pickled_settings_require_trust(tmp_path):
    env, path = Environment.of("CartPole-v1"), tmp_path / "own.zip"
    model = sb3.PPO("MlpPolicy", "CartPole-v1", batch_size=8, policy_kwargs={"activation_fn": Swish}, **ON)
    model.save(path)
    with pytest.raises(InputError, match=r"the setting activation_fn = .*Swish.*, which is pickled; --trust reads"):
        policy(path, env)
    own, ours = observations(env)
    np.testing.assert_array_equal(policy(path, env, trust=True)(ours), model.predict(own, deterministic=True)[0])


def test_observations_are_normalised_as_in_training(tmp_path):
    env, path, statistics = Environment.of("Pendulum-v1"), tmp_path / "n.zip", tmp_path / "vecnormalize.pkl"
    normalised = VecNormalize(DummyVecEnv([env.make]), clip_obs=0.7)
    model = sb3.PPO("MlpPolicy", normalised, batch_size=8, **ON)
    model.learn(16)
    model.save(path)
    normalised.save(statistics)
    own, ours = observations(env)
    wanted = model.predict(normalised.normalize_obs(own), deterministic=True)[0]
    np.testing.assert_allclose(policy(path, env, True, statistics)(ours), wanted, rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="was trained in a VecNormalize"):
        raw = policy(path, env)(ours)
    assert not np.allclose(raw, wanted)
    with pytest.raises(InputError, match="is a pickle, which can run any code; add --trust"):
        policy(path, env, statistics=statistics)
    with pytest.raises(InputError, match=r"does not load for CartPole-v1: .* expected the one that VecNormalize\.save"):
        policy(saved_cartpole(tmp_path), Environment.of("CartPole-v1"), True, statistics)
    normalised.norm_obs = False
    normalised.save(statistics)
    with pytest.raises(InputError, match="--vecnormalize has no effect"):
        policy(path, env, True, statistics)
    for content, part in ((b"no pickle", "does not load"), (pickle.dumps(3), "does not load")):
        statistics.write_bytes(content)
        with pytest.raises(InputError, match=part):
            policy(path, env, True, statistics)
    statistics.unlink()
    with pytest.raises(InputError, match=r"No file .*vecnormalize\.pkl"):
        policy(path, env, True, statistics)


def saved_cartpole(folder: Path) -> Path:
    sb3.PPO("MlpPolicy", "CartPole-v1", batch_size=8, **ON).save(folder / "cartpole.zip")
    return folder / "cartpole.zip"


class Wider(gym.ObservationWrapper):
    """CartPole with one more number in its observation."""

    def __init__(self):
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float32)

    def observation(self, observation):
        return np.append(observation, np.float32(0.0))


def test_environment_with_other_spaces_is_rejected(saved):
    with pytest.raises(InputError, match=r"with 2 discrete actions; expected actions from \[-2\.\] to \[2\.\], as Pen"):
        policy(saved("ppo")[0], Environment.of("Pendulum-v1"))
    told = r"does not fit .*Wider, .*tensor mlp_extractor\.policy_net\.0\.weight is \(64, 4\); expected \(64, 5\)"
    for trust in (False, True):
        with pytest.raises(InputError, match=told) as caught:
            policy(saved("ppo")[0], Environment.of(Wider), trust)
        assert ("--trust" in str(caught.value)) is not trust


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"policy_kwargs": {"net_arch": [64, 64, 64, 64]}}, "settings of layers for which it holds no weights"),
        ({"policy_kwargs": {"net_arch": [10**9, 10**9]}}, "settings of layers for which it holds no weights"),
        ({"policy_kwargs": {"n_critics": 10**9}}, "settings of layers for which it holds no weights"),
        ({"policy_kwargs": {"net_arch": [64]}}, "does not fit CartPole-v1"),
        ({"policy_kwargs": {"net_arch": "64"}}, "the setting net_arch = 64, which is pickled"),
        ({"policy_kwargs": {"colour": True}}, "cannot be made for CartPole-v1: TypeError: .*colour"),
        ({"policy_class": {"__module__": "os", "__init__": "<function A.__init__ at 0x0>"}}, "a policy of 'os'"),
        ({"policy_class": {"__module__": "sb3_contrib.none.policies", "__init__": "<function A.__init__ at 0"}}, "pip"),
        ({"policy_class": {"__module__": "stable_baselines3.dqn.policies", "__init__": "<function nn.__init__ at 0>"}},
         "cannot be made"),
        ({"policy_kwargs": 3}, "is damaged, or no zip of Stable-Baselines3"),
    ],
)  # fmt: skip
def test_invalid_or_mismatched_settings_are_rejected(saved, tmp_path, changes, part):
    path, _, env = saved("ppo")
    with pytest.raises(InputError, match=part):
        policy(rewritten(path, tmp_path / "x.zip", data=described(path, **changes)), env)


def test_missing_damaged_and_oversized_files_are_rejected(saved, tmp_path):
    path, _, env = saved("ppo")
    whole = path.read_bytes()
    not_finite, repeated, zeros = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"log_std": torch.zeros(1).expand(10**12)}, repeated)
    state = saved("ppo")[1].policy.state_dict()
    torch.save({name: tensor * np.nan for name, tensor in state.items()}, not_finite)
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**28 + 1))
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "short.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.zip").write_text("policy")
    at = whole.index(b"policy.pth") + 200
    (tmp_path / "flipped.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(2**28 + 1))
        archive.writestr("policy.pth", b"")
    rewritten(path, tmp_path / "inner.zip", policy=zeros.getvalue())
    rewritten(path, tmp_path / "repeated.zip", policy=repeated.getvalue())
    rewritten(path, tmp_path / "lacks.zip", policy=b"")
    rewritten(path, tmp_path / "json.zip", data=b"[1")
    rewritten(path, tmp_path / "deep.zip", data=b"[" * 100_000)
    rewritten(path, tmp_path / "nan.zip", policy=not_finite.getvalue())
    rewritten(path, tmp_path / "other.zip", policy=b"weights")
    for name, part in {
        "none.zip": "No file",
        "empty.zip": "is damaged, or no zip",
        "short.zip": "is damaged, or of another kind: it lacks 'data'",
        "text.zip": "is damaged, or no zip",
        "flipped.zip": "is damaged, or no zip",
        "bomb.zip": "unpacks to 0.25 GiB; expected at most",
        "repeated.zip": "unpacks to 3.73e+03 GiB; expected at most",
        "inner.zip": "unpacks to 0.25 GiB; expected at most",
        "lacks.zip": "it lacks 'policy.pth'; expected one that model.save",
        "json.zip": "is damaged, or no zip",
        "deep.zip": "is damaged, or no zip",
        "nan.zip": "holds weights that are not finite",
        "other.zip": "is damaged, or no zip",
    }.items():
        for trust in (False, True):
            with pytest.raises(InputError) as caught:
                policy(tmp_path / name, env, trust)
            assert part in str(caught.value), name
            assert str(caught.value).endswith(".")


def test_a_recurrent_policy_is_refused(tmp_path):
    contrib = pytest.importorskip("sb3_contrib", reason="needs sb3-contrib")
    model = contrib.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", batch_size=8, **ON)
    model.save(tmp_path / "r.zip")
    with pytest.raises(InputError, match="has a recurrent policy; expected one that acts on the observation alone"):
        policy(tmp_path / "r.zip", Environment.of("CartPole-v1"))


def test_sb3_contrib_policies_match_their_original_actions(tmp_path):
    contrib = pytest.importorskip("sb3_contrib", reason="needs sb3-contrib")
    for model, env in (
        (contrib.TQC("MlpPolicy", "Pendulum-v1", **OFF), "Pendulum-v1"),
        (contrib.QRDQN("MlpPolicy", "CartPole-v1", **OFF), "CartPole-v1"),
        (contrib.TRPO("MlpPolicy", "CartPole-v1", batch_size=8, **ON), "CartPole-v1"),
    ):
        model.save(tmp_path / "c.zip")
        own, ours = observations(Environment.of(env))
        acted = policy(tmp_path / "c.zip", Environment.of(env))(ours)
        np.testing.assert_allclose(acted, model.predict(own, deterministic=True)[0], rtol=0, atol=1e-6)
