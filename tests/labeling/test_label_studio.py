"""`mrcnn serve-labels` behind a real Label Studio on this machine, from its own environment (see `EXECUTABLE`)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import numpy as np
import pytest
import requests
from PIL import Image

import mrcnn
from mrcnn.labeling.server import LabelServer
from tests.blob_finder import BlobFinder, image

# Its dependencies fit few others: python -m venv studio && studio/bin/pip install label-studio
EXECUTABLE = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        EXECUTABLE is None, reason="Label Studio is not installed: its command is neither LABEL_STUDIO nor on the path"
    ),
]

USER, PASSWORD, KEY = "a@example.org", "not-a-secret", "0123456789abcdef" * 2 + "01234567"
CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="outline" toName="image"><Label value="Red"/><Label value="Green"/></PolygonLabels>
<BrushLabels name="brush" toName="image"><Label value="blue"/></BrushLabels></View>"""
IMAGES = {
    "three.png": image(64, 128, (0, 16, 32, 48, 96), (1, 2, 6, 12, 26), (2, 50, 100, 60, 121)),
    "one.png": image(128, 96, (2, 10, 20, 90, 80)),
    "empty.png": image(40, 50),
}


class Studio(requests.Session):
    """Label Studio's API, of its first user."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.trust_env = url, False
        self.headers["Authorization"] = f"Token {KEY}"

    def ask(self, method: str, path: str, **content):
        answer = self.request(method, self.url + path, timeout=300, **content)
        assert answer.ok, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio")
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "USE_DEFAULT_BANNED_SUBNETS": "false",  # see docs/labeling.md
        "COLLECT_ANALYTICS": "0",
        "LATEST_VERSION_CHECK": "0",
    }
    arguments = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port), "--username", USER]
    arguments += ["--password", PASSWORD, "--user-token", KEY]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([EXECUTABLE, *arguments], env=environment, stdout=log, stderr=log)
        studio = Studio(f"http://127.0.0.1:{port}")
        try:
            end = time.monotonic() + 900  # it makes its database first
            while not _is_up(studio):
                assert process.poll() is None and time.monotonic() < end, (folder / "log.txt").read_text()[-3000:]
                time.sleep(1)
            yield studio
        finally:
            process.terminate()
            process.wait(60)


def _is_up(studio: Studio) -> bool:
    with contextlib.suppress(requests.RequestException):
        return studio.get(f"{studio.url}/health", timeout=60).ok
    return False


@pytest.fixture(scope="module", params=["access token", "personal access token"])
def server(studio, request):
    key = KEY if request.param == "access token" else studio.ask("POST", "/api/token/")["token"]
    options = {"label_studio_url": studio.url, "api_key": key, "tolerance": 0.0}
    with LabelServer(BlobFinder(), port=0, score_threshold=0.2, **options) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
    thread.join(5)


def test_a_project_is_pre_labeled_and_its_export_read_back(studio, server, tmp_path) -> None:
    project = studio.ask("POST", "/api/projects", json={"title": "blobs", "label_config": CONFIG})["id"]
    for name, pixels in IMAGES.items():
        Image.fromarray(pixels).save(tmp_path / name)
        file = io.BytesIO((tmp_path / name).read_bytes())
        studio.ask("POST", f"/api/projects/{project}/import", files={"file": (name, file, "image/png")})
    backend = studio.ask("POST", "/api/ml", json={"url": server.url, "project": project, "title": "mrcnn"})
    assert backend["state"] == "CO"  # connected

    everything = {"selectedItems": {"all": True, "excluded": []}}
    studio.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=everything)
    predictions = studio.ask("GET", f"/api/predictions?project={project}")
    assert len(predictions) == 3 and {prediction["model_version"] for prediction in predictions} == {"mrcnn"}
    kinds = sorted((entry["type"], round(entry["score"], 3)) for p in predictions for entry in p["result"])
    assert kinds == [("brushlabels", 0.3)] * 2 + [("polygonlabels", 0.6), ("polygonlabels", 0.9)]

    # Accepted as they are, exported and read: the masks of `detect`, to the pixel.
    studio.ask("POST", f"/api/dm/actions?id=predictions_to_annotations&project={project}", json=everything)
    exported = studio.ask("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    (tmp_path / "export.json").write_text(json.dumps(exported))
    dataset = mrcnn.load_dataset(tmp_path / "export.json", tmp_path)
    assert len(dataset) == 3
    for index in range(3):
        record = dataset.record(index)
        (name,) = (name for name in IMAGES if record.path.endswith(name))
        (expected,) = mrcnn.detect(BlobFinder(), IMAGES[name], score_threshold=0.2)
        read = dataset.instances(index)
        classes = [dataset.class_names[class_id - 1].lower() for class_id in read.class_ids]
        assert sorted(classes) == sorted(BlobFinder().class_names[i - 1] for i in expected.class_ids)
        for class_name, mask in zip(classes, read.masks, strict=True):
            (number,) = np.flatnonzero(expected.class_ids == BlobFinder().class_names.index(class_name) + 1)
            assert (mask == expected.masks[number]).all(), (name, class_name)


def test_a_task_is_pre_labeled_as_it_is_opened(studio, server, tmp_path) -> None:
    project = studio.ask("POST", "/api/projects", json={"title": "opened", "label_config": CONFIG})["id"]
    file = io.BytesIO()
    Image.fromarray(IMAGES["one.png"]).save(file, "PNG")
    studio.ask("POST", f"/api/projects/{project}/import", files={"file": ("one.png", file.getvalue(), "image/png")})
    studio.ask("POST", "/api/ml", json={"url": server.url, "project": project, "title": "mrcnn"})
    studio.ask("PATCH", f"/api/projects/{project}", json={"evaluate_predictions_automatically": True})
    (task,) = studio.ask("GET", f"/api/tasks?project={project}")["tasks"]
    opened = studio.ask("GET", f"/api/tasks/{task['id']}?project={project}")
    assert [entry["type"] for entry in opened["predictions"][0]["result"]] == ["brushlabels"]
