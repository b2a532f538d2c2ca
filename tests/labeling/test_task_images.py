from __future__ import annotations

import base64
import http.server
import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn.errors import MrcnnError
from mrcnn.labeling.task_images import TaskImages

PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


class Tool(http.server.BaseHTTPRequestHandler):
    """A stand-in for Label Studio: uploads for those who have a key, and a way to another host."""

    keys: tuple[str, ...] = ()
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - of the test

    def do_GET(self) -> None:
        key = self.headers.get("Authorization")
        self.seen.append((self.path, key))
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/open/a.png")
            self.end_headers()
            return
        allowed = self.path.startswith("/open") or key in self.keys
        body = png() if self.path.endswith(".png") else b"x" * 5000
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(body if allowed else b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body["refresh"]))
        good = body["refresh"] == "a.b.c"
        self.send_response(200 if good else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"access": "fresh"} if good else {}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tool():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tool)
    Tool.seen.clear()
    Tool.keys = ("Token secret", "Bearer fresh")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_embedded_images() -> None:
    address = "data:image/png;base64," + base64.b64encode(png()).decode()
    assert (TaskImages().read(address) == PIXELS).all()
    for bad in ("data:image/png,xx", "data:image/png;base64,@@", "data:image/png;base64,AAAA"):
        with pytest.raises(MrcnnError, match="data:image/png"):
            TaskImages().read(bad)
    with pytest.raises(MrcnnError, match="more than 10 bytes"):
        TaskImages(max_bytes=10).read(address)
    with pytest.raises(MrcnnError, match="pixels"):
        TaskImages(max_pixels=20).read(address)


def test_local_files(tmp_path: Path) -> None:
    root = tmp_path / "served"
    (root / "sub").mkdir(parents=True)
    for path in (root / "sub/a b.png", tmp_path / "secret.png"):
        path.write_bytes(png())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    images = TaskImages(files=root)
    for name in ("sub/a%20b.png", "/sub/a+b.png"):
        assert (images.read(f"/data/local-files/?d={name}") == PIXELS).all()
    for name in ("../secret.png", "/../secret.png", str(tmp_path / "secret.png"), "link.png", "..%2Fsecret.png"):
        with pytest.raises(MrcnnError, match=r"leads out of the folder|no such image"):
            images.read(f"/data/local-files/?d={name}")
    for name, message in (
        ("none.png", "no such image"),
        ("sub", "found a folder"),
        ("a%00.png", "cannot be"),
    ):
        with pytest.raises(MrcnnError, match=message):
            images.read(f"/data/local-files/?d={name}")
    with pytest.raises(MrcnnError, match=r"expected /data/local-files/\?d=PATH"):
        images.read("/data/local-files/")
    with pytest.raises(MrcnnError, match="more than 5 bytes"):
        TaskImages(files=root, max_bytes=5).read("/data/local-files/?d=sub/a%20b.png")
    with pytest.raises(MrcnnError, match="label-studio-url"):
        TaskImages().read("/data/local-files/?d=a.png")
    with pytest.raises(MrcnnError, match="expected the folder"):
        TaskImages(files=root / "none")


@pytest.mark.parametrize("key", ["secret", "a.b.c"])
def test_uploads_with_a_key(tool: str, key: str) -> None:
    images = TaskImages(url=tool, api_key=key)
    assert (images.read("/data/upload/1/a.png") == PIXELS).all()
    assert (images.read(f"{tool}/data/upload/1/a.png") == PIXELS).all()
    with pytest.raises(MrcnnError, match="HTTP 401; is LABEL_STUDIO_API_KEY right"):
        TaskImages(url=tool, api_key="wrong").read("/data/upload/1/a.png")
    with pytest.raises(MrcnnError, match=r"does not take the API key \(HTTP 401\)"):
        TaskImages(url=tool, api_key="x.y.z").read("/data/upload/1/a.png")
    assert "secret" not in repr(images)


def test_the_key_stays_with_label_studio(tool: str) -> None:
    other = tool.replace("127.0.0.1", "localhost")
    images = TaskImages(url=tool, api_key="secret")
    assert (images.read(f"{other}/open/a.png") == PIXELS).all()
    assert (images.read("/away") == PIXELS).all()
    assert Tool.seen == [("/open/a.png", None), ("/away", "Token secret"), ("/open/a.png", None)]


def test_limits_and_other_addresses(tool: str) -> None:
    with pytest.raises(MrcnnError, match="more than 4000 bytes"):
        TaskImages(max_bytes=4000).read(f"{tool}/open/large")
    with pytest.raises(MrcnnError, match="not an image"):
        TaskImages().read(f"{tool}/open/large?token=secret")
    for address in ("s3://bucket/a.png", "file:///etc/passwd", "a.png", "ram://a.png"):
        with pytest.raises(MrcnnError, match=r"expected data:, http:, https:"):
            TaskImages(url=tool).read(address)
    for address in ("http://127.0.0.1:1/a.png", "http://[::1", "http://"):
        with pytest.raises(MrcnnError, match=r"cannot be fetched|not an address"):
            TaskImages(url=tool).read(address)
    with pytest.raises(MrcnnError, match=r"expected the address of Label Studio"):
        TaskImages(url="localhost:8080")
