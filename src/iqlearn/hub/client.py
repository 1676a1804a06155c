"""Upload and download of runs with the client of the Hugging Face Hub. Each error is one sentence with a remedy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iqlearn import interrupts
from iqlearn.errors import InputError
from iqlearn.hub import published
from iqlearn.hub.card import check_names
from iqlearn.runs.folder import vacant
from iqlearn.runs.run import Run

LOG_IN = "log in with hf auth login, or set HF_TOKEN to a token from the settings of your account"


def push(
    folder: Path, repo: str, private: bool = False, message: str | None = None, licence: str | None = None
) -> tuple[str, list[str]]:
    """Publish a run folder, or the folder of several seeds, as one commit. The repository is made if it is new.

    Files in the repository with a published name that are not in the folder are deleted, such as those of earlier
    commits by this function. Other files are kept.

    Args:
        folder: the run folder.
        repo: USER/NAME.
        private: make a new repository private.
        message: the message of the commit.
        licence: identifier of the licence for the card.

    Returns:
        The URL of the commit, and the paths of the files.

    Raises:
        InputError: the folder is missing or damaged, `huggingface_hub` is not installed, the Hub refuses, or
            `private` is set and the repository exists and is public.
    """
    with tempfile.TemporaryDirectory() as made:
        found = published.compose(folder, Path(made), repo, licence)
        names = (*published.KEPT, published.REPORT)
        with asking(repo) as hub:
            api = hub.HfApi(library_name="iqlearn")
            api.create_repo(repo, private=private or None, exist_ok=True)
            seen = private and not api.model_info(repo).private
        if seen:
            raise InputError(f"{repo} is there and public, so --private has no effect; make it private on its page.")
        try:
            with asking(repo):
                commit = api.upload_folder(
                    repo_id=repo,
                    folder_path=made,
                    commit_message=message or "Publish a run of iqlearn",
                    delete_patterns=[pattern for name in names for pattern in (name, f"seed-*/{name}")],
                )
        except KeyboardInterrupt as stopped:
            raise KeyboardInterrupt(f"The commit is complete or was not made; look at the page of {repo}.") from stopped
    return str(commit.commit_url), found


def pull(repo: str, out: Path, revision: str | None = None, overwrite: bool = False) -> tuple[str, list[Run]]:
    """Download a published run. It is moved to `out` after every file has been checked. No module is imported.

    Args:
        repo: USER/NAME, or a folder with the published files.
        out: the folder to write.
        revision: a branch, tag or commit of the repository.
        overwrite: replace the run that is in `out`.

    Returns:
        The repository with its commit, or the folder that was read; and the runs.

    Raises:
        InputError: there is no such repository or revision, it holds no run or a damaged one, the Hub cannot be
            reached, or `out` is not empty (unless `overwrite`) or is the folder `repo` itself.
    """
    local = Path(repo).is_dir()
    if local:
        published.require_apart(Path(repo), out)
    vacant(out, overwrite)
    if local and revision is not None:
        raise InputError(f"--revision has no effect, because {repo} is a folder; leave it out.")
    with published.staging(out) as made:
        if local:
            published.copy(Path(repo), made)
        else:
            revision = fetch(repo, made, revision)
        try:
            runs = published.check(made)
        except InputError as error:
            told = str(error).replace(str(made), repo)
            raise InputError(f"{repo} holds no run that can be used: {told}") from error
        published.place(made, out, published.KEPT, overwrite)
    return repo if local else f"{repo} at revision {revision}", runs


def fetch(repo: str, into: Path, revision: str | None) -> str:
    """Download the files `published.KEPT` of a repository to a folder. Return the commit."""
    with asking(repo, revision) as hub:
        commit = str(hub.HfApi(library_name="iqlearn").model_info(repo, revision=revision).sha)
        patterns = [pattern for name in published.KEPT for pattern in (name, f"seed-*/{name}")]
        hub.snapshot_download(repo, revision=commit, local_dir=into, allow_patterns=patterns)
    return commit


@contextmanager
def asking(repo: str, revision: str | None = None) -> Iterator[Any]:
    """Yield the client of the Hub, for requests about a repository. A signal interrupts them.

    Raises:
        InputError: the client is not installed, the name of the repository is not valid, or a request failed.
    """
    check_names(repo)
    import huggingface_hub
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()
    logging.set_verbosity_error()
    try:
        with interrupts.Foreign():
            yield huggingface_hub
    except Exception as error:  # every error of the client becomes one sentence
        raise InputError(refusal(error, repo, revision)) from error


def refusal(error: Exception, repo: str, revision: str | None) -> str:
    """Return a sentence on the meaning of an error of the client, with a remedy."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    said = " ".join(str(getattr(error, "server_message", None) or error).split())[:300].rstrip(".")
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated; ask its owners for access on its page, then {LOG_IN}."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; expected a branch, tag or commit of it."
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"No repository {repo} on the Hub, or it is private; check the name, or {LOG_IN}."
    if status == 401:
        return f"The Hub does not know who you are ({said}); {LOG_IN}."
    if status == 403:
        return f"The Hub does not let you do this with {repo} ({said}); {LOG_IN}, of a user who may."
    if status is not None and status < 500:
        return f"The Hub refuses this for {repo}: {said}; what is on the Hub is as it was."
    if status is not None:
        return f"The Hub answered with an error ({said}); try again later."
    why = f"the Hub at {constants.ENDPOINT} cannot be reached ({type(error).__name__}: {said})"
    return f"{repo} was not transferred, {why}; check the network, HF_ENDPOINT, HF_HUB_OFFLINE and the disk."
