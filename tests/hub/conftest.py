"""A Hub on this machine that answers the requests to create, upload and download a repository."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

import iqlearn as iq

TOKEN = "hf_of_ada"
REFUSED = {
    "ada/gated": (403, {"X-Error-Code": "GatedRepo"}, "Access to this repository is restricted."),
    "ada/full": (402, {}, "Private storage limit reached."),
    "ada/broken": (500, {}, "Something went wrong."),
    "bob/other": (403, {}, "You don't have the rights to create a model under the namespace 'bob'."),
}
"""The answers of the Hub to every request about some repositories."""


class Hub(BaseHTTPRequestHandler):
    """Repositories as folders: every commit is a folder `files/USER/NAME/COMMIT`, the last one that of `main`."""

    def answer(self, content: object, status: int = 200, **headers: object) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, told: str, headers: dict[str, str]) -> None:
        self.answer({"error": told}, status, **{name.replace("-", "_"): text for name, text in headers.items()})

    def refused(self, repo: str) -> bool:
        if repo in REFUSED:
            status, headers, told = REFUSED[repo]
            self.refuse(status, told, headers)
        return repo in REFUSED

    def commits(self, repo: str) -> list[str]:
        return self.server.commits(repo)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return self.answer({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Invalid username or password.", {})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if self.refused(repo):
                return None
            there = (self.server.files / repo).is_dir()
            if not there:
                self.commit(repo, {}, "initial commit")
                if asked.get("private") or asked.get("visibility") == "private":  # depends on the version of the client
                    (self.server.files / repo / "private").touch()
            url = f"http://{self.headers['Host']}/{repo}"
            return self.answer({"url": url, "error": "You already created this model repo"}, 409 if there else 200)
        repo, verb = "/".join(parts[2:4]), parts[4]
        if verb == "preupload":
            files = json.loads(body)["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer({"files": [{"path": file["path"]} | how for file in files]})
        lines = [json.loads(line) for line in body.splitlines()]
        last = self.server.files / repo / self.commits(repo)[-1]
        kept = {path.relative_to(last).as_posix(): path.read_bytes() for path in last.rglob("*") if path.is_file()}
        for line in lines:
            if line["key"] == "deletedFile":
                del kept[line["value"]["path"]]
            elif line["key"] == "file":
                kept[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        oid = self.commit(repo, kept, lines[0]["value"]["summary"])
        return self.answer({"commitUrl": f"http://{self.headers['Host']}/{repo}/commit/{oid}", "commitOid": oid})

    def commit(self, repo: str, content: dict[str, bytes], message: str) -> str:
        log = self.commits(repo)
        oid = hashlib.sha1(f"{repo} {len(log)}".encode()).hexdigest()
        for name, data in {".gitattributes": b"", **content}.items():
            path = self.server.files / repo / oid / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (self.server.files / repo / "log").write_text(" ".join([*log, oid]))
        self.server.messages.append(message)
        return oid

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        of_api = parts[:2] == ["api", "models"]
        repo, rest = "/".join(parts[2:4] if of_api else parts[:2]), parts[4 if of_api else 2 :]
        if self.refused(repo):
            return None
        log = self.commits(repo)
        if not log:
            return self.refuse(401, "Invalid username or password.", {"X-Error-Code": "RepoNotFound"})
        revision = rest[1] if len(rest) > 1 else "main"
        oid = log[-1] if revision == "main" else revision
        folder = self.server.files / repo / oid
        if oid not in log:
            return self.refuse(404, f"Invalid rev id: {oid}", {"X-Error-Code": "RevisionNotFound"})
        if of_api and rest[:1] == ["tree"]:
            files = (path for path in folder.rglob("*") if path.is_file())
            found = [
                {"type": "file", "path": p.relative_to(folder).as_posix(), "size": p.stat().st_size, "oid": etag(p)}
                for p in files
            ]
            return self.answer(found)
        private = (self.server.files / repo / "private").is_file()
        if of_api:
            return self.answer({"id": repo, "sha": oid, "siblings": [], "tags": [], "private": private})
        path = folder.joinpath(*rest[2:])
        if not path.is_file():
            return self.refuse(404, "Entry not found", {"X-Error-Code": "EntryNotFound"})
        return self.answer(path.read_bytes(), X_Repo_Commit=oid, ETag=f'"{etag(path)}"', Accept_Ranges="bytes")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def commits(repo: Path) -> list[str]:
    """The commits of a repository, the first one first."""
    return (repo / "log").read_text().split() if (repo / "log").is_file() else []


def etag(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running Hub, which this process uses too.

    `.files` is where its repositories are, `.run(*arguments)` runs a command in a process of its own.
    """
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.messages = tmp_path / "hub", []
    server.commits = lambda repo: commits(server.files / repo)
    server.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    home = tmp_path / "home"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def run(*arguments: object, code: int = 0, **more: str) -> str:
        own = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_TOKEN": TOKEN}
        command = [sys.executable, "-m", "iqlearn", *map(str, arguments)]
        how = {"env": os.environ | own | more, "cwd": tmp_path, "timeout": 120, "encoding": "utf-8"}
        done = subprocess.run(command, capture_output=True, **how)
        assert done.returncode == code, done.stderr
        assert (done.stderr if code == 0 else done.stdout) == ""
        return done.stdout + done.stderr

    server.run = run
    yield server
    server.shutdown()
    server.server_close()


def short_run(file: Path, out: Path, **more) -> Path:
    settings = iq.IQLearn(network=iq.Network((8,)))
    how = {"env": "CartPole-v1", "steps": 6, "evaluations": 2, "eval_episodes": 2, "mode": "offline", "quiet": True}
    iq.learn(settings, iq.Demos.load(file).take(3), out=out, **how, **more)
    return out


@pytest.fixture(scope="session")
def trained(cartpole_file, tmp_path_factory):
    """The run folder of a short training; tests read it only."""
    return short_run(cartpole_file, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="session")
def two_seeds(cartpole_file, tmp_path_factory):
    """The folder of two short trainings; tests read it only."""
    return short_run(cartpole_file, tmp_path_factory.mktemp("runs") / "runs", seeds=range(2))
