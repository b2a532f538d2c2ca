import hashlib
import json
import re

import keras
import pytest

from mrcnn.errors import MrcnnError
from mrcnn.recipes import named
from mrcnn.weights.zoo import Checksum, ZooError, find_entry, is_name, published_weights, recognize

ROW = {
    "name": "lab/cells",
    "url": "http://127.0.0.1/cells.safetensors",
    "sha256": hashlib.sha256(b"cells").hexdigest(),
    "size": 5,
    "license": "CC0",
    "family": "mrcnn",
}


def table(tmp_path, monkeypatch, rows):
    path = tmp_path / "zoo.json"
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    monkeypatch.setenv("MRCNN_ZOO", str(path))
    return path


def test_every_row_is_whole():
    entries = published_weights()
    assert len(entries) == 244
    for name, entry in entries.items():
        assert name == entry.name and name.startswith(f"{entry.family}/")
        assert entry.url.startswith("https://") and entry.license
        assert entry.task in ("masks", "keypoints", "boxes", "backbone")
        assert not entry.recipe or entry.recipe in named()
        assert set(entry.ap) <= {"box", "box_50", "mask", "keypoints"} or set(entry.ap) == {"top_1"}


def test_checksums_are_those_of_the_file_names():
    for entry in published_weights().values():
        if entry.family == "torchvision":
            assert entry.checksum == Checksum("sha256", entry.url.removesuffix(".pth").rsplit("-", 1)[1])
        if entry.family == "mmdetection":
            assert entry.checksum == Checksum("sha256", entry.url.removesuffix(".pth").rsplit("-", 1)[1])
        if entry.family == "detectron2" and "model_final_" in entry.url:
            assert entry.checksum == Checksum("md5", entry.url.removesuffix(".pkl").rsplit("_", 1)[1])


def test_networks_of_keras_are_named_as_keras_names_them():
    own = [entry for entry in published_weights().values() if entry.family == "keras"]
    assert {"ConvNeXtTiny", "EfficientNetV2S", "MobileNetV3Large", "ResNet50V2"} <= {entry.label for entry in own}
    for entry in own:
        assert callable(getattr(keras.applications, entry.label)) and entry.checksum.is_whole()
        assert entry.task == "backbone" and re.search(r"no_?top", entry.filename)
    assert find_entry("keras/convnext_tiny").checksum.algorithm == "sha256"
    assert find_entry("keras/efficientnetv2_s").filename == "efficientnetv2-s_notop.h5"


def test_published_numbers_by_hand():
    entry = find_entry("detectron2/mask_rcnn_r50_fpn_3x")
    assert entry.ap == {"box": 41.0, "mask": 37.2} and entry.id == "137849600"
    assert entry.filename == "model_final_f10217.pkl"
    assert find_entry("torchvision/keypointrcnn_resnet50_fpn").ap == {"box": 54.6, "keypoints": 65.0}
    assert find_entry("torchvision/resnet50_v2").ap == {"top_1": 80.858}


@pytest.mark.parametrize(
    "name, suggested",
    [
        ("detectron2/mask_rcnn_r50_fpn_4x", "detectron2/mask_rcnn_r50_fpn_3x"),
        ("maskrcnn_resnet50_fpn", "torchvision/maskrcnn_resnet50_fpn"),
        ("detectron/mask_rcnn_r101_fpn_3x", "detectron2/mask_rcnn_r101_fpn_3x"),
    ],
)
def test_an_unknown_name_suggests_three(name, suggested):
    with pytest.raises(ZooError, match="nearest") as error:
        find_entry(name)
    listed = str(error.value).split("nearest: ")[1].split(" (")[0].split(", ")
    assert suggested in listed and len(listed) == 3
    assert isinstance(error.value, MrcnnError) and isinstance(error.value, ValueError)


def test_a_lab_adds_rows_and_replaces_some(tmp_path, monkeypatch):
    own = published_weights()
    table(tmp_path, monkeypatch, [ROW, {**ROW, "name": "matterport/mask_rcnn_coco"}])
    assert find_entry("lab/cells").checksum == Checksum("sha256", ROW["sha256"])
    assert find_entry("lab/cells").size == 5
    assert find_entry("matterport/mask_rcnn_coco").url == ROW["url"]
    assert published_weights().keys() == {*own, "lab/cells"}


@pytest.mark.parametrize(
    "rows, what",
    [
        ("[", "not JSON"),
        ({"name": 1}, "expected a list"),
        ([1], "row 0: expected an object"),
        ([{"name": "a/b"}], "row 0: lacks 'url'"),
        ([{**ROW, "name": ""}], "name: expected text"),
        ([{**ROW, "name": "../../etc"}], "name: expected letters"),
        ([{**ROW, "name": "a b"}], "name: expected letters"),
        ([{**ROW, "url": 5}], "url: expected text"),
        ([{**ROW, "sha256": "12"}], "sha256: expected 64"),
        ([{**ROW, "sha256": "x" * 64}], "expected hexadecimal"),
        ([{**ROW, "size": "5"}], "size: expected the number of bytes"),
        ([{**ROW, "size": True}], "size: expected the number of bytes"),
        ([{**ROW, "licence": "x"}], "unknown field 'licence'"),
        ([ROW, ROW], "row 1: the name 'lab/cells' stands twice"),
    ],
)
def test_a_bad_row_is_named(tmp_path, monkeypatch, rows, what):
    path = table(tmp_path, monkeypatch, rows)
    with pytest.raises(ZooError, match="MRCNN_ZOO=") as error:
        published_weights()
    assert what in str(error.value) and str(path) in str(error.value)


def test_a_missing_table_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_ZOO", str(tmp_path / "none.json"))
    with pytest.raises(ZooError, match=r"none\.json: cannot be read"):
        published_weights()


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("detectron2/mask_rcnn_r50_fpn_3x")
    assert not is_name("model.pth") and not is_name("runs/a/model.pth") and not is_name("/abs/model")
    assert is_name("detectron2/mask_rcnn_r50_fpn_4x"), "a mistyped name is one, so that the nearest are suggested"
    assert not is_name("runs/shapes") and not is_name("detectron2")
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "mask_rcnn_r50_fpn_3x").touch()
    assert not is_name("detectron2/mask_rcnn_r50_fpn_3x"), "a file comes first"


def test_published_files_are_known_by_their_checksum_and_else_by_their_name(tmp_path, monkeypatch):
    (tmp_path / "mine.pth").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    row = {"family": "mmdetection", "license": "MIT"}
    beginning = {"algorithm": "sha256", "prefix": sha256[:8]}
    rows = [
        {
            **row,
            "name": "mmdetection/one",
            "url": "https://example.org/one.pth",
            "checksum": beginning,
        },
        {**row, "name": "mmdetection/two", "url": "https://example.org/mine.pth", "sha256": "0" * 64},
        {**row, "name": "mmdetection/three", "url": "https://example.org/three.pth"},
        {**row, "name": "mmdetection/four", "url": "https://example.org/four.pth"},
        {**row, "name": "mmdetection/five", "url": "https://example.com/four.pth"},
    ]
    table(tmp_path, monkeypatch, rows)
    assert recognize(tmp_path / "mine.pth", "mmdetection").name == "mmdetection/one"
    assert recognize(tmp_path / "mine.pth", "detectron") is None
    for name, expected in (("three", "mmdetection/three"), ("four", None), ("one", None)):
        path = tmp_path / f"{name}.pth"
        path.write_bytes(b"others")
        entry = recognize(path, "mmdetection")
        assert (entry and entry.name) == expected
