"""A server on this machine that answers as the Hugging Face Hub where `mrcnn.weights.hub` asks, for one user.

The forms are those of huggingface_hub's client: `model_info`, `hf_hub_url`, `create_repo`, `create_commit` with files
of LFS. Bytes are served, and misbehave, as those of `file_server`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.weights.file_server import Behavior, FileServer, serve


class Hub:
    """What it holds: the files of each commit of each repository, the newest commit last."""

    def __init__(self) -> None:
        self.url = ""
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.licenses: dict[str, str] = {}
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.served: dict[str, str] = {}  # sha256 -> address elsewhere that has the bytes, as the Hub's own storage
        self.lfs: dict[str, bytes] = {}
        self.status: int | None = None
        self.gated: set[str] = set()

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """A new commit with these files beside those of the one before."""
        commits = self.repos.setdefault(repo, {})
        content = {**(list(commits.values())[-1] if commits else {}), **files}
        name = hashlib.sha1(repr((repo, len(commits))).encode()).hexdigest()
        commits[name] = content
        return name


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".pth", ".png"))


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """A `Hub` as long as the block runs."""
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Silent."""

        def answer(self, content: object = b"", status: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def error(self, status: int, code: str) -> None:
            self.answer({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

        def begin(self) -> bytes:
            hub.requests.append(f"{self.command} {self.path.split('?')[0]}")
            hub.tokens.append(self.headers.get("Authorization"))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            self.begin()
            if hub.status is not None:
                self.answer(b"", hub.status)
            elif match := re.match(r"/api/models/([^/]+/[^/?]+)(?:/revision/([^/?]+))?", self.path):
                self.model_info(match[1], unquote(match[2] or "main"))
            elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]+)/([^?]+)", self.path):
                content = hub.repos[match[1]][match[2]][unquote(match[3])]
                digest = hashlib.sha256(content).hexdigest()
                if digest in hub.served:
                    self.answer(b"", 302, Location=hub.served[digest])
                else:
                    self.answer(content, ETag=f'"{digest}"')
            else:
                self.error(404, "EntryNotFound")

        def model_info(self, repo: str, revision: str) -> None:
            commits = hub.repos.get(repo)
            if repo in hub.gated:
                self.error(403, "GatedRepo")
            elif commits is None:
                self.error(401, "RepoNotFound")
            elif revision != "main" and revision not in commits:
                self.error(404, "RevisionNotFound")
            else:
                commit = list(commits)[-1] if revision == "main" else revision
                siblings = []
                for name, content in commits[commit].items():
                    sha256 = hashlib.sha256(content).hexdigest()
                    lfs = {"lfs": {"sha256": sha256, "size": len(content), "pointerSize": 130}} if is_lfs(name) else {}
                    siblings.append({"rfilename": name, "size": len(content), "blobId": "0" * 40, **lfs})
                card = {"cardData": {"license": hub.licenses[repo]}} if repo in hub.licenses else {}
                self.answer({"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": [], **card})

        def do_PUT(self) -> None:
            body = self.begin()
            hub.lfs[hashlib.sha256(body).hexdigest()] = body
            self.answer()

        def do_POST(self) -> None:
            body = self.begin()
            if hub.status is not None:
                self.answer(b"", hub.status)
            elif self.headers.get("Authorization") is None:
                self.error(401, "Unauthorized")
            elif self.path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif self.path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked.get('organization') or 'lab'}/{asked['name']}"
                exists = repo in hub.repos
                hub.repos.setdefault(repo, {})
                self.answer({"url": f"{hub.url}/{repo}", "name": repo, "id": repo}, 409 if exists else 200)
            elif "/preupload/" in self.path:
                files = [
                    {"path": f["path"], "uploadMode": "lfs" if is_lfs(f["path"]) else "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                self.answer({"files": files})
            elif self.path.endswith(".git/info/lfs/objects/batch"):
                objects = [
                    {**item, "actions": {"upload": {"href": f"{hub.url}/lfs/{item['oid']}"}}}
                    for item in json.loads(body)["objects"]
                ]
                self.answer({"objects": objects, "transfer": "basic"})
            elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
                self.take(match[1], [json.loads(line) for line in body.splitlines()])
            else:
                self.error(404, "EntryNotFound")

        def take(self, repo: str, lines: list[dict]) -> None:
            files = {}
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.lfs[value["oid"]]
            name = hub.commit(repo, files)
            self.answer({"success": True, "commitOid": name, "commitUrl": f"{hub.url}/{repo}/commit/{name}"})

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub that `hf://` leads to, with an empty cache and a user who has a token."""
    folder = tmp_path_factory.mktemp("hub")
    with serve_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_HOME", str(folder / "hf"))
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        with contextlib.suppress(ImportError):  # not installed: its tests are skipped
            from huggingface_hub import constants

            monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another protocol, by a compiled program
        monkeypatch.setenv("MRCNN_CACHE_DIR", str(folder / "cache"))
        monkeypatch.delenv("MRCNN_OFFLINE", raising=False)
        yield running


@contextlib.contextmanager
def stored_elsewhere(hub: Hub, content: bytes, behavior: Behavior) -> Iterator[FileServer]:
    """The bytes of a file come from another server, to which the Hub redirects, as it does for large files."""
    with serve(behavior) as server:
        hub.served[hashlib.sha256(content).hexdigest()] = server.url
        yield server
