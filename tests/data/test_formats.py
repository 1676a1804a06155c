"""One recording in every format gives the same demonstrations. Files are written by the formats' own libraries."""

import io
import json
import shutil
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise

import equinox as eqx
import gymnasium as gym
import jax
import numpy as np
import pytest
from PIL import Image

import iqlearn as iq
from iqlearn.data.demos import Demos
from iqlearn.data.fields import flat
from iqlearn.data.formats.base import NO_LAST, NO_LAST_ENDED, Episode, size_of
from iqlearn.errors import InputError

h5py = pytest.importorskip("h5py", reason="needs the extra hdf5")
pa = pytest.importorskip("pyarrow", reason="needs the extra tables")
minari = pytest.importorskip("minari", reason="needs the extra minari")
datasets = pytest.importorskip("datasets", reason="needs the extra huggingface")
from minari.data_collector import EpisodeBuffer  # noqa: E402
from pyarrow import csv, feather, parquet  # noqa: E402


@pytest.fixture(autouse=True)
def own_minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.fixture(scope="module")
def cartpole():
    return Demos.builtin("CartPole-v1").take(5)


@pytest.fixture(scope="module")
def reaching():
    """Two episodes with continuous actions. One ends, one meets its time limit."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(13, 3)).astype(np.float32)
    n = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11])  # rows 5 and 12 are last observations
    return Demos.from_arrays(
        {
            "obs": obs[n],
            "next_obs": obs[n + 1],
            "act": rng.uniform(-1, 1, (11, 2)).astype(np.float32),
            "term": n == 4,
            "trunc": n == 11,
            "ep": np.repeat([0, 1], [5, 6]),
            "rew": rng.normal(size=11).astype(np.float32),
        }
    )


def episodes_of(demos):
    first = [*np.unique(demos.ep, return_index=True)[1], len(demos)]
    return [slice(a, b) for a, b in pairwise(first)]


def observations(demos, rows):
    return np.concatenate([demos.obs[rows], demos.next_obs[rows][-1:]])


def to_npz(demos, folder):
    demos.save(folder / "demos.npz")
    return folder / "demos.npz", None


def to_minari(demos, _):
    demos.save("minari:test/own-v0")
    return "minari:test/own-v0", None


def to_minari_file(demos, folder):
    demos.save("minari:test/file-v0")
    return folder / "minari" / "test" / "file-v0" / "data" / "main_data.hdf5", None


def to_minari_arrow(demos, folder):
    box = gym.spaces.Box(-1.0, 1.0, demos.act.shape[1:], np.float32)
    buffers = [
        EpisodeBuffer(
            id=i,
            observations=observations(demos, rows),
            actions=demos.act[rows],
            rewards=demos.rew[rows].astype(float),
            terminations=demos.term[rows],
            truncations=demos.trunc[rows],
        )
        for i, rows in enumerate(episodes_of(demos))
    ]
    minari.create_dataset_from_buffers(
        "test/arrow-v0",
        buffers,
        data_format="arrow",
        observation_space=gym.spaces.Box(-np.inf, np.inf, demos.obs.shape[1:], np.float32),
        action_space=gym.spaces.Discrete(2) if demos.discrete else box,
    )
    return folder / "minari" / "test" / "arrow-v0", None


def to_robomimic(demos, folder):
    with h5py.File(folder / "low_dim.hdf5", "w") as file:
        for i, rows in enumerate(episodes_of(demos)):
            group = file.create_group(f"data/demo_{i}")
            group["actions"], group["rewards"], group["dones"] = demos.act[rows], demos.rew[rows], demos.term[rows]
            group["obs/object"], group["next_obs/object"] = demos.obs[rows], demos.next_obs[rows]
            group["obs/other"] = group["next_obs/other"] = np.zeros((len(demos.obs[rows]), 2))
    return folder / "low_dim.hdf5", {"obs": "object"}


def to_d4rl(demos, folder):
    names = {"observations": "obs", "actions": "act", "next_observations": "next_obs", "rewards": "rew"}
    names |= {"terminals": "term", "timeouts": "trunc"}
    with h5py.File(folder / "d4rl.hdf5", "w") as file:
        for name, field in names.items():
            file[name] = getattr(demos, field)
    return folder / "d4rl.hdf5", None


def to_lerobot(demos, folder):
    root = folder / "lerobot"
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    action = demos.act[:, None] if demos.discrete else demos.act
    features = {
        "observation.state": {"dtype": "float32", "shape": [demos.obs.shape[1]]},
        "action": {"dtype": str(action.dtype), "shape": [action.shape[1]]},
        "next.reward": {"dtype": "float32", "shape": [1]},
        "next.done": {"dtype": "bool", "shape": [1]},
        **{name: {"dtype": "int64", "shape": [1]} for name in ("episode_index", "frame_index", "index")},
    }
    (root / "meta" / "info.json").write_text(json.dumps({"codebase_version": "v3.0", "features": features}))
    for i, rows in enumerate(episodes_of(demos)):
        n = len(demos.obs[rows])
        table = pa.table(
            {
                "observation.state": pa.array(list(demos.obs[rows]), pa.list_(pa.float32())),
                "action": pa.array(list(action[rows])),
                "next.reward": demos.rew[rows],
                "next.done": demos.term[rows],
                "episode_index": np.full(n, i),
                "frame_index": np.arange(n),
                "index": np.arange(n),
            }
        )
        parquet.write_table(table, root / "data" / "chunk-000" / f"file-{i:03}.parquet")
    return root, None


def to_huggingface(demos, folder):
    rows = episodes_of(demos)
    data = {
        "obs": [observations(demos, r) for r in rows],
        "acts": [demos.act[r] for r in rows],
        "infos": [["{}"] * len(demos.act[r]) for r in rows],
        "terminal": [bool(demos.term[r].any()) for r in rows],
        "rews": [demos.rew[r] for r in rows],
    }
    datasets.Dataset.from_dict(data).save_to_disk(folder / "trajectories")
    return folder / "trajectories", None


def table_of(demos):
    act = {"u": demos.act} if demos.discrete else {f"u{i}": demos.act[:, i] for i in range(demos.act.shape[1])}
    obs = {f"x{i}": demos.obs[:, i] for i in range(demos.obs.shape[1])}
    after = {f"y{i}": demos.next_obs[:, i] for i in range(demos.obs.shape[1])}
    rest = {"run": np.array([f"run {e}" for e in demos.ep]), "done": demos.term, "limit": demos.trunc, "r": demos.rew}
    columns = {"obs": [*obs], "next_obs": [*after], "act": [*act]}
    columns |= {"ep": "run", "term": "done", "trunc": "limit", "rew": "r"}
    return pa.table(obs | after | act | rest), columns


def to_parquet(demos, folder):
    table, columns = table_of(demos)
    parquet.write_table(table, folder / "table.parquet")
    return folder / "table.parquet", columns


def to_arrow(demos, folder):
    table, columns = table_of(demos)
    feather.write_feather(table, str(folder / "table.arrow"))
    return folder / "table.arrow", columns


def to_arrow_stream(demos, folder):
    table, columns = table_of(demos)
    with pa.OSFile(str(folder / "stream.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return folder / "stream.arrow", columns


def to_csv(demos, folder):
    table, columns = table_of(demos)
    csv.write_csv(table, folder / "table.csv")
    return folder / "table.csv", columns


def to_own_csv(demos, folder):
    demos.save(folder / "own.csv")
    return folder / "own.csv", None


def to_folder(demos, folder):
    (folder / "several").mkdir()
    demos.take(1).save(folder / "several" / "a.npz")
    demos.leave_out(int(demos.ep[0])).save(folder / "several" / "b.parquet")
    return folder / "several", None


WRITERS = [
    to_npz,
    to_minari,
    to_minari_file,
    to_minari_arrow,
    to_robomimic,
    to_d4rl,
    to_lerobot,
    to_huggingface,
    to_parquet,
    to_arrow,
    to_arrow_stream,
    to_csv,
    to_own_csv,
    to_folder,
]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("to_"))
@pytest.mark.parametrize("which", ["cartpole", "reaching"])
def test_every_format_holds_the_same_demonstrations(write, which, request, tmp_path):
    demos = request.getfixturevalue(which)
    source, columns = write(demos, tmp_path)
    read = Demos.load(source, columns=columns)
    if write is to_lerobot:  # holds no last observation
        rows = np.concatenate([np.arange(len(demos))[r][:-1] for r in episodes_of(demos)])
        for field in ("obs", "act", "next_obs", "rew"):
            wanted = getattr(demos, field)[rows]
            np.testing.assert_array_equal(getattr(read, field).reshape(wanted.shape), wanted, field)
        assert len(read.notes) == 2
        return
    for field in (
        "obs",
        "act",
        "next_obs",
        "rew",
        "initial_obs",
        *(() if write is to_robomimic else ("term", "trunc")),
    ):
        assert getattr(read, field).dtype == getattr(demos, field).dtype, field
        np.testing.assert_array_equal(getattr(read, field), getattr(demos, field), field)
    numbers = (np.unique(d.ep, return_inverse=True)[1] for d in (read, demos))
    np.testing.assert_array_equal(*numbers)
    assert read.expert_return == pytest.approx(demos.expert_return)
    assert read.take(1).sha256() == demos.take(1).sha256() or write is to_robomimic


def without_last(demos):
    """The demonstrations without the last transition of each episode, whose s' is in no other row."""
    arrays = demos.arrays()
    kept = np.flatnonzero(np.append(demos.ep[1:] == demos.ep[:-1], False))
    last = np.append(np.diff(demos.ep[kept]) > 0, True)
    rows = {name: arrays[name][kept] for name in ("obs", "act", "next_obs", "ep", "rew")}
    return Demos.from_arrays({**rows, "term": np.zeros(len(kept), bool), "trunc": last})


@pytest.fixture(scope="module")
def cheetah(expert_demos):
    """Two episodes of an expert with continuous actions, which end at their time limit."""
    return replace(expert_demos("HalfCheetah-v5").take(2), env=None)


TRAINING = {"cartpole": (iq.IQLearn(batch_size=32), 20), "cheetah": (iq.IQLearnContinuous(batch_size=16), 5)}


@pytest.fixture(scope="module")
def learnt():
    """`learnt(which, demos)`: the weights after a few updates, offline."""

    def weights(which, demos):
        algorithm, steps = TRAINING[which]
        run = iq.learn(algorithm, replace(demos, env=None), mode="offline", steps=steps, evaluations=1, quiet=True)
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.model) if eqx.is_array(leaf)]

    return cache(weights)


@pytest.mark.parametrize("which", TRAINING)
@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("to_"))
def test_every_format_gives_the_same_training_result(write, which, learnt, request, tmp_path):
    """The demonstrations and the trained weights are the same, bit for bit. LeRobot's format holds no observation after
    the last action, so it is compared with demonstrations without the last transition of each episode."""
    demos = request.getfixturevalue(which)
    source, columns = write(demos, tmp_path)
    read, wanted = Demos.load(source, columns=columns), without_last(demos) if write is to_lerobot else demos
    assert read.sha256() == wanted.sha256()
    assert learnt(which, read) == learnt(which, wanted) != []


def test_a_run_is_resumed_from_a_table_with_its_columns(cartpole, tmp_path):
    source, columns = to_csv(cartpole, tmp_path)
    demos = Demos.load(source, columns=columns).take(2, seed=0)
    run = iq.learn(iq.IQLearn(), demos, steps=20, evaluations=2, quiet=True, out=tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    assert iq.resume(tmp_path / "run", quiet=True).rows == run.rows
    assert iq.Run.load(tmp_path / "run").origin.columns == demos.columns


@pytest.fixture(scope="module")
def camera():
    """Two episodes with dictionary observations: a camera's images, and two measurements in a dictionary."""
    rng = np.random.default_rng(0)
    seen = {
        "image": rng.integers(0, 256, (9, 4, 6, 3)).astype(np.uint8),
        "arm": {"pos": rng.normal(size=(9, 2)).astype(np.float32), "vel": rng.normal(size=(9, 3)).astype(np.float32)},
    }
    n = np.array([0, 1, 2, 4, 5, 6, 7])  # rows 3 and 8 are last observations

    def rows(at):
        return jax.tree.map(lambda x: x[at], seen)

    arrays = {"obs": rows(n), "next_obs": rows(n + 1), "act": rng.integers(0, 3, 7), "rew": rng.normal(size=7)}
    ends = {"term": np.zeros(7, bool), "trunc": (n == 2) | (n == 7), "ep": np.repeat([0, 1], [3, 4])}
    return Demos.from_arrays(arrays | ends)


def to_nested_robomimic(demos, folder):
    with h5py.File(folder / "image.hdf5", "w") as file:
        for i, rows in enumerate(episodes_of(demos)):
            group = file.create_group(f"data/demo_{i}")
            group["actions"], group["rewards"] = demos.act[rows], demos.rew[rows]
            for field in ("obs", "next_obs"):
                for name, array in flat(field, getattr(demos, field)).items():
                    group[name] = array[rows]
    return folder / "image.hdf5", None


def to_nested_huggingface(demos, folder):
    whole = [
        jax.tree.map(lambda s, t, rows=rows: np.concatenate([s[rows], t[rows][-1:]]), demos.obs, demos.next_obs)
        for rows in episodes_of(demos)
    ]
    rows = episodes_of(demos)
    data = {
        "obs": whole,
        "acts": [demos.act[r] for r in rows],
        "terminal": [False] * 2,
        "rews": [demos.rew[r] for r in rows],
    }
    features = datasets.Features(
        {
            "obs": {
                "image": datasets.Array4D((None, 4, 6, 3), "uint8"),
                "arm": {name: datasets.Array2D((None, n), "float32") for name, n in (("pos", 2), ("vel", 3))},
            },
            "acts": datasets.Sequence(datasets.Value("int64")),
            "terminal": datasets.Value("bool"),
            "rews": datasets.Sequence(datasets.Value("float32")),
        }
    )
    datasets.Dataset.from_dict(data, features).save_to_disk(folder / "images")
    return folder / "images", None


NESTED = (to_npz, to_minari, to_minari_file, to_nested_robomimic, to_nested_huggingface)


@pytest.mark.parametrize("write", NESTED)
def test_dictionaries_and_images_load_bit_for_bit(write, camera, tmp_path):
    source, _ = write(camera, tmp_path)
    read = Demos.load(source)
    assert read.obs["image"].dtype == np.uint8
    assert read.sha256() == camera.sha256()


@pytest.mark.parametrize("write", NESTED[1:])
def test_columns_select_dictionary_keys_by_name(write, camera, tmp_path):
    source, _ = write(camera, tmp_path)
    read = Demos.load(source, columns={"obs": ["arm/pos", "image"]})
    assert flat("obs", read.obs).keys() == {"obs/arm/pos", "obs/image"}
    np.testing.assert_array_equal(read.obs["image"], camera.obs["image"])
    np.testing.assert_array_equal(
        Demos.load(source, columns={"obs": "arm/vel"}).next_obs, camera.next_obs["arm"]["vel"]
    )
    assert Demos.load(source, columns={"obs": "arm"}).obs.keys() == {"pos", "vel"}
    for keys, told in (
        ("arm/mass", r"lacks 'arm/mass' \(--columns obs=…\); it has arm/pos, arm/vel, image"),
        (["arm", "arm/pos"], "names 'arm' and 'arm/pos', which lies in it"),
    ):
        with pytest.raises(InputError, match=told):
            Demos.load(source, columns={"obs": keys})


def test_minari_tuple_parts_have_the_same_names_from_id_and_file():
    env = gym.spaces.Tuple((gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Box(0, 9, (3,), np.float32)))
    rng = np.random.default_rng(0)
    seen = tuple(rng.uniform(0, 1, (5, n)).astype(np.float32) for n in (2, 3))
    zeros = np.zeros(4)
    buffer = EpisodeBuffer(
        id=0, observations=seen, actions=np.arange(4) % 2, rewards=zeros, terminations=zeros > 0, truncations=zeros > 0
    )
    dataset = minari.create_dataset_from_buffers(
        "test/tuple-v0", [buffer], observation_space=env, action_space=gym.spaces.Discrete(2)
    )
    read = [Demos.load(source) for source in ("minari:test/tuple-v0", dataset.storage.data_path / "main_data.hdf5")]
    assert read[0].obs.keys() == {"0", "1"}
    np.testing.assert_array_equal(read[0].obs["1"], seen[1][:4])
    assert read[0].sha256() == read[1].sha256()


def test_a_filter_key_of_robomimic_chooses_episodes(cartpole, tmp_path):
    source, columns = to_robomimic(cartpole, tmp_path)
    assert not any("filter key" in note for note in Demos.load(source, columns=columns).notes)
    with h5py.File(source, "a") as file:
        file["mask/train"] = np.array(["demo_3", "demo_0"], "S")
        file["mask/valid"] = np.array(["demo_1", "demo_9"], "S")
    whole = Demos.load(source, columns=columns)
    told = "all episodes are read; filter keys choose some of them, --columns ep=KEY: mask/train (2), mask/valid (2)"
    assert told in whole.notes
    train = Demos.load(source, columns=columns | {"ep": "mask/train"})
    assert not any("filter key" in note for note in train.notes)
    np.testing.assert_array_equal(train.obs, whole.leave_out(1, 2, 4).obs)
    for key, said in (
        ("train", r"has no filter key 'train' \(--columns ep=…\); it has mask/train, mask/valid"),
        ("mask/valid", "names 'demo_9'"),
    ):
        with pytest.raises(InputError, match=said):
            Demos.load(source, columns=columns | {"ep": key})


def test_missing_last_observations_are_reported(reaching, tmp_path):
    """In a table of s alone, the last s' repeats s if the episode terminated; else the last transition is left out."""
    columns = {"obs": reaching.obs, "act": reaching.act, "ep": reaching.ep, "term": reaching.term}
    table = pa.table({name: pa.array(list(v) if v.ndim > 1 else v) for name, v in columns.items()})
    parquet.write_table(table, tmp_path / "own.parquet")
    read = Demos.load(tmp_path / "own.parquet")
    assert len(read) == len(reaching) - 1
    np.testing.assert_array_equal(read.next_obs[:4], reaching.next_obs[:4])
    np.testing.assert_array_equal(read.next_obs[4], reaching.obs[4])
    np.testing.assert_array_equal(read.next_obs[5:], reaching.next_obs[5:-1])
    assert read.term.tolist() == [False] * 4 + [True] + [False] * 5
    assert read.trunc.tolist() == [False] * 9 + [True]
    told = [NO_LAST_ENDED.format(n=1, of=2, rows=11), NO_LAST.format(n=1, of=2, rows=11)]
    assert all(what in read.notes for what in told)
    assert all(what in read.remarks() for what in told)


@pytest.mark.parametrize("gib", [5e-5, 2e-5])
def test_source_above_the_size_limit_is_subsampled_and_reported(cartpole, tmp_path, gib):
    source, _ = to_d4rl(cartpole, tmp_path)
    whole, read = Demos.load(source), Demos.load(source, gib)
    every = round(len(whole) / len(read))
    assert every > 1
    assert read.sha256() == whole.subsample(every).sha256()
    assert read.expert_return == whole.expert_return
    assert f"one of every {every} transitions is kept" in read.notes[-1]


def test_file_read_in_blocks_gives_the_same_demonstrations(cartpole, tmp_path, monkeypatch):
    source, _ = to_d4rl(cartpole, tmp_path)
    whole = Demos.load(source)
    monkeypatch.setattr("iqlearn.data.formats.base.BLOCK", 28)
    assert Demos.load(source).sha256() == whole.sha256()
    assert Demos.load(source, 1e-6).notes


def test_table_without_episode_and_end_columns_is_one_episode(tmp_path):
    (tmp_path / "log.csv").write_text("x,v,u\n" + "\n".join(f"{i},{i + 0.5},{-i}.0" for i in range(6)))
    read = Demos.load(tmp_path / "log.csv", columns={"obs": ["x", "v"], "act": "u"})
    assert read.obs.tolist() == [[i, i + 0.5] for i in range(5)]
    assert read.next_obs.tolist() == [[i + 1, i + 1.5] for i in range(5)]
    assert read.act.tolist() == [[-i] for i in range(5)]
    assert read.trunc.tolist() == [False] * 4 + [True]
    assert len(read.notes) == 3


@pytest.mark.parametrize(
    ("text", "columns", "told"),
    [
        ("x,u\n1,2\n", None, r"has the columns 'x', 'u'; say which are observations .* --columns"),
        ("x,u\n1,2\n", {"obs": ["x", "y"]}, r"has no column 'y' \(--columns obs=…\); it has 'x', 'u'"),
        ("x,u\n1,2\n", {"state": ["x"]}, r"--columns names 'state'; expected fields among obs, act"),
        ("x,u\n1,2\n3,\n", {"obs": ["x"], "act": ["u"]}, r"column 'u' has no value at row 1"),
        ("x,u\n1,up\n", {"obs": ["x"], "act": ["u"]}, r"column 'u' holds string; expected numbers"),
        ("x,u,e\n1,2,0\n1,2,1\n1,2,0\n", {"obs": ["x"], "ep": ["e"]}, r"an episode goes on at row 2 after another"),
        ("x,u\n", {"obs": ["x"]}, "has no rows"),
        ("x,u\n1,2,3\n", {"obs": ["x"]}, "is damaged, or no .csv table"),
    ],
)
def test_faulty_tables_are_rejected(tmp_path, text, columns, told):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        Demos.load(tmp_path / "log.csv", columns=columns)


@pytest.mark.parametrize("name", ["demos.pkl", "demos.pickle", "policy.pt"])
def test_pickles_are_refused_with_a_remedy(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=r"is a pickle\. Pickles are never read, .*: numpy.savez\("):
        Demos.load(tmp_path / name)


def test_source_of_unknown_format_is_rejected(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes.txt is of no known format; expected one of: Minari dataset, .*"):
        Demos.load(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="is a folder without a dataset"):
        Demos.load(tmp_path)
    with pytest.raises(InputError, match=r"No Minari dataset 'a/b-v0' on this machine; .*minari download a/b-v0"):
        Demos.load("minari:a/b-v0")


@pytest.mark.parametrize("write", [to_minari, to_robomimic, to_d4rl, to_huggingface, to_parquet, to_lerobot])
def test_damaged_files_only_raise_input_error(write, reaching, tmp_path):
    """Every file of the source is truncated, emptied, and has bytes flipped.

    An error message is one line. Where no error is raised, the data are the same. Only flipped bytes can give other
    data, because HDF5, Arrow and Parquet store numbers without a checksum.
    """
    source, columns = write(reaching, tmp_path)
    root = tmp_path / "minari" if str(source).startswith("minari:") else source
    files = [path for path in root.rglob("*") if path.is_file()] if root.is_dir() else [root]
    whole, messages = Demos.load(source, columns=columns).sha256(), []
    rng = np.random.default_rng(0)
    for path in files:
        content = path.read_bytes()
        flipped = bytearray(content)
        for at in rng.integers(len(content), size=8):
            flipped[at] ^= 0xFF
        for damaged in (content[: len(content) // 2], b"", bytes(flipped)):
            path.write_bytes(damaged)
            try:
                same = Demos.load(source, columns=columns).sha256() == whole
            except InputError as error:
                messages.append(str(error))
            else:
                unchecked = damaged == flipped and path.suffix in (".hdf5", ".arrow", ".parquet")
                assert same or unchecked, f"{path.name} with {len(damaged)} of {len(content)} bytes gives other data"
        path.write_bytes(content)
    assert messages
    assert [text for text in messages if len(text.splitlines()) != 1 or not text.endswith(".")] == []
    assert Demos.load(source, columns=columns).sha256() == whole


def test_minari_dataset_without_spaces_is_rejected_without_imports(reaching, tmp_path):
    """Minari would make the environment that the file names."""
    to_minari(reaching, tmp_path)
    path = next((tmp_path / "minari").rglob("metadata.json"))
    metadata = json.loads(path.read_text())
    del metadata["action_space"]
    path.write_text(json.dumps(metadata | {"env_spec": '{"id": "X-v0", "entry_point": "nosuchmodule:X"}'}))
    for source in (path.parents[1], "minari:test/own-v0"):
        with pytest.raises(InputError, match="lacks 'action_space'"):
            Demos.load(source)


@pytest.mark.parametrize(
    ("package", "source", "extra"),
    [
        ("h5py", "low_dim.hdf5", "hdf5"),
        ("pyarrow", "table.parquet", "tables"),
        ("minari", "minari:a/b-v0", "minari"),
        ("datasets", "trajectories", "huggingface"),
    ],
)
def test_missing_package_error_names_the_extra(package, source, extra, reaching, tmp_path, monkeypatch):
    for write in (to_robomimic, to_parquet, to_huggingface):
        write(reaching, tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"is not installed; install it with: pip install .*\[{extra}\]"):
        Demos.load(source if ":" in source else tmp_path / source)


def test_lerobot_episodes_stay_separate_with_a_column_map(reaching, tmp_path):
    source, _ = to_lerobot(reaching, tmp_path)
    read = Demos.load(source, columns={"obs": "observation.state", "act": "action"})
    assert read.episodes == 2
    np.testing.assert_array_equal(read.next_obs, Demos.load(source).next_obs)


@pytest.mark.parametrize(
    ("rows", "columns", "told"),
    [
        ("x,u,e,f\n1,2,0,0\n", {"obs": "x", "ep": ["e", "f"]}, r"--columns ep=e,f names several; expected one column"),
        ("x,u,e,t\n1,2,0,1\n2,2,0,0\n", {"obs": "x", "ep": "e", "term": "t"}, r"'t' \(term\) is true at row 0; exp"),
        ("x,u,t\n1,2,0.0\n2,2,nan\n", {"obs": "x", "term": "t"}, r"column 't' has no value at row 1"),
        ("x,u,e\n1,2,0\n2,2,\n", {"obs": "x", "ep": "e"}, r"column 'e' has no value at row 1"),
    ],
)
def test_invalid_flags_and_episodes_of_tables_are_rejected(tmp_path, rows, columns, told):
    (tmp_path / "log.csv").write_text(rows)
    with pytest.raises(InputError, match=told):
        Demos.load(tmp_path / "log.csv", columns=columns)


def test_duplicate_column_names_are_rejected(tmp_path):
    table = pa.table([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])
    feather.write_feather(table, str(tmp_path / "t.arrow"))
    csv.write_csv(table, tmp_path / "t.csv")
    for name in ("t.arrow", "t.csv"):
        with pytest.raises(InputError, match="has two columns 'x'"):
            Demos.load(tmp_path / name, columns={"obs": ["x"]})


def test_column_may_serve_two_fields_and_unused_columns_may_have_gaps(tmp_path):
    (tmp_path / "t.csv").write_text("note,x,u\n,1,0\n,2,1\nend,3,0\n")
    read = Demos.load(tmp_path / "t.csv", columns={"obs": ["x", "u"], "act": "u"})
    assert read.obs.tolist() == [[1, 0], [2, 1]]


def test_rows_of_mixed_shapes_or_types_are_rejected(tmp_path, monkeypatch):
    """Also if they are in different batches: no batch is rounded to the type of the first."""
    monkeypatch.setattr("iqlearn.data.formats.tables.BYTES", 1)
    parquet.write_table(pa.table({"obs": [[1.0], [2.0], [1.0, 2.0]], "act": [0, 1, 0]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"obs has rows of \(1,\) and of \(2,\) \(columns 'obs'\); expected one shape"):
        Demos.load(tmp_path / "t.parquet")
    files = tmp_path / "set"
    (files / "data").mkdir(parents=True)
    (files / "meta").mkdir()
    features = {name: {"dtype": "float32", "shape": [1]} for name in ("observation.state", "action")}
    (files / "meta" / "info.json").write_text(json.dumps({"features": features}))
    for i, values in enumerate(([[1], [2]], [[1.5], [2.5]])):
        table = {"observation.state": values, "action": [0.5, 0.5], "episode_index": [i, i]}
        parquet.write_table(pa.table(table), files / "data" / f"file-{i}.parquet")
    with pytest.raises(InputError, match="Cannot cast array data"):
        Demos.load(files)


@pytest.mark.parametrize("act", [[[0.0], [1.0], [1.0]], [[-1.0], [1.0], [1.0]]])
def test_csv_keeps_whole_valued_floats_as_floats(act, tmp_path):
    obs = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.25]], np.float32)
    ends = {"term": np.zeros(3, bool), "trunc": [False, False, True], "ep": np.zeros(3, int)}
    demos = Demos.from_arrays({"obs": obs[:-1], "next_obs": obs[1:], "act": np.array(act, np.float32), **ends})
    demos.save(tmp_path / "t.csv")
    assert Demos.load(tmp_path / "t.csv").sha256() == demos.sha256()


@pytest.mark.parametrize("name", ["hello world", "a/x-v0", "../../out/x-v0", "x"])
def test_invalid_minari_id_is_rejected_and_leaves_no_files(name, cartpole, tmp_path):
    with pytest.raises(InputError, match="is no id of a Minari dataset"):
        cartpole.save(f"minari:{name}")
    cartpole.save("minari:test/good-v0")
    assert {path.name for path in (tmp_path / "minari").iterdir() if path.is_dir()} == {"test"}
    with pytest.raises(InputError, match="There is a Minari dataset 'test/good-v0' already"):
        cartpole.save("minari:test/good-v0")


def test_minari_dataset_is_saved_without_an_environment_that_cannot_be_made(cartpole):
    with pytest.warns(UserWarning, match=r"names no environment, because 'Gone/Robot-v0' cannot be made here"):
        replace(cartpole, env="Gone/Robot-v0").save("minari:test/robot-v0")
    assert Demos.load("minari:test/robot-v0").env is None
    with pytest.warns(UserWarning, match="because 'this:Zen-v0' names a module"):
        replace(cartpole, env="this:Zen-v0").save("minari:test/zen-v0")
    assert "this" not in sys.modules, "what a file names is not imported"
    with pytest.raises(InputError, match="cannot hold demonstrations without actions"):
        cartpole.without_actions().save("minari:test/none-v0")


def test_minari_environment_with_keyword_arguments_is_reported(pendulum):
    env = gym.make("Pendulum-v1", g=9.81)
    part = pendulum.take(1)
    buffer = EpisodeBuffer(
        id=0,
        observations=observations(part, slice(None)),
        actions=part.act,
        rewards=part.rew.astype(float),
        terminations=part.term,
        truncations=part.trunc,
    )
    minari.create_dataset_from_buffers("test/kwargs-v0", [buffer], env=env)
    read = Demos.load("minari:test/kwargs-v0")
    assert read.env is None
    assert any("Pendulum-v1 with keyword arguments" in note for note in read.notes)


@pytest.mark.parametrize("target", ["own.csv", "own.parquet", "own.arrow", "minari:test/part-v0"])
@pytest.mark.parametrize("every", [4, 100])
def test_formats_without_returns_refuse_subsampled_demonstrations(target, every, pendulum, tmp_path):
    """The returns of the whole episodes would be lost, also where each episode keeps its first row."""
    part = pendulum.subsample(every)
    told = "rows do not follow one another|cannot hold sub-sampled demonstrations"
    with pytest.raises(InputError, match=told):
        part.save(target if ":" in target else tmp_path / target)
    assert [*tmp_path.glob("own*")] == []
    part.save(tmp_path / "own.npz")
    np.testing.assert_array_equal(Demos.load(tmp_path / "own.npz").episode_return, pendulum.episode_return)


@pytest.mark.parametrize("which", ["cartpole", "reaching"])
def test_estimated_size_is_that_of_the_loaded_rows(which, request):
    demos = request.getfixturevalue(which)
    rows = [demos.obs, demos.next_obs, demos.act, demos.term, demos.trunc, demos.ep, demos.rew]
    episodes = [Episode(int(r.stop - r.start), demos.obs[r], demos.act[r]) for r in episodes_of(demos)]
    assert size_of(episodes) == sum(array.nbytes for array in rows)


@pytest.mark.parametrize("write", [to_minari, to_d4rl, to_huggingface, to_npz])
def test_a_column_map_without_effect_is_refused(write, cartpole, tmp_path):
    source, _ = write(cartpole, tmp_path)
    with pytest.raises(InputError, match="--columns has no effect on"):
        Demos.load(source, columns={"obs": "x"})
    source, _ = to_robomimic(cartpole, tmp_path)
    with pytest.raises(InputError, match=r"--columns act=… has no effect on .*; expected obs \(its keys\)"):
        Demos.load(source, columns={"obs": "object", "act": "x"})


def test_runs_resume_from_subsampled_sources_datasets_and_folders(cartpole, tmp_path):
    thinned = to_d4rl(cartpole, tmp_path)[0]
    for i, (source, limit) in enumerate(
        ((thinned, 5e-5), (to_minari(cartpole, tmp_path)[0], None), (to_folder(cartpole, tmp_path)[0], None))
    ):
        demos = Demos.load(source, limit)
        assert bool(limit) == (len(demos) < len(cartpole))
        out = tmp_path / f"run-{i}"
        run = iq.learn(iq.IQLearn(), demos, steps=20, evaluations=2, quiet=True, out=out)
        (out / "model.safetensors").unlink()
        assert iq.resume(out, quiet=True).rows == run.rows


def test_hdf5_links_to_other_files_are_refused(cartpole, tmp_path):
    to_d4rl(cartpole, tmp_path)
    with h5py.File(tmp_path / "link.hdf5", "w") as file:
        for name in ("observations", "actions"):
            file[name] = h5py.ExternalLink("d4rl.hdf5", f"/{name}")
    with h5py.File(tmp_path / "external.hdf5", "w") as file:
        file.create_dataset("observations", (12, 1), np.uint8, external=[(str(tmp_path / "d4rl.hdf5"), 0, 12)])
        file["actions"] = np.zeros(12, int)
    for name in ("link", "external"):
        with pytest.raises(InputError, match=r"'(observations|actions)' lies in another file"):
            Demos.load(tmp_path / f"{name}.hdf5")


def test_episode_without_steps_is_left_out(cartpole, tmp_path):
    source, columns = to_robomimic(cartpole, tmp_path)
    with h5py.File(source, "a") as file:
        group = file.create_group("data/demo_9")
        group["actions"], group["obs/object"] = np.zeros(0, int), np.zeros((0, 4))
    assert Demos.load(source, columns=columns).episodes == cartpole.episodes


def test_leftover_files_in_a_folder_are_ignored(cartpole, tmp_path):
    source, _ = to_folder(cartpole, tmp_path)
    whole = Demos.load(source)
    for name in ("a.npz.0f3a.partial", ".hidden.npz", "notes.zip"):
        (source / name).write_bytes((source / "a.npz").read_bytes())
    (source / "strange").mkdir()
    (source / "strange" / "metadata.json").write_bytes(b"\xff\xfe")
    assert Demos.load(source).sha256() == whole.sha256()


def test_later_csv_blocks_widen_the_column_types(tmp_path, monkeypatch):
    """The first block shows whole numbers and numbered episodes; floating-point numbers and names come later."""
    rows = [(i, i, "1", "") for i in range(20)] + [
        (i + 0.5, i, "last", "yes" if i == 29 else "no") for i in range(20, 30)
    ]
    (tmp_path / "log.csv").write_text("x,u,run,end\n" + "".join("{},{},{},{}\n".format(*row) for row in rows))
    columns = {"obs": ["x"], "act": "u", "ep": "run"}
    whole = Demos.load(tmp_path / "log.csv", columns=columns)
    monkeypatch.setattr("iqlearn.data.formats.tables.BLOCK", 64)
    assert Demos.load(tmp_path / "log.csv", columns=columns).sha256() == whole.sha256()
    assert Demos.load(tmp_path / "log.csv", 2.2e-7, columns).sha256() == whole.subsample(4).sha256()
    (tmp_path / "log.csv").write_text("x,u\n" + "1,1\n" * 30 + "up,1\n")
    with pytest.raises(InputError, match="column 'x' holds string; expected numbers"):
        Demos.load(tmp_path / "log.csv", columns={"obs": ["x"], "act": "u"})


def to_parquet_alone(demos, folder):
    """A table without next observations."""
    source, columns = to_parquet(demos, folder)
    return source, {field: names for field, names in columns.items() if field != "next_obs"}


@pytest.mark.parametrize("write", [to_parquet, to_arrow, to_arrow_stream, to_csv, to_parquet_alone, to_lerobot])
@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_tables_are_read_and_thinned_in_batches(write, every, reaching, tmp_path, monkeypatch):
    for name, value in (("BYTES", 128), ("BLOCK", 128)):
        monkeypatch.setattr(f"iqlearn.data.formats.tables.{name}", value)
    source, columns = write(reaching, tmp_path)
    whole = Demos.load(source, columns=columns)
    if write not in (to_parquet_alone, to_lerobot):
        assert whole.sha256() == reaching.sha256()
    size = len(reaching) * (2 * 12 + 8 + 14)
    read = Demos.load(source, size / every / 2**30, columns)
    assert read.sha256() == whole.subsample(every).sha256()
    np.testing.assert_array_equal(read.episode_return, whole.episode_return)
    assert read.thinned == every
    assert not any("begin where the row before them ended" in remark for remark in read.remarks())


def test_size_limit_applies_to_a_folder_as_a_whole(cartpole, tmp_path):
    """Each file alone would fit. Together all are subsampled by the same step, also the `.npz` file."""
    source, _ = to_folder(cartpole, tmp_path)
    whole = Demos.load(source)
    size = len(cartpole) * (2 * 16 + 4 + 14)
    read = Demos.load(source, 0.7 * size / 2**30)
    assert read.sha256() == whole.subsample(2).sha256()
    assert read.every == 2
    assert read.longest >= whole.longest - 1
    assert [note for note in read.notes if "transitions is kept" in note] == [read.notes[-1]]
    assert not any("begin where the row before them ended" in remark for remark in read.remarks())
    assert read.subsample(2).every == 4


FPS = 10


@pytest.fixture(scope="module")
def filmed():
    """Two episodes of a camera's images beside a state. Neighbouring frames differ, and so do episodes."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (13, 1, 1, 3)) + np.arange(32).reshape(1, 1, 32, 1) * 3
    frames = np.broadcast_to(base % 256, (13, 16, 32, 3)).astype(np.uint8)
    return {"frames": frames, "state": rng.normal(size=(13, 2)).astype(np.float32), "ep": np.repeat([0, 1], [5, 8])}


def write_video(path, frames, fps=FPS):
    """Write a lossless video."""
    av = pytest.importorskip("av", reason="needs the extra lerobot")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=fps, options={"qp": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def to_filmed_lerobot(filmed, root, version, images=False):
    """A dataset of version 3, with all episodes in one video, or of version 2.1, with a video for each."""
    name, n = "observation.images.top", len(filmed["ep"])
    step = np.concatenate([np.arange(k) for k in np.bincount(filmed["ep"])])
    columns = {
        "observation.state": pa.array(list(filmed["state"])),
        "action": pa.array(list(np.ones((n, 1), np.float32))),
        "timestamp": (step / FPS).astype(np.float32),
        "episode_index": filmed["ep"],
        "frame_index": step,
    }
    features = {key: {"dtype": "float32", "shape": [2]} for key in ("observation.state", "action")}
    features[name] = {"dtype": "image" if images else "video", "shape": [16, 32, 3]}
    if images:
        files = [io.BytesIO() for _ in range(n)]
        for file, frame in zip(files, filmed["frames"], strict=True):
            Image.fromarray(frame).save(file, "PNG")
        columns[name] = pa.array([{"bytes": file.getvalue(), "path": None} for file in files])
    info = {"codebase_version": version, "fps": FPS, "chunks_size": 1000, "features": features}
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    table = pa.table(columns)
    if version == "v3.0":
        parquet.write_table(table, root / "data" / "chunk-000" / "file-000.parquet")
        times = {"from_timestamp": [0.0, 5 / FPS], "to_timestamp": [5 / FPS, 13 / FPS]}
        about = {
            f"videos/{name}/{key}": v for key, v in ({"chunk_index": [0, 0], "file_index": [0, 0]} | times).items()
        }
        parquet.write_table(
            pa.table({"episode_index": [0, 1], **about}), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
        )
        if not images:
            write_video(root / "videos" / name / "chunk-000" / "file-000.mp4", filmed["frames"])
        return
    shutil.rmtree(root / "meta" / "episodes")
    for i in (0, 1):
        rows = np.flatnonzero(filmed["ep"] == i)
        parquet.write_table(table.take(rows), root / "data" / "chunk-000" / f"episode_{i:06}.parquet")
        write_video(root / "videos" / "chunk-000" / name / f"episode_{i:06}.mp4", filmed["frames"][rows])


WITH_IMAGES = {"obs": ["observation.state", "observation.images.top"]}


@pytest.mark.parametrize(("version", "images"), [("v3.0", False), ("v2.1", False), ("v3.0", True)])
def test_lerobot_frames_match_their_states(version, images, filmed, tmp_path, monkeypatch):
    """Frames of videos, and images in the table, are equal bit for bit, also in small batches and subsampled."""
    to_filmed_lerobot(filmed, tmp_path / "set", version, images)
    read = Demos.load(tmp_path / "set", columns=WITH_IMAGES)
    at = np.array([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11])
    assert flat("obs", read.obs).keys() == {"obs/images.top", "obs/state"}
    np.testing.assert_array_equal(read.obs["images.top"], filmed["frames"][at])
    np.testing.assert_array_equal(read.next_obs["images.top"], filmed["frames"][at + 1])
    np.testing.assert_array_equal(read.obs["state"], filmed["state"][at])
    monkeypatch.setattr("iqlearn.data.formats.tables.BYTES", 4000)
    monkeypatch.setattr("iqlearn.data.formats.videos.AHEAD", 0.15)
    assert Demos.load(tmp_path / "set", columns=WITH_IMAGES).sha256() == read.sha256()
    size = 13 * (2 * (16 * 32 * 3 + 8) + 4 + 14)
    assert Demos.load(tmp_path / "set", size / 3 / 2**30, WITH_IMAGES).sha256() == read.subsample(3).sha256()


def test_nearest_frame_of_the_same_episode_is_taken(filmed, tmp_path):
    """One video has three frames for each row; the frames of an episode end before its rows in the other."""
    to_filmed_lerobot(filmed, tmp_path / "set", "v3.0")
    whole = Demos.load(tmp_path / "set", columns=WITH_IMAGES)
    video, frames = next((tmp_path / "set").rglob("*.mp4")), filmed["frames"]
    write_video(video, np.stack([frames, frames + 1, frames + 2], axis=1).reshape(-1, *frames.shape[1:]), 3 * FPS)
    assert Demos.load(tmp_path / "set", columns=WITH_IMAGES).sha256() == whole.sha256()
    about = next((tmp_path / "set").rglob("meta/episodes/**/*.parquet"))
    table = parquet.read_table(about)
    ends = pa.array([4 / FPS, 13 / FPS])
    parquet.write_table(table.set_column(table.num_columns - 1, table.column_names[-1], ends), about)
    with pytest.raises(InputError, match=r"row 4 is at 0.4 s of its episode, whose frames of 'obs.*' last 0.4 s"):
        Demos.load(tmp_path / "set", columns=WITH_IMAGES)


def test_lerobot_images_are_left_out_unless_requested(filmed, tmp_path, monkeypatch):
    to_filmed_lerobot(filmed, tmp_path / "set", "v3.0")
    read = Demos.load(tmp_path / "set")
    np.testing.assert_array_equal(read.obs[:4], filmed["state"][:4])
    told = "images are left out (observation.images.top); take them with --columns obs=observation.state,observation."
    assert [note for note in read.notes if note.startswith(told)]
    monkeypatch.setitem(sys.modules, "av", None)
    assert any("PyAV, which reads videos, is not installed" in note for note in Demos.load(tmp_path / "set").notes)
    with pytest.raises(InputError, match=r"PyAV, which reads videos, is not installed; .*\[lerobot\]"):
        Demos.load(tmp_path / "set", columns=WITH_IMAGES)


def test_missing_frames_and_damaged_videos_are_reported(filmed, tmp_path):
    to_filmed_lerobot(filmed, tmp_path / "set", "v3.0")
    video = next((tmp_path / "set").rglob("*.mp4"))
    write_video(video, filmed["frames"][:9])
    with pytest.raises(InputError, match=r"file-000.mp4 has no frame at 0.9 s; expected one for each row"):
        Demos.load(tmp_path / "set", columns=WITH_IMAGES)
    for content in (b"", video.read_bytes()[:500]):
        video.write_bytes(content)
        with pytest.raises(InputError, match=r"file-000.mp4 is damaged, or no video"):
            Demos.load(tmp_path / "set", columns=WITH_IMAGES)
    video.unlink()
    with pytest.raises(InputError, match=r"file-000.mp4 is damaged, or no video"):
        Demos.load(tmp_path / "set", columns=WITH_IMAGES)
