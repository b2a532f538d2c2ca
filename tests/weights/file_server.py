"""A server on this machine that hands out one file, and misbehaves as asked."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import threading
import time
from collections.abc import Iterator


@dataclasses.dataclass
class Behavior:
    """What the server does.

    Attributes:
        content: the file.
        etag: sent with it; "" for none.
        ranges: whether a part can be asked for.
        break_after: bytes after which an answer ends, one number an answer; then answers are whole.
        stall_after: bytes after which an answer says nothing more, one number an answer.
        claim: Content-Length as stated, where that is not the length; -1: none is stated.
        status: statuses of the first answers.
        redirect: where every request is sent.
        type: Content-Type.
        delay: seconds between blocks of 4 kB.
    """

    content: bytes = b""
    etag: str = '"1"'
    ranges: bool = True
    break_after: list[int] = dataclasses.field(default_factory=list)
    stall_after: list[int] = dataclasses.field(default_factory=list)
    claim: int | None = None
    status: list[int] = dataclasses.field(default_factory=list)
    redirect: str = ""
    type: str = "application/octet-stream"
    delay: float = 0.0


class FileServer:
    """The address of the file, what was asked for, and how the next answer goes."""

    def __init__(self, behavior: Behavior, port: int) -> None:
        self.behavior = behavior
        self.url = f"http://127.0.0.1:{port}/model.bin"
        self.requests: list[str] = []  # the range asked for, "" for the whole file
        self.tokens: list[str | None] = []  # sent with each request
        self.sent = 0


@contextlib.contextmanager
def serve(behavior: Behavior) -> Iterator[FileServer]:
    """A `FileServer` as long as the block runs."""
    stop = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Silent."""

        def do_GET(self) -> None:
            state.requests.append(self.headers.get("Range", ""))
            state.tokens.append(self.headers.get("Authorization"))
            self.close_connection = True
            if behavior.status:
                self.send_error(behavior.status.pop(0))
                return
            if behavior.redirect:
                self.send_response(302)
                self.send_header("Location", behavior.redirect)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()
                return
            content, begin = behavior.content, 0
            asked = self.headers.get("Range", "")
            if asked and behavior.ranges and self.headers.get("If-Range") in (None, behavior.etag):
                begin = int(asked.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.send_header("Connection", "close")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            if behavior.etag:
                self.send_header("ETag", behavior.etag)
            self.send_header("Content-Type", behavior.type)
            length = len(content) - begin if behavior.claim is None else behavior.claim
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()
            end = begin + behavior.break_after.pop(0) if behavior.break_after else len(content)
            stall = begin + behavior.stall_after.pop(0) if behavior.stall_after else None
            self._send(content[begin : min(end, stall) if stall is not None else end])
            if stall is not None:
                stop.wait(5)

        def _send(self, body: bytes) -> None:
            with contextlib.suppress(OSError):  # the client has gone
                for i in range(0, len(body), 4096):
                    self.wfile.write(body[i : i + 4096])
                    state.sent += len(body[i : i + 4096])
                    if behavior.delay:
                        time.sleep(behavior.delay)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = FileServer(behavior, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
