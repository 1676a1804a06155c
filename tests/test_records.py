"""The run folder: what is written is read again, whole or not at all, and every damage is one sentence."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn import folders, records
from iqlearn.errors import InputError


class Scale(eqx.Module):
    mean: jax.Array
    std: jax.Array


class Part(eqx.Module):
    weight: jax.Array
    scale: Scale | None
    name: str = eqx.field(static=True)


def tree() -> dict[str, object]:
    scale = Scale(jnp.array([0.1, -2.5]), jnp.array([1.0, 1e-30]))
    return {
        "part": Part(jnp.arange(6, dtype=jnp.float32).reshape(2, 3) / 7, scale, "x"),
        "pair": (jnp.int32(2_000_000_001), jnp.array([True, False])),
        "none": None,
        "empty": jnp.zeros((0, 3)),
        "bytes": jnp.array([0, 255], jnp.uint8),
        "special": jnp.array([jnp.nan, jnp.inf, -0.0]),
    }


def sentence(path: Path, like: object) -> str:
    with pytest.raises(InputError) as caught:
        records.read_tree(path, like)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


def test_a_tree_is_read_bit_for_bit(tmp_path):
    written = tree()
    records.write_tree(tmp_path / "t.safetensors", written)
    found = records.read_tree(tmp_path / "t.safetensors", jax.eval_shape(lambda: written))
    assert jax.tree.structure(found) == jax.tree.structure(written)
    for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(written), strict=True):
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_an_array_that_is_not_contiguous_keeps_its_values(tmp_path):
    written = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}
    records.write_tree(tmp_path / "t.safetensors", written)
    assert records.read_tree(tmp_path / "t.safetensors", written)["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_equal_trees_are_equal_files(tmp_path):
    for name in ("a", "b"):
        records.write_tree(tmp_path / name, tree())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_tree(tmp_path):
    assert "No t.safetensors in" in sentence(tmp_path / "t.safetensors", tree())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.999])
def test_truncated_tree(tmp_path, share):
    path = tmp_path / "t.safetensors"
    records.write_tree(path, tree())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in sentence(path, tree())


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, b"\x10" + bytes(7) + b"{'no json at all", b"\x80\x04K\x01."],
    ids=["noise", "bad header", "a pickle"],
)
def test_tree_of_noise(tmp_path, content):
    (tmp_path / "t.safetensors").write_bytes(content)
    assert "damaged" in sentence(tmp_path / "t.safetensors", tree())


def test_tree_of_another_shape(tmp_path):
    path = tmp_path / "t.safetensors"
    records.write_tree(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    text = sentence(path, {"w": jnp.zeros((2, 4)), "b": jnp.zeros(3)})
    assert "'w'" in text
    assert "(2, 3)" in text
    assert "(2, 4)" in text


def test_tree_with_a_leaf_missing(tmp_path):
    path = tmp_path / "t.safetensors"
    records.write_tree(path, {"w": jnp.zeros(2)})
    assert "'more'" in sentence(path, {"w": jnp.zeros(2), "more": jnp.zeros(5)})


def test_json_is_strict_and_what_is_not_finite_is_null(tmp_path):
    path = tmp_path / "r.json"
    content = {
        "nan": float("nan"),
        "inf": float("inf"),
        "numpy": np.float64("nan"),
        "nested": {"list": [1.5, float("-inf"), (float("nan"), "ü")], "none": None},
        "int": 3,
        "true": True,
    }
    records.write_json(path, content)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse) == {
        "nan": None,
        "inf": None,
        "numpy": None,
        "nested": {"list": [1.5, None, [None, "ü"]], "none": None},
        "int": 3,
        "true": True,
    }
    assert records.read_json(path)["int"] == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1,}', b"[1, 2]", b"3", b"null", b"\xff\xfe\x00", b"\x93NUMPY"])
def test_damaged_json_is_one_sentence(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json is damaged.*expected") as caught:
        records.read_json(tmp_path / "r.json")
    assert "\n" not in str(caught.value)


def test_missing_json_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"No r\.json in .*expected a run folder"):
        records.read_json(tmp_path / "r.json")


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [{"step": 10, "loss": 0.125, "return_mean": None}, {"step": 2_000_000, "loss": -1e-9, "return_mean": 3.0}]
    records.write_rows(tmp_path / "m.csv", rows)
    assert records.read_rows(tmp_path / "m.csv") == rows
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == "step,loss,return_mean"


def test_rows_written_again_are_the_same_file(tmp_path):
    """A resumed run rewrites the rows it read: they must not drift."""
    rng = np.random.default_rng(0)
    records.write_rows(tmp_path / "a.csv", [{"step": i, "loss": float(np.float32(rng.normal()))} for i in range(50)])
    records.write_rows(tmp_path / "b.csv", records.read_rows(tmp_path / "a.csv"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_float32_metrics_survive_the_text(tmp_path):
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    records.write_rows(tmp_path / "m.csv", [{"loss": float(value)} for value in values])
    found = np.array([row["loss"] for row in records.read_rows(tmp_path / "m.csv")], np.float32)
    assert (found == values).all()


def test_no_rows_at_all(tmp_path):
    records.write_rows(tmp_path / "m.csv", [])
    assert records.read_rows(tmp_path / "m.csv") == []


@pytest.mark.parametrize(
    "content",
    [None, b"step,loss\n1,abc\n", b"step,loss\n1,2,3\n", b"step,loss\n1\n", b"\xff\xfe\n\xff\n", b"step\n\x00\n"],
    ids=["missing", "no number", "too many", "too few", "no text", "a null"],
)
def test_damaged_rows_are_one_sentence(tmp_path, content):
    path = tmp_path / "m.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.csv.*expected") as caught:
        records.read_rows(path)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers(tmp_path):
    records.write_json(tmp_path / "r.json", {"seed": np.int64(3), "rate": [np.float32(0.5), np.float32("nan")]})
    assert records.read_json(tmp_path / "r.json") == {"seed": 3, "rate": [0.5, None]}


def test_claim_makes_the_folder_and_its_parents(tmp_path):
    folders.claim(tmp_path / "a" / "b", overwrite=False)
    assert (tmp_path / "a" / "b").is_dir()
    folders.claim(tmp_path / "a" / "b", overwrite=False)  # empty: free


@pytest.mark.parametrize("name", [records.CONFIG, records.CHECKPOINT, "notes.txt", ".hidden"])
def test_claim_refuses_a_folder_with_anything_in_it(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=r"not empty.*--out.*--overwrite"):
        folders.claim(tmp_path, overwrite=False)
    assert (tmp_path / name).read_text() == "mine"


def test_claim_with_overwrite_removes_the_run_and_nothing_else(tmp_path):
    run = [getattr(records, name) for name in ("CONFIG", "METRICS", "RESULT", "MODEL", "BEST", "CHECKPOINT", "CURVES")]
    for name in [*run, "notes.txt"]:
        (tmp_path / name).write_text("old")
    (tmp_path / "folder").mkdir()
    folders.claim(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "notes.txt"]


def test_claim_with_overwrite_removes_the_runs_of_seeds_too(tmp_path):
    for seed in ("seed-0", "seed-2"):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / records.CONFIG).write_text("old")
    (tmp_path / "seed-2" / "notes.txt").write_text("mine")
    folders.claim(tmp_path, overwrite=True)
    assert folders.seeds_in(tmp_path) == []
    assert (tmp_path / "seed-2" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_claim_refuses_a_file(tmp_path, overwrite):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        folders.claim(tmp_path / "out", overwrite)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    records.write_json(path, {"generation": 1})

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"r\.json cannot be written \(No space left on device\); expected .* room"):
        records.write_json(path, {"generation": 2})
    assert records.read_json(path) == {"generation": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_a_replaced_run_leaves_no_reward_behind(tmp_path):
    left = [tmp_path / name for name in ("reward.json", "reward.png", "reward-state.safetensors")]
    for path in left:
        path.write_text("old")
    folders.claim(tmp_path, overwrite=True)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("status", ["interrupted", "completed", None])
def test_claim_says_how_to_go_on_with_a_run_that_was_stopped(tmp_path, status):
    (tmp_path / records.RESULT).write_text("{" if status is None else f'{{"status": "{status}"}}')
    with pytest.raises(InputError, match="not empty") as caught:
        folders.claim(tmp_path, overwrite=False)
    assert (f"iqlearn resume {tmp_path}" in str(caught.value)) == (status == "interrupted")


def test_claim_says_how_to_go_on_with_seeds_of_which_one_was_stopped(tmp_path):
    for seed, status in (("seed-0", "completed"), ("seed-1", "running")):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / records.CONFIG).write_text("{}")
        (tmp_path / seed / records.RESULT).write_text(f'{{"status": "{status}"}}')
    with pytest.raises(InputError, match=f"iqlearn resume {tmp_path}, "):
        folders.claim(tmp_path, overwrite=False)


def test_claim_tells_of_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file/out cannot be written \(Not a directory\); expected a folder.*--out"):
        folders.claim(tmp_path / "file" / "out", overwrite=False)
