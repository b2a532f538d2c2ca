from __future__ import annotations

import base64
import io
import socket
import threading

import numpy as np
import pytest
import requests
from PIL import Image

from mrcnn.errors import InputError
from mrcnn.labeling.server import LabelServer
from tests.blob_finder import BlobFinder, image

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="box" toName="image"><Label value="Red"/><Label value="Green"/></RectangleLabels></View>"""


def embedded(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def server(lines):
    with LabelServer(BlobFinder(), port=0, score_threshold=0.2, log=lines.append, max_bytes=100_000) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
    thread.join(5)
    assert not thread.is_alive()


def post(server: LabelServer, path: str, content: object) -> requests.Response:
    return requests.post(server.url + path, json=content, timeout=60)


def test_health_and_setup(server: LabelServer, lines: list[str]) -> None:
    for path in ("/", "/health", "/health/"):
        assert requests.get(server.url + path, timeout=5).json()["status"] == "UP"
    assert requests.get(f"{server.url}/versions", timeout=5).json() == {"versions": ["mrcnn"]}
    setup = post(server, "/setup", {"project": "1.5", "schema": CONFIG, "extra_params": {}})
    assert setup.status_code == 200 and setup.json() == {"model_version": "mrcnn"}
    assert "no label for blue: left out of predictions" in lines
    assert post(server, "/setup", {"project": "1.5", "schema": ""}).status_code == 200
    assert "ignored" in post(server, "/webhook", {"action": "ANNOTATION_CREATED"}).json()["status"]


def test_predictions(server: LabelServer) -> None:
    tasks = [
        {"id": 7, "data": {"image": embedded(image(64, 128, (0, 16, 32, 48, 96), (2, 0, 0, 8, 8)))}},
        {"id": 8, "data": {"image": embedded(image(64, 128))}},
    ]
    answer = post(server, "/predict", {"tasks": tasks, "label_config": CONFIG, "project": "1.5", "params": {}})
    first, second = answer.json()["results"]
    (region,) = first["result"]
    assert region["value"]["rectanglelabels"] == ["Red"] and region["score"] == pytest.approx(0.9)
    value = region["value"]
    assert [value[key] for key in ("x", "y", "width", "height")] == pytest.approx([25, 25, 50, 50], abs=1)
    assert second == {"model_version": "mrcnn", "result": []}


def test_one_bad_image_costs_the_others_nothing(server: LabelServer, lines: list[str]) -> None:
    tasks = [{"data": {"image": address}} for address in ("data:x", embedded(image(64, 128)))]
    answer = post(server, "/predict", {"tasks": tasks, "label_config": CONFIG})
    assert answer.json()["results"] == [[], {"model_version": "mrcnn", "result": []}]
    assert any(line.startswith("task 0: data:x: expected") for line in lines)


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "expected a JSON object"),
        ({"tasks": []}, '"label_config" is null'),
        ({"label_config": CONFIG}, '"tasks" is null'),
        ({"label_config": CONFIG, "tasks": [3]}, "task 0: data.image is null"),
        ({"label_config": CONFIG, "tasks": [{"data": {"image": "data:x"}}]}, "expected data:image"),
        ({"label_config": CONFIG, "tasks": [{"data": {"image": "/data/upload/a.png"}}]}, "label-studio-url"),
        ({"label_config": CONFIG.replace("Red", "a").replace("Green", "b"), "tasks": []}, "its labels are a, b"),
        ({"label_config": "<View", "tasks": []}, "not valid XML"),
    ],
)
def test_a_bad_request_gets_one_sentence(server: LabelServer, content: object, message: str) -> None:
    answer = post(server, "/predict", content)
    assert answer.status_code == 400
    assert message in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_other_requests(server: LabelServer) -> None:
    assert requests.get(f"{server.url}/etc/passwd", timeout=5).status_code == 404
    assert requests.get(f"{server.url}/predict", timeout=5).status_code == 405
    form = requests.post(f"{server.url}/predict", data="{}", headers={"Content-Type": "text/plain"}, timeout=5)
    assert form.status_code == 415  # what a page of another origin may send unasked
    broken = requests.post(f"{server.url}/predict", data="{", headers={"Content-Type": "application/json"}, timeout=5)
    assert broken.status_code == 400 and "not JSON" in broken.json()["error"]
    large = requests.post(f"{server.url}/predict", json={"a": "x" * 2_000_000}, timeout=5)
    assert large.status_code == 413


def test_a_request_without_length(server: LabelServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 411 ")


def test_a_fault_of_the_program_is_no_bad_request(server: LabelServer, monkeypatch) -> None:
    monkeypatch.setattr("mrcnn.labeling.server.detect", lambda *_, **__: 1 / 0)
    task = {"data": {"image": embedded(image(8, 8))}}
    answer = post(server, "/predict", {"tasks": [task], "label_config": CONFIG})
    assert answer.status_code == 500 and answer.json()["error"].startswith("ZeroDivisionError")


def test_a_port_that_is_taken(server: LabelServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(InputError, match=f"{port}: cannot be listened at"):
        LabelServer(BlobFinder(), port=port)
