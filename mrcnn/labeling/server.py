"""A model behind Label Studio: an HTTP server that speaks the protocol of its ML backends.

`GET /health` says that it runs, `POST /setup` whether it can fill a project's label config, `POST /predict` what it
detects in the images of tasks; `POST /webhook` takes note of nothing, for it does not train. Requests are JSON of
`Content-Type: application/json`, which a page of another origin cannot send unasked. It listens on this machine alone
unless another address is given, and asks for nothing but the images of tasks.
"""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from mrcnn.errors import InputError, MrcnnError
from mrcnn.inference import SCORE_THRESHOLD, detect
from mrcnn.labeling.label_config import LabelConfig, read_label_config
from mrcnn.labeling.predictions import task_prediction
from mrcnn.labeling.task_images import MAX_BYTES, TaskImages
from mrcnn.text import printable

PORT = 9090
TOLERANCE = 1.0
_MODEL_CLASS = "MaskRCNN"
_IDLE = 60  # seconds that a connection may be silent
_MAX_TASKS = 1000
_log = logging.getLogger("mrcnn")

Answer = tuple[int, dict[str, Any]]


class LabelServer:
    """Serves a model's detections to Label Studio.

    Args:
        model: a `MaskRCNN`, or what `fold_batch_norm` made of one, or an export that was loaded.
        host: address to listen at; "127.0.0.1": this machine alone. There is no password: whoever reaches the port can
            have images detected in.
        port: 0: any that is free, see `url`.
        score_threshold: detections scored below are left out.
        files: the folder that Label Studio serves as local files, if it does; nothing outside it is read.
        label_studio_url: address of Label Studio, for images uploaded there.
        api_key: of a user of Label Studio, sent to that address only. None: that of the environment variable
            LABEL_STUDIO_API_KEY.
        tolerance: pixels by which polygons may leave the outlines of masks, to have fewer points.
        model_version: by which Label Studio tells predictions apart.
        max_bytes: largest image, and with it largest request.
        log: called with one line for each request; None: the package's log, at level "info".

    Raises:
        InputError: the port is taken, `files` is no folder, or the address none.

    Ref: the API of Label Studio's ML backends, as the label-studio-ml-backend project documents it.

    Example:
        >>> import threading
        >>> server = LabelServer(model, port=0)  # doctest: +SKIP
        >>> threading.Thread(target=server.serve_forever).start()  # doctest: +SKIP
        >>> requests.get(f"{server.url}/health").json()["status"]  # doctest: +SKIP
        'UP'
        >>> server.close()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        *,
        host: str = "127.0.0.1",
        port: int = PORT,
        score_threshold: float = SCORE_THRESHOLD,
        files: str | os.PathLike[str] | None = None,
        label_studio_url: str | None = None,
        api_key: str | None = None,
        tolerance: float = TOLERANCE,
        model_version: str = "mrcnn",
        max_bytes: int = MAX_BYTES,
        log: Callable[[str], None] | None = None,
    ) -> None:
        key = api_key if api_key is not None else os.environ.get("LABEL_STUDIO_API_KEY")
        folder = None if files is None else Path(files)
        self._images = TaskImages(folder, label_studio_url, key, max_bytes)
        self._model, self._score, self._tolerance = model, score_threshold, tolerance
        self._class_names = tuple(model.class_names)
        self._version = model_version
        self._max_request = max_bytes // 3 * 4 + 1_000_000  # an image in base64, and the rest
        self._log = log or _log.info
        self._one_at_a_time = threading.Lock()  # a batch uses all cores; more at once would only use more memory
        self._serving = threading.Event()
        try:
            self._server = _Server((host, port), self._handler())
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{host}:{port}: cannot be listened at ({reason}); choose another --port") from error

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def serve_forever(self) -> None:
        """Answer requests until `close` is called, or the process is interrupted."""
        self._serving.set()
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Stop answering and free the port."""
        if self._serving.is_set():
            self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> LabelServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, method: str, path: str, request: Any) -> Answer:
        """(HTTP status, JSON) for a request.

        Args:
            method: "GET" or "POST".
            path: without what comes after a question mark.
            request: the JSON of the body; None for GET.
        """
        routes: dict[tuple[str, str], Callable[[dict[str, Any]], dict[str, Any]]] = {
            ("GET", "/"): self._health,
            ("GET", "/health"): self._health,
            ("GET", "/versions"): lambda _: {"versions": [self._version]},
            ("POST", "/setup"): self._setup,
            ("POST", "/predict"): self._predict,
            ("POST", "/webhook"): lambda _: {"status": "ignored: this server does not train; run mrcnn train"},
        }
        path = path.rstrip("/") or "/"
        route = routes.get((method, path))
        if route is None:
            known = sorted({known for _, known in routes})
            if path in known:
                return HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{path}: {method} is not answered here"}
            return HTTPStatus.NOT_FOUND, {"error": f"{printable(path)[:100]}: expected one of {', '.join(known)}"}
        try:
            if request is not None and not isinstance(request, dict):
                raise InputError(f"the request is a {type(request).__name__}, expected a JSON object")
            return HTTPStatus.OK, route(request or {})
        except MrcnnError as error:
            return HTTPStatus.BAD_REQUEST, {"error": " ".join(printable(error, keep="\n").split())}

    def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"status": "UP", "model_class": _MODEL_CLASS, "model_version": self._version}

    def _setup(self, request: dict[str, Any]) -> dict[str, Any]:
        schema = _text(request, "schema")
        if schema.strip():  # a project that has no label config yet sends an empty one
            config = read_label_config(schema, self._class_names)
            left_out = [name for name in self._class_names if name not in config.labels]
            if left_out:
                self._log(f"no label for {', '.join(map(printable, left_out))}: left out of predictions")
        return {"model_version": self._version}

    def _predict(self, request: dict[str, Any]) -> dict[str, Any]:
        config = read_label_config(_text(request, "label_config"), self._class_names)
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or len(tasks) > _MAX_TASKS:
            raise InputError(f'"tasks" is {_shown(tasks)}, expected a list of up to {_MAX_TASKS}')
        results: list[Any] = []
        errors: list[MrcnnError] = []
        for number, task in enumerate(tasks):
            try:
                results.append(self._predict_task(number, task, config))
            except MrcnnError as error:
                self._log(f"task {number}: {printable(error)}")
                errors.append(error)
                results.append([])  # no prediction: one bad image costs the others nothing
        if tasks and len(errors) == len(tasks):
            raise errors[0]
        return {"results": results}

    def _predict_task(self, number: int, task: Any, config: LabelConfig) -> dict[str, Any]:
        data = task.get("data") if isinstance(task, dict) else None
        address = data.get(config.key) if isinstance(data, dict) else None
        if not isinstance(address, str) or not address:
            raise InputError(f"task {number}: data.{config.key} is {_shown(address)}, expected an image's address")
        pixels = self._images.read(address)
        with self._one_at_a_time:
            (instances,) = detect(self._model, pixels, score_threshold=self._score)
        return task_prediction(instances, self._class_names, config, self._version, self._tolerance)

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        served = self

        class Handler(_Handler):
            server_of = served

        return Handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would let two servers share a port


class _Handler(http.server.BaseHTTPRequestHandler):
    """HTTP: a body of a stated length that is not too long, JSON in and out."""

    server_of: LabelServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "mrcnn", ""
    timeout = _IDLE

    def do_GET(self) -> None:
        self._respond(*self.server_of.answer("GET", self._path(), None))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        limit = self.server_of._max_request
        if not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request states no Content-Length")
        elif int(length) > limit:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request of {length} bytes, at most {limit} are read")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
        else:
            self._answer_post(self.rfile.read(int(length)))

    def _answer_post(self, body: bytes) -> None:
        try:
            request = json.loads(body) if body else {}
        except (ValueError, RecursionError) as error:
            self._respond(HTTPStatus.BAD_REQUEST, {"error": f"the request is not JSON ({type(error).__name__})"})
            return
        try:
            answer = self.server_of.answer("POST", self._path(), request)
        except Exception as error:  # a fault of the program: its traceback is for who runs the server
            _log.exception("%s failed", self._path())
            answer = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": f"{type(error).__name__}, see the server's log"}
        self._respond(*answer)

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _refuse(self, status: int, error: str) -> None:
        self.close_connection = True  # the body is not read
        self._respond(status, {"error": error})

    def _respond(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        error = f": {content['error']}" if "error" in content else ""
        self.server_of._log(f"{self.command} {printable(self._path())[:100]} {int(status)}{error}")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing beside the line of `_respond`."""


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise InputError(f'"{key}" is {_shown(value)}, expected the XML of the label config')
    return value


def _shown(value: Any) -> str:
    text = printable(json.dumps(value))
    return text if len(text) < 100 else f"{text[:97]}..."
