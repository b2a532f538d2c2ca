"""A real Label Studio on this machine: `make label-studio`, or LABEL_STUDIO=its/command and `pytest -m slow`."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests

import mrcnn
from mrcnn.data.formats.brush import decode_brush
from mrcnn.data.polygons import draw_polygons
from tests.tiny_model import noise_images, tiny_model

COMMAND = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMMAND is None, reason="no label-studio here: make label-studio installs it in its own folder"),
]
USER = {"email": "a@example.com", "password": "secret-123"}
PATIENCE = float(os.environ.get("LABEL_STUDIO_SECONDS", "300"))
CONFIG = """<View><Image name="photo" value="$image"/>
<{0} name="shape" toName="photo"><Label value="thing"/><Label value="other"/></{0}></View>"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """A user of Label Studio: a session, a personal access token, and requests with it."""

    def __init__(self, url: str) -> None:
        self.url, session = url, requests.Session()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', session.get(f"{url}/user/login/").text)
        assert token is not None
        form = {**USER, "csrfmiddlewaretoken": token[1]}
        assert session.post(f"{url}/user/login/", form, headers={"Referer": url}).ok
        headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": url}
        answer = session.post(f"{url}/api/token/", json={}, headers=headers)
        assert answer.status_code == 201, answer.text
        self.key = answer.json()["token"]

    def call(self, method: str, path: str, **arguments) -> requests.Response:
        access = requests.post(f"{self.url}/api/token/refresh/", json={"refresh": self.key}).json()["access"]
        headers = {"Authorization": f"Bearer {access}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=PATIENCE, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("label_studio"), free_port()
    quiet = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
    url = f"http://127.0.0.1:{port}"
    arguments = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    arguments += ["--username", USER["email"], "--password", USER["password"]]
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            [str(COMMAND), *arguments],
            env={**os.environ, **quiet, "LABEL_STUDIO_BASE_DATA_DIR": str(folder), "PYTHONPATH": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            assert time.monotonic() < end, f"Label Studio does not answer after {PATIENCE} s"
            try:
                if requests.get(f"{url}/health", timeout=5).ok:
                    break
            except requests.RequestException:
                time.sleep(1)
        yield Client(url)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("tag", ["PolygonLabels", "BrushLabels"])
def test_predictions_come_back_through_its_export(client: Client, tmp_path: Path, tag: str) -> None:
    """A project made by the API, two images uploaded, predictions asked for, exported and compared with `detect`."""
    model, pixels = tiny_model(), noise_images(2, seed=3, sides=(90, 130))
    project = client.call("POST", "/api/projects", json={"title": tag, "label_config": CONFIG.format(tag)}).json()["id"]
    for number, image in enumerate(pixels):
        mrcnn.save_image(tmp_path / f"{number}.png", image)
        with open(tmp_path / f"{number}.png", "rb") as file:
            client.call("POST", f"/api/projects/{project}/import", files={"file": file})
    server = mrcnn.LabelServer(
        model, port=0, label_studio_url=client.url, api_key=client.key, score_threshold=0.3, tolerance=0
    )
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client.call("POST", "/api/ml", json={"project": project, "url": server.url, "title": "mrcnn"})
        ids = [task["id"] for task in client.call("GET", f"/api/tasks?project={project}").json()["tasks"]]
        action = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        client.call("POST", action, json={"selectedItems": {"all": False, "included": ids}})
    export = f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
    tasks = {re.sub(r".*-(\d)\.png", r"\1", task["data"]["image"]): task for task in client.call("GET", export).json()}
    assert sorted(tasks) == ["0", "1"]
    for number, image in enumerate(pixels):
        (expected,) = mrcnn.detect(model, image, score_threshold=0.3)
        predictions = tasks[str(number)].get("predictions") or []
        if not predictions or isinstance(predictions[0], int):  # the export may name them only
            predictions = client.call("GET", f"/api/predictions?task={tasks[str(number)]['id']}").json()
        (prediction,) = predictions
        assert prediction["model_version"] == "mrcnn" and len(prediction["result"]) == len(expected) > 0
        for region, mask, score in zip(prediction["result"], expected.masks, expected.scores, strict=True):
            assert region["score"] == pytest.approx(score, abs=1e-6)
            same = (pixels_of(region, image.shape[:2]) == mask).mean()
            assert same == 1 if tag == "BrushLabels" else same > 0.99  # percentages are rounded


def pixels_of(region: dict, shape: tuple[int, int]) -> np.ndarray:
    value, (height, width) = region["value"], shape
    assert (region["original_height"], region["original_width"]) == shape
    if region["type"] == "brushlabels":
        return decode_brush(bytes(value["rle"]), 4 * height * width).reshape(height, width, 4)[..., 3] > 0
    loop = np.array(value["points"]) / 100 * (width, height)
    return draw_polygons([loop], height, width) > 0
