"""Files are written whole or not at all and read back exactly. Damage raises a one-line error."""

import json
import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iqlearn import files
from iqlearn.errors import InputError

REAL_FLUSH = files.flush  # the other tests do not wait for the disk


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
        files.read_arrays(path).tree(like)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert "expected" in str(caught.value)
    return str(caught.value)


def test_a_tree_is_read_bit_for_bit(tmp_path):
    written = tree()
    files.write_tree(tmp_path / "t.safetensors", written)
    found = files.read_arrays(tmp_path / "t.safetensors").tree(jax.eval_shape(lambda: written))
    assert jax.tree.structure(found) == jax.tree.structure(written)
    for new, old in zip(jax.tree.leaves(found), jax.tree.leaves(written), strict=True):
        assert (new.dtype, new.shape) == (old.dtype, old.shape)
        assert np.asarray(new).tobytes() == np.asarray(old).tobytes()


def test_noncontiguous_array_keeps_its_values(tmp_path):
    written = {"w": np.arange(6.0, dtype=np.float32).reshape(2, 3).T}
    files.write_tree(tmp_path / "t.safetensors", written)
    assert files.read_arrays(tmp_path / "t.safetensors").tree(written)["w"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_equal_trees_are_equal_files(tmp_path):
    for name in ("a", "b"):
        files.write_tree(tmp_path / name, tree())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_missing_tree_file_is_reported(tmp_path):
    assert "No t.safetensors in" in sentence(tmp_path / "t.safetensors", tree())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.999])
def test_truncated_tree_is_reported_as_damaged(tmp_path, share):
    path = tmp_path / "t.safetensors"
    files.write_tree(path, tree())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "damaged" in sentence(path, tree())


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, b"\x10" + bytes(7) + b"{'no json at all", b"\x80\x04K\x01."],
    ids=["noise", "bad header", "a pickle"],
)
def test_invalid_tree_content_is_reported_as_damaged(tmp_path, content):
    (tmp_path / "t.safetensors").write_bytes(content)
    assert "damaged" in sentence(tmp_path / "t.safetensors", tree())


def test_tree_shape_mismatch_error_names_both_shapes(tmp_path):
    path = tmp_path / "t.safetensors"
    files.write_tree(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    text = sentence(path, {"w": jnp.zeros((2, 4)), "b": jnp.zeros(3)})
    assert "'w'" in text
    assert "(2, 3)" in text
    assert "(2, 4)" in text


def test_missing_leaf_error_names_the_leaf(tmp_path):
    path = tmp_path / "t.safetensors"
    files.write_tree(path, {"w": jnp.zeros(2)})
    assert "'more'" in sentence(path, {"w": jnp.zeros(2), "more": jnp.zeros(5)})


def test_json_is_strict_and_nonfinite_numbers_become_null(tmp_path):
    path = tmp_path / "r.json"
    content = {
        "nan": float("nan"),
        "inf": float("inf"),
        "numpy": np.float64("nan"),
        "nested": {"list": [1.5, float("-inf"), (float("nan"), "ü")], "none": None},
        "int": 3,
        "true": True,
    }
    files.write_json(path, content)

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
    assert files.read_json(path)["int"] == 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1,}', b"[1, 2]", b"3", b"null", b"\xff\xfe\x00", b"\x93NUMPY"])
def test_damaged_json_raises_a_one_line_error(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(InputError, match=r"r\.json is damaged.*expected") as caught:
        files.read_json(tmp_path / "r.json")
    assert "\n" not in str(caught.value)


def test_missing_json_raises_a_clear_error(tmp_path):
    with pytest.raises(InputError, match=r"No r\.json in .*expected a run folder"):
        files.read_json(tmp_path / "r.json")


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [{"step": 10, "loss": 0.125, "return_mean": None}, {"step": 2_000_000, "loss": -1e-9, "return_mean": 3.0}]
    files.write(tmp_path / "m.csv", files.rows_bytes(rows))
    assert files.read_rows(tmp_path / "m.csv") == rows
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == "step,loss,return_mean"


def test_rewritten_rows_give_an_identical_file(tmp_path):
    """A resumed run rewrites the rows that it read; they must not drift."""
    rng = np.random.default_rng(0)
    files.write(
        tmp_path / "a.csv", files.rows_bytes([{"step": i, "loss": float(np.float32(rng.normal()))} for i in range(50)])
    )
    files.write(tmp_path / "b.csv", files.rows_bytes(files.read_rows(tmp_path / "a.csv")))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_float32_metrics_round_trip_through_csv(tmp_path):
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    files.write(tmp_path / "m.csv", files.rows_bytes([{"loss": float(value)} for value in values]))
    found = np.array([row["loss"] for row in files.read_rows(tmp_path / "m.csv")], np.float32)
    assert (found == values).all()


def test_empty_rows_are_read_as_an_empty_list(tmp_path):
    files.write(tmp_path / "m.csv", files.rows_bytes([]))
    assert files.read_rows(tmp_path / "m.csv") == []


@pytest.mark.parametrize(
    "content",
    [None, b"step,loss\n1,abc\n", b"step,loss\n1,2,3\n", b"step,loss\n1\n", b"\xff\xfe\n\xff\n", b"step\n\x00\n"],
    ids=["missing", "no number", "too many", "too few", "no text", "a null"],
)
def test_damaged_or_missing_rows_raise_a_one_line_error(tmp_path, content):
    path = tmp_path / "m.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.csv.*expected") as caught:
        files.read_rows(path)
    assert "\n" not in str(caught.value)


def test_numpy_numbers_are_written_as_json_numbers(tmp_path):
    files.write_json(tmp_path / "r.json", {"seed": np.int64(3), "rate": [np.float32(0.5), np.float32("nan")]})
    assert files.read_json(tmp_path / "r.json") == {"seed": 3, "rate": [0.5, None]}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    files.write_json(path, {"generation": 1})

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"r\.json cannot be written \(No space left on device\); expected .* room"):
        files.write_json(path, {"generation": 2})
    assert files.read_json(path) == {"generation": 1}
    assert [left.name for left in tmp_path.iterdir()] == ["r.json"]


def test_part_of_a_tree_is_read_alone_and_optionally_in_any_shape(tmp_path):
    """A checkpoint holds only the filled part of the replay."""
    path = tmp_path / "t.safetensors"
    files.write_tree(path, {"state": {"w": jnp.ones(3)}, "source": {"rows": jnp.arange(4)}})
    found = files.read_arrays(path)
    assert found.tree({"w": jnp.zeros(3)}, "['state']")["w"].tolist() == [1, 1, 1]
    assert found.tree({"rows": jnp.zeros(9, int)}, "['source']", any_shape=True)["rows"].shape == (4,)
    with pytest.raises(
        InputError, match=r"\['source'\]\['rows'\] is int32 of shape \(4,\); expected int32 of shape \(9,"
    ):
        found.tree({"rows": jnp.zeros(9, int)}, "['source']")


@pytest.mark.parametrize("kind", [jnp.float16, jnp.int32, bool])
def test_tree_dtype_mismatch_error_names_both_dtypes(tmp_path, kind):
    path = tmp_path / "t.safetensors"
    files.write_tree(path, {"w": jnp.zeros(2, kind)})
    assert f"['w'] is {np.dtype(kind)} of shape (2,); expected float32 of shape (2,)" in sentence(
        path, {"w": jnp.zeros(2)}
    )


@pytest.mark.parametrize("number", [jnp.nan, jnp.inf, -jnp.inf])
def test_nonfinite_weights_are_rejected_if_finite_is_required(tmp_path, number):
    path, net = tmp_path / "t.safetensors", {"w": jnp.array([1.0, number]), "n": jnp.int32(3)}
    files.write_tree(path, net)
    files.read_arrays(path).tree(net)
    with pytest.raises(InputError, match=r"t\.safetensors holds numbers in \['w'\] that are not finite; expected"):
        files.read_arrays(path).tree(net, finite=True)


def test_tree_metadata_is_kept_exactly(tmp_path):
    path = tmp_path / "t.safetensors"
    about = {"kind": "state", "rows": [{"loss": 0.1 + 0.2, "best": float("nan"), "step": 3, "none": None}]}
    files.write_tree(path, tree(), about | {"numpy": np.float64(0.5)})
    found = files.read_arrays(path).about
    assert repr(found) == repr(about | {"numpy": 0.5})


def test_every_flipped_bit_of_a_tree_is_detected(tmp_path):
    """The file contains a digest of its header and arrays."""
    path, net = tmp_path / "t.safetensors", {"w": jnp.arange(4.0), "n": jnp.int32(3)}
    files.write_tree(path, net, {"kind": "state"})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match=r"t\.safetensors is damaged, or of another .*; expected safetensors"):
            files.read_arrays(path, bytes(flipped))
    files.read_arrays(path, whole).tree(net)


def test_content_is_flushed_before_the_file_is_renamed(tmp_path, monkeypatch):
    """Flush the content, rename, flush the folder: a power cut leaves the old file or the new one."""
    done, replace = [], os.replace
    monkeypatch.setattr(files, "flush", lambda path: done.append(path))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(new), replace(old, new)))
    files.write(tmp_path / "r", b"content")
    partial, name, parent = done
    assert (partial.parent, name, parent) == (tmp_path, tmp_path / "r", tmp_path)
    assert partial.name.endswith(files.PARTIAL)


def test_flush_accepts_files_and_folders(tmp_path):
    (tmp_path / "r").touch()
    REAL_FLUSH(tmp_path / "r")
    REAL_FLUSH(tmp_path)
    with pytest.raises(FileNotFoundError):
        REAL_FLUSH(tmp_path / "none")


def test_partial_file_names_are_unique(tmp_path):
    assert len({files.partial_of(tmp_path / "r") for _ in range(100)}) == 100


def test_text_is_written_and_read_as_utf_8(tmp_path):
    files.write(tmp_path / "r.json", '{"a": "χ²"}'.encode())
    files.write(tmp_path / "m.csv", "χ²\n1\n".encode())
    assert files.read_json(tmp_path / "r.json") == {"a": "χ²"}
    assert files.read_rows(tmp_path / "m.csv") == [{"χ²": 1.0}]
    assert files.rows_bytes([{"χ²": 1}]) == "χ²\n1\n".encode()


def test_unreadable_file_raises_a_clear_error(tmp_path, monkeypatch):
    (tmp_path / "r.json").write_text("{}")

    def denied(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"r\.json cannot be read \(Permission denied\); expected"):
        files.read_json(tmp_path / "r.json")


def test_sha256_of_a_file_depends_on_its_content(tmp_path):
    for name, content in (("a", "one"), ("b", "one"), ("c", "other")):
        (tmp_path / name).write_text(content)
    first, same, other = (files.sha256(tmp_path / name) for name in "abc")
    assert first == same != other
    with pytest.raises(InputError, match="No none in"):
        files.sha256(tmp_path / "none")


def test_write_creates_parent_folders_and_rejects_impossible_paths(tmp_path):
    files.write(tmp_path / "new" / "deep" / "r", b"content")
    assert (tmp_path / "new" / "deep" / "r").read_bytes() == b"content"
    for path, told in (
        (tmp_path / "new", "new is a folder; expected the name of a file"),
        (Path(), r"\. is a folder"),
        (tmp_path / "new" / "deep" / "r" / "x", "x cannot be written, because .*r is a file; expected a folder"),
        (tmp_path / ("n" * 300), "n cannot be written .*too long"),
    ):
        with pytest.raises(InputError, match=told):
            files.write(path, b"")
    files.write(tmp_path / ("ü" * 120), b"as long as names may be")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(files.PARTIAL)]
