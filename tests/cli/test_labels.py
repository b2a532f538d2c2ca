from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import mrcnn
from mrcnn.cli import labels
from tests.cli.runner import DATA, NUCLEI, invoke, refused
from tests.tiny_model import tiny_model


@pytest.fixture
def tiny(monkeypatch):
    """What the commands then load, whatever --model says."""
    model = tiny_model()
    monkeypatch.setattr(labels, "load_for_inference", lambda *_: model)
    return model


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for file in sorted((NUCLEI / "images").glob("*.png")):
        shutil.copy(file, folder)
    return folder


def test_propose(tiny, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (images / "broken.png").write_bytes(b"no image")
    arguments = ["propose", "--model", "run", "--data", images, "--budget", "2", "--out", out]
    result = invoke(*arguments, "--save-as", "labelme", "--score", "0.1")
    assert result.exit_code == 0, result.output
    assert "random" in result.output and "farthest image" in result.output
    assert "broken.png" in result.stderr
    rows = list(csv.DictReader((out / "proposed.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2"] and set(rows[0]) == set(labels.PROPOSED_COLUMNS)
    names = {Path(row["file"]).stem for row in rows}
    assert {path.stem for path in (out / "labelme").glob("*.json")} == names
    assert invoke(*arguments).exit_code == 0  # what it wrote itself may be replaced
    (out / "proposed.csv").write_text("mine")
    assert "exists and was not written by mrcnn" in refused(*arguments)


def test_what_is_labeled_is_not_proposed(tiny, images: Path, tmp_path: Path) -> None:
    paths = sorted(images.glob("*.png"))
    table = json.loads(DATA.read_text())
    table["images"] = [image for image in table["images"] if image["file_name"] in {path.name for path in paths[:1]}]
    ids = {image["id"] for image in table["images"]}
    table["annotations"] = [a for a in table["annotations"] if a["image_id"] in ids]
    (tmp_path / "labeled.json").write_text(json.dumps(table))
    arguments = ["propose", "--model", "run", "--data", images, "--out", tmp_path / "out"]
    labeled = ["--labeled", tmp_path / "labeled.json", "--labeled-images", images]
    assert invoke(*arguments, *labeled).exit_code == 0
    (row,) = csv.DictReader((tmp_path / "out/proposed.csv").open())
    assert Path(row["file"]) == paths[1]
    paths[1].unlink()
    assert "every image there is labeled already" in refused(*arguments, *labeled)


def test_serve_labels(tiny, monkeypatch) -> None:
    answers = []

    def serve_forever(server: mrcnn.LabelServer) -> None:
        answers.append(server.answer("GET", "/health", None))
        raise KeyboardInterrupt

    monkeypatch.setattr("mrcnn.labeling.server.LabelServer.serve_forever", serve_forever)
    result = invoke("serve-labels", "--model", "run", "--port", "0")
    assert result.exit_code == 0 and "http://127.0.0.1:" in result.output and "thing, other" in result.output
    assert answers[0][1]["status"] == "UP"
    line = refused("serve-labels", "--model", "run", "--port", "0", "--files", "no/folder")
    assert "no/folder: expected the folder" in line


@pytest.mark.slow
def test_serve_labels_answers_as_a_process_of_its_own() -> None:
    run = Path(__file__).parents[2] / "samples/nuclei/run"
    command = [sys.executable, "-m", "mrcnn", "serve-labels", "--model", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        match = re.search(r"http://127.0.0.1:\d+", process.stdout.readline())
        assert match is not None
        assert requests.get(f"{match[0]}/health", timeout=10).json()["model_class"] == "MaskRCNN"
    finally:
        process.terminate()
        process.wait(20)
