import json

import pytest
from typer.testing import CliRunner

from mrcnn.cli import app
from tests.weights.file_server import Behavior, serve

CONTENT = b"weights" * 1000


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A loopback server with one row of published weights, `lab/net`, and an empty cache."""
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(tmp_path / "cache"))
    with serve(Behavior(CONTENT)) as server:
        rows = [{"name": "lab/net", "family": "lab", "url": server.url, "license": "CC0", "task": "masks"}]
        (tmp_path / "zoo.json").write_text(json.dumps(rows))
        monkeypatch.setenv("MRCNN_ZOO", str(tmp_path / "zoo.json"))
        yield server


def run(*args):
    return CliRunner().invoke(app, list(args))


def test_download_list_and_remove(lab, tmp_path):
    assert "nothing has been downloaded" in run("download", "--list").output
    result = run("download", "lab/net")
    assert result.exit_code == 0 and "license of these weights: CC0" in result.output
    [path] = (tmp_path / "cache").rglob("model.bin")
    assert path.read_bytes() == CONTENT and str(path) in result.output.replace("\n", "")
    assert run("download", "lab/net").exit_code == 0 and len(lab.requests) == 1
    listed = run("download", "--list").output
    assert "lab/net" in listed
    assert run("download", "lab/net", "--remove").exit_code == 0 and not path.exists()
    removed = run("download", "lab/net", "--remove")
    assert removed.exit_code == 2 and "has not been downloaded" in removed.output


def test_a_plain_address(lab, tmp_path):
    assert run("download", lab.url).exit_code == 0
    assert [path.read_bytes() for path in (tmp_path / "cache").rglob("model.bin")] == [CONTENT]


@pytest.mark.parametrize(
    "args, what",
    [
        ((), "give names to download, or --list"),
        (("lab/nets",), "nearest: lab/net"),
        (("http://example.com/a",), "only https"),
    ],
)
def test_bad_input_is_one_line(lab, args, what):
    result = run("download", *args) if args else run("download", "--remove")
    assert result.exit_code == 2 and what in result.output and len(result.output.splitlines()) == 1


def test_weights_list(lab):
    everything = run("weights", "--list").output
    assert "detectron2/mask_rcnn_r50_fpn_3x" in everything and "lab/net" in everything
    keypoints = run("weights", "--list", "--task", "keypoints").output
    assert "torchvision/keypointrcnn_resnet50_fpn" in keypoints and "mask_rcnn" not in keypoints
    free = run("weights", "--list", "--license", "cc0").output
    assert "lab/net" in free and "detectron2/" not in free
    assert run("weights", "--list", "--license", "none of these").exit_code == 2
    assert run("weights").exit_code == 2
