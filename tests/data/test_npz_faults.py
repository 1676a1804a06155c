"""A fault in a file of demonstrations raises an error of one sentence: file, field, place and remedy."""

import io
import os
import pickle
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import damage_demos
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iqlearn.data.demos import Demos
from iqlearn.data.formats import npz
from iqlearn.errors import InputError

Arrays = dict[str, np.ndarray]
FIELDS = ("obs", "act", "next_obs", "term", "trunc", "ep")
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def sentence(path: Path) -> str:
    """The error message of loading the file: one sentence that names the file and says what is expected."""
    with pytest.raises(InputError) as caught:
        Demos.load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    assert text.endswith(".")
    assert "expected" in text
    return text


def replaced(field: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, field: change(arrays[field])}


def at(field: str, place: int | tuple[int, ...], value: float, dtype: type | None = None) -> Callable[[Arrays], Arrays]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype or array.dtype)
        array[place] = value
        return array

    return replaced(field, change)


def without(field: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: array for name, array in arrays.items() if name != field}


def empty(arrays: Arrays) -> Arrays:
    return {name: array[:0] for name, array in arrays.items()}


FAULTS = {
    **{f"missing {name}": (without(name), name, "missing") for name in FIELDS if name != "act"},
    "obs of integers, next_obs of floats": (
        replaced("obs", lambda a: a.astype(np.int64)),
        "next_obs",
        "float32; expected (15, 2) and int32 as in 'obs'",
    ),
    "initial_obs of bytes": (lambda a: {**a, "initial_obs": np.zeros((3, 2), np.uint8)}, "initial_obs", "uint8"),
    "obs beyond int32": (replaced("obs", lambda a: a.astype(np.int64) + 2**40), "obs", "index [0, 0] is 1099511627778"),
    "numbers of a category below 0": (
        lambda a: {**a, "obs": -a["ep"], "next_obs": -a["ep"]},
        "obs",
        "index 0 is -2; expected the number of a category, of at least 0",
    ),
    "dtype of obs, complex": (replaced("obs", lambda a: a + 1j), "obs", "complex"),
    "dtype of next_obs, text": (replaced("next_obs", lambda a: a.astype(str)), "next_obs", "<U"),
    "dtype of act, bool": (replaced("act", lambda a: a > 0), "act", "bool"),
    "dtype of act, dates": (replaced("act", lambda a: a.astype("datetime64[s]")), "act", "datetime64"),
    "dtype of term": (replaced("term", lambda a: a.astype(np.float32)), "term", "float32"),
    "dtype of trunc": (replaced("trunc", lambda a: a.astype(np.int64)), "trunc", "int64"),
    "dtype of ep": (replaced("ep", lambda a: a.astype(np.float64)), "ep", "float64"),
    "dtype of rew": (replaced("rew", lambda a: a.astype(bool)), "rew", "bool"),
    "dtype of env": (lambda a: {**a, "env": np.array(3)}, "env", "int64"),
    "bytes of two types": (replaced("next_obs", lambda a: a.astype(np.uint8)), "next_obs", "uint8"),
    "obs without features": (
        replaced("obs", lambda a: a[:, 0]),
        "obs",
        "(15,); expected (15, coordinates); array[:, None]",
    ),
    "obs of zero features": (
        lambda a: {**a, "obs": a["obs"][:, :0], "next_obs": a["next_obs"][:, :0]},
        "obs",
        "(15, 0)",
    ),
    "obs is one number": (replaced("obs", lambda a: a[0, 0]), "obs", "()"),
    "next_obs of another width": (replaced("next_obs", lambda a: a[:, :1]), "next_obs", "(15, 1)"),
    "term in two dimensions": (replaced("term", lambda a: a[:, None]), "term", "(15, 1)"),
    "ep in two dimensions": (replaced("ep", lambda a: a[:, None]), "ep", "(15, 1)"),
    "ep is one number": (replaced("ep", lambda a: a[0]), "ep", "()"),
    "integer act in two dimensions": (replaced("act", lambda a: np.stack([a, a], 1)), "act", "(15, 2)"),
    "float act in one dimension": (replaced("act", lambda a: a.astype(np.float32)), "act", "(15,)"),
    "float act of zero features": (replaced("act", lambda a: np.zeros((len(a), 0))), "act", "(15, 0)"),
    **{f"length of {name}": (replaced(name, lambda a: a[:-1]), name, "(14") for name in ("act", "next_obs", "term")},
    **{f"length of {name}": (replaced(name, lambda a: a[1:]), name, "(14") for name in ("obs", "trunc", "rew")},
    "number of initial_obs": (lambda a: {**a, "initial_obs": a["obs"][:2]}, "initial_obs", "(2, 2)"),
    "number of episode_return": (lambda a: {**a, "episode_return": a["rew"][:4]}, "episode_return", "(4,)"),
    "NaN in obs": (at("obs", (4, 1), np.nan), "obs", "index [4, 1] is nan"),
    "infinite next_obs": (at("next_obs", (14, 0), -np.inf), "next_obs", "index [14, 0] is -inf"),
    "NaN in rew": (at("rew", 3, np.nan), "rew", "index 3 is nan"),
    "too great for float32": (at("obs", (2, 0), 1e300, np.float64), "obs", "index [2, 0] is 1e+300"),
    "NaN in float act": (
        replaced("act", lambda a: np.where(np.arange(30).reshape(15, 2) == 7, np.nan, 0.5)),
        "act",
        "index [3, 1] is nan",
    ),
    "NaN in initial_obs": (lambda a: {**a, "initial_obs": np.full((3, 2), np.nan)}, "initial_obs", "index [0, 0]"),
    "episodes out of order": (at("ep", 8, 1), "ep", "index 8 is 1"),
    "an episode in two parts": (at("ep", 14, 2), "ep", "index 14 is 2"),
    "true end in mid-episode": (at("term", 1, True), "term", "index 1 is True"),
    "time limit in mid-episode": (at("trunc", 6, True), "trunc", "index 6 is True"),
    "negative action": (at("act", 9, -1), "act", "index 9 is -1"),
    "action beyond int64": (at("act", 5, 2**63, np.uint64), "act", "index 5"),
    "no transitions": (empty, "ep", "empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_message_names_file_field_and_place(counting_arrays, tmp_path, fault):
    change, field, place = FAULTS[fault]
    np.savez(tmp_path / "bad.npz", **change(counting_arrays))
    text = sentence(tmp_path / "bad.npz")
    assert repr(field) in text
    assert place in text


def test_file_without_faults_loads(counting_arrays, tmp_path):
    """The file that the faults above change is valid."""
    np.savez(tmp_path / "good.npz", **counting_arrays)
    assert len(Demos.load(tmp_path / "good.npz")) == 15


def test_unknown_fields_are_ignored_even_if_they_hold_objects(counting_arrays, tmp_path):
    np.savez(tmp_path / "more.npz", **counting_arrays, infos=np.array([{}, None], object))
    assert len(Demos.load(tmp_path / "more.npz")) == 15


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("field", [*FIELDS, "rew", "initial_obs", "episode_return", "env"])
def test_objects_are_never_unpickled(counting_arrays, tmp_path, field):
    sprung = tmp_path / "sprung"
    counting_arrays[field] = np.array([Trap(sprung)], object)
    np.savez(tmp_path / "trap.npz", **counting_arrays)
    assert repr(field) in sentence(tmp_path / "trap.npz")
    assert not sprung.exists()
    np.load(tmp_path / "trap.npz", allow_pickle=True)[field]
    assert sprung.exists()  # the trap was armed: a loader that unpickles would have sprung it


def test_a_bare_pickle_is_never_unpickled(tmp_path):
    sprung = tmp_path / "sprung"
    (tmp_path / "trap.npz").write_bytes(pickle.dumps(Trap(sprung)))
    sentence(tmp_path / "trap.npz")
    assert not sprung.exists()


def test_missing_file_is_reported(tmp_path):
    sentence(tmp_path / "none.npz")


def test_folder_instead_of_a_file_is_rejected(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    sentence(tmp_path / "folder.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"obs,act\n1,2\n", b"\x93NUMPY\x01\x00", bytes(1000)])
def test_file_that_is_not_an_archive_is_rejected(tmp_path, content):
    (tmp_path / "other.npz").write_bytes(content)
    sentence(tmp_path / "other.npz")


def test_bare_array_instead_of_an_archive_is_rejected(tmp_path):
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    sentence(tmp_path / "array.npz")


def test_unreadable_file_is_reported(cartpole_file, tmp_path, monkeypatch):
    def refuse(*_args: object, **_settings: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "secret.npz"
    path.write_bytes(cartpole_file.read_bytes())
    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    sentence(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_file_is_rejected(cartpole_file, tmp_path, share):
    content = cartpole_file.read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(share * len(content))])
    sentence(tmp_path / "cut.npz")


def npy(header: bytes, data: bytes = b"") -> bytes:
    """An .npy file with the given header, valid or not."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


MEMBERS = {
    "no .npy header": b"not an array at all",
    "nothing": b"",
    "header is no dictionary": npy(b"__import__('os')\n"),
    "header is cut": npy(b"{'descr': '<f4', 'fortran_order': Fal"),
    "unknown version": b"\x93NUMPY\x09\x09" + bytes(20),
    "shape greater than memory": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 2), }\n"),
    "shape greater than an integer": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d,), }\n" % 10**30),
    "shape is negative": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 2), }\n"),
    "fewer data than the shape": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (15, 2), }\n", bytes(8)),
    "structured dtype": npy(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (15,), }\n", bytes(60)),
    "unknown dtype": npy(b"{'descr': '<q9', 'fortran_order': False, 'shape': (15,), }\n", bytes(60)),
}


@pytest.mark.parametrize("member", MEMBERS)
def test_damaged_archive_member_is_named_in_the_error(counting_arrays, tmp_path, member):
    path = tmp_path / "bad.npz"
    np.savez(path, **without("obs")(counting_arrays))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("obs.npy", MEMBERS[member])
    assert "obs" in sentence(path)


def test_damaged_compressed_member_is_named_in_the_error(counting_arrays, tmp_path):
    """The decompressor meets the damage before any checksum."""
    path = tmp_path / "bad.npz"
    np.savez_compressed(path, **counting_arrays)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("obs.npy")
    content = bytearray(path.read_bytes())
    start = (
        member.header_offset
        + 30
        + len(member.filename)
        + int.from_bytes(content[member.header_offset + 28 : member.header_offset + 30], "little")
    )
    content[start] = 0xFF  # DEFLATE has no such kind of block
    path.write_bytes(content)
    with pytest.raises(zlib.error), np.load(path) as archive:
        archive["obs"]
    assert "obs" in sentence(path)


@pytest.mark.parametrize(("place", "value"), [(8, 99), (6, 1)], ids=["unknown compression", "encrypted"])
def test_archive_unsupported_by_zipfile_is_rejected(counting_arrays, tmp_path, place, value):
    """Compression method and flags stand in each member's local header and, two bytes further, in the directory."""
    path = tmp_path / "odd.npz"
    np.savez(path, **counting_arrays)
    content = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        content[content.find(signature) + place + shift] = value
    path.write_bytes(content)
    sentence(path)


@pytest.fixture(scope="module")
def good() -> bytes:
    n = 6
    file = io.BytesIO()
    np.savez_compressed(
        file,
        obs=np.linspace(0, 1, 2 * n).reshape(n, 2),
        next_obs=np.linspace(1, 2, 2 * n).reshape(n, 2),
        act=np.arange(n) % 2,
        term=np.arange(n) == n - 1,
        trunc=np.zeros(n, bool),
        ep=np.zeros(n, np.int64),
    )
    return file.getvalue()


def loads_or_complains(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    text = ""
    try:
        Demos.load(path)
    except InputError as error:
        text = str(error)
    assert "\n" not in text
    assert not text or path.name in text


@SETTINGS
@given(data=st.data())
def test_corrupted_bytes_only_raise_input_error(good, tmp_path, data):
    content = bytearray(good)
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        content[place] = value
    loads_or_complains(tmp_path / "noise.npz", bytes(content))


@SETTINGS
@given(data=st.data())
def test_missing_bytes_only_raise_input_error(good, tmp_path, data):
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, len(good)))
    loads_or_complains(tmp_path / "hole.npz", good[:start] + good[stop:])


@SETTINGS
@given(header=st.binary(max_size=80) | st.text("{}()':, <f48descrshapefortran_orderTrue", max_size=90).map(str.encode))
def test_corrupted_header_only_raises_input_error(tmp_path, good, header):
    path = tmp_path / "header.npz"
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, npy(header, bytes(48)) if name == "act.npy" else source.read(name))
    loads_or_complains(path, path.read_bytes())


def test_damaged_and_hostile_files_are_read_or_refused_and_never_executed(tmp_path):
    """The short version of benchmarks/damage_demos.py."""
    trap = tmp_path / "sprung"
    damage_demos.write(tmp_path, 90, 0, trap, 0.005)
    sound, *_ = files = sorted(tmp_path.glob("*.npz"))
    same = Demos.load(sound).sha256()
    found = [(path.stem, damage_demos.outcome(path, same)) for path in files]
    assert {"refused", "read"} <= {result for _, result in found} <= {"refused", "read", "read, other data"}
    assert all("swapped" in name for name, result in found if result == "read, other data")
    assert not trap.exists()


@pytest.mark.parametrize("kind", ["bomb", "bomb whose directory lies", "long string", "long header", "many members"])
def test_small_hostile_file_is_rejected_with_little_memory(kind, tmp_path):
    """The bombs unpack to 20 MiB of zeros or less; the directory of one of them states a smaller size."""
    good = damage_demos.sound(True)
    for content in (content for name, content in damage_demos.large(good, tmp_path, 0.02) if name == kind):
        (tmp_path / "small.npz").write_bytes(content)
        tracemalloc.start()
        sentence(tmp_path / "small.npz")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * damage_demos.MIB


def test_unpacked_size_is_limited_and_the_limit_can_be_raised(counting_arrays, tmp_path, monkeypatch):
    path, wide = tmp_path / "wide.npz", np.zeros((15, 30_000), np.float32)
    np.savez_compressed(path, **{**counting_arrays, "obs": wide, "next_obs": wide})
    Demos.load(path)
    monkeypatch.setattr(npz, "ROOM", 0.001)
    assert "unpacks to 0.00335 GiB; expected at most 0.001, allow more with --max-demos-gib" in sentence(path)
    with pytest.raises(InputError, match=r"expected at most 0\.003,"):
        Demos.load(path, max_gib=0.003)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"max_gib \(--max-demos-gib\) is .*; expected a finite number above 0"):
            Demos.load(path, max_gib=wrong)
    assert Demos.load(path, max_gib=0.0034).obs.shape == (15, 30_000)
    monkeypatch.setattr(npz, "RATIO", 1_100)
    Demos.load(path)
