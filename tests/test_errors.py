"""The error for a missing extra gives the pip command for the source that iqlearn was installed from."""

import json
from types import SimpleNamespace

import pytest

from iqlearn.errors import missing


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///home/a%20b/iqlearn", "dir_info": {"editable": True}}, "-e '/home/a b/iqlearn[wandb]'"),
        ({"url": "file:///home/iqlearn", "dir_info": {}}, "'/home/iqlearn[wandb]'"),
        ({"url": "https://host/it.git", "vcs_info": {"vcs": "git"}}, "'iqlearn[wandb] @ git+https://host/it.git'"),
        (None, "'iqlearn[wandb]'"),
    ],
)
def test_missing_extra_error_gives_the_pip_command_for_the_install_source(origin, command, monkeypatch):
    written = None if origin is None else json.dumps(origin)
    monkeypatch.setattr("iqlearn.errors.distribution", lambda _: SimpleNamespace(read_text=lambda _: written))
    assert str(missing("It", "wandb")) == f"It is not installed; install it with: pip install {command}."
