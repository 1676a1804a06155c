"""Run folders: how a folder is claimed, and what is in it."""

import pytest

from iqlearn.errors import InputError
from iqlearn.files import write_json
from iqlearn.runs import folder


def test_claim_takes_an_empty_folder(tmp_path):
    folder.claim(tmp_path, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    folder.claim(tmp_path, overwrite=False, seeds=("seed-0", "seed-1"))
    assert [path.name for path in tmp_path.iterdir()] == [folder.MANIFEST]


NOTHING_LEARNT: dict[str, tuple[str, ...]] = {
    "a lock": (".lock",),
    "a file that was being written": (".lock", "manifest.json.0123.partial"),
    "a run before its first checkpoint": (".lock", "manifest.json", "config.json"),
    "seeds before their first checkpoints": (".lock", "manifest.json", "seed-0/.lock", "seed-0/config.json"),
}


@pytest.mark.parametrize("names", NOTHING_LEARNT.values(), ids=NOTHING_LEARNT)
def test_claim_takes_a_folder_whose_run_has_no_checkpoint_yet(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder.claim(tmp_path, overwrite=False)


@pytest.mark.parametrize(
    "name", ["notes.txt", "model.safetensors", "seed-0/checkpoint.safetensors", "seed-0/x", "seed-1"]
)
def test_claim_refuses_a_folder_with_foreign_files_or_a_checkpoint(tmp_path, name):
    (tmp_path / "seed-0").mkdir()
    for there in (".lock", "seed-0/.lock", "config.json", name):
        (tmp_path / there).touch()
    with pytest.raises(InputError, match=r"not empty.*--out.*--overwrite"):
        folder.claim(tmp_path, overwrite=False)


@pytest.mark.parametrize("name", [folder.CONFIG, folder.CHECKPOINT, "notes.txt", ".hidden"])
def test_claim_refuses_a_nonempty_folder(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=r"not empty.*--out.*--overwrite"):
        folder.claim(tmp_path, overwrite=False)
    assert (tmp_path / name).read_text() == "mine"


def test_claim_with_overwrite_removes_the_run_and_nothing_else(tmp_path):
    names = "CONFIG", "METRICS", "RESULT", "MODEL", "LAST", "CHECKPOINT", "PREVIOUS", "CURVES", "MANIFEST"
    for name in [*(getattr(folder, name) for name in names), "notes.txt"]:
        (tmp_path / name).write_text("old")
    (tmp_path / "folder").mkdir()
    folder.claim(tmp_path, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "notes.txt"]


def test_claim_with_overwrite_removes_the_runs_of_seeds_too(tmp_path):
    for seed in ("seed-0", "seed-2"):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / folder.CONFIG).write_text("old")
    (tmp_path / "seed-2" / "notes.txt").write_text("mine")
    folder.claim(tmp_path, overwrite=True)
    assert folder.seeds_in(tmp_path) == []
    assert (tmp_path / "seed-2" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_claim_refuses_a_file(tmp_path, overwrite):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        folder.claim(tmp_path / "out", overwrite)
    assert (tmp_path / "out").read_text() == "mine"


def test_claim_with_overwrite_removes_reward_files(tmp_path):
    left = [tmp_path / name for name in ("reward.json", "reward.png", "reward-state.safetensors")]
    for path in left:
        path.write_text("old")
    folder.claim(tmp_path, overwrite=True)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("status", ["running", "interrupted", "stopped", "failed", "completed", "diverged", None])
def test_claim_suggests_resume_for_an_unfinished_run_with_a_checkpoint(tmp_path, status):
    (tmp_path / folder.RESULT).write_text("{" if status is None else f'{{"status": "{status}"}}')
    with pytest.raises(InputError, match=r"not empty; choose") as caught:  # there is nothing to resume from
        folder.claim(tmp_path, overwrite=False)
    (tmp_path / folder.CHECKPOINT).touch()
    with pytest.raises(InputError, match="not empty") as caught:
        folder.claim(tmp_path, overwrite=False)
    assert (f"iqlearn resume {tmp_path}" in str(caught.value)) == (
        status in ("running", "interrupted", "stopped", "failed")
    )


def test_claim_suggests_resume_if_one_of_several_seeds_is_unfinished(tmp_path):
    for seed, status in (("seed-0", "completed"), ("seed-1", "running")):
        (tmp_path / seed).mkdir()
        (tmp_path / seed / folder.CONFIG).write_text("{}")
        (tmp_path / seed / folder.RESULT).write_text(f'{{"status": "{status}"}}')
        (tmp_path / seed / folder.CHECKPOINT).touch()
    with pytest.raises(InputError, match=f"iqlearn resume {tmp_path}, "):
        folder.claim(tmp_path, overwrite=False)


def test_claim_rejects_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file/out cannot be written \(Not a directory\); expected a folder.*--out"):
        folder.claim(tmp_path / "file" / "out", overwrite=False)


def test_fresh_returns_an_unused_folder_name(tmp_path):
    for name in ("run", "run-2"):
        assert folder.fresh(tmp_path, "run").name == name
        (tmp_path / name).mkdir()
    assert folder.fresh(tmp_path, "run").name == "run-3"


def test_runs_in_returns_the_run_itself_or_its_seeds_in_order(tmp_path):
    for seed in (10, 2, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        write_json(tmp_path / f"seed-{seed}" / folder.CONFIG, {})
    assert [part.name for part in folder.runs_in(tmp_path)] == ["seed-1", "seed-2", "seed-10"]
    assert folder.runs_in(tmp_path / "seed-2") == [tmp_path / "seed-2"]
    with pytest.raises(InputError, match=r"No config\.json in"):
        folder.runs_in(tmp_path / "nowhere")


def test_missing_seed_folder_is_reported(tmp_path):
    """Otherwise the mean over the seeds would change silently."""
    folder.claim(tmp_path, overwrite=False, seeds=("seed-1", "seed-2"))
    for seed in (1, 2, 3):
        (tmp_path / f"seed-{seed}").mkdir()
        write_json(tmp_path / f"seed-{seed}" / folder.CONFIG, {})
    assert [part.name for part in folder.runs_in(tmp_path)] == ["seed-1", "seed-2"]
    (tmp_path / "seed-2" / folder.CONFIG).unlink()
    with pytest.raises(InputError, match=r"No run in .*seed-2; expected one of each seed that .*manifest\.json lists"):
        folder.runs_in(tmp_path)
    (tmp_path / folder.MANIFEST).write_text("{}")
    with pytest.warns(UserWarning, match=r"manifest\.json is damaged; going on with the 2 seeds there"):
        assert [part.name for part in folder.runs_in(tmp_path)] == ["seed-1", "seed-3"]


def test_vacant_does_not_create_the_folder(tmp_path):
    folder.vacant(tmp_path / "new", overwrite=False)
    assert list(tmp_path.iterdir()) == []
