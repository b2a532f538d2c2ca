from __future__ import annotations

import json

import numpy as np
from PIL import Image

from tests.cli.runner import DATA, LITE, NUCLEI, invoke


def test_inspect_counts_measures_draws_and_lists_issues(tmp_path):
    content = json.loads(DATA.read_text())
    content["annotations"][0]["bbox"][2] = 0
    content["annotations"][1]["category_id"] = 99
    content["images"].append({"id": 7, "file_name": "absent.png", "height": 8, "width": 8})
    file = tmp_path / "some.json"
    file.write_text(json.dumps(content))
    out = tmp_path / "out"
    result = invoke("inspect", "--data", file, "--images", NUCLEI / "images", "--out", out, "--recipe", LITE)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["images"] == 2
    assert report["objects"] == len(content["annotations"]) - 1 == report["per_class"]["nucleus"]
    assert {issue["kind"] for issue in report["issues"]} == {"zero area box", "unknown category", "missing image"}
    assert sum(issue["fatal"] for issue in report["issues"]) == 2
    for image in ("boxes.png", "sample_21.png", "sample_369.png"):
        assert Image.open(out / image).size[0] > 100
    for said in ("nucleus", "category 99", "absent.png", "anchor sizes"):
        assert said in result.output


def test_inspect_takes_a_set_without_objects(tmp_path):
    content = json.loads(DATA.read_text()) | {"annotations": []}
    file = tmp_path / "empty.json"
    file.write_text(json.dumps(content))
    result = invoke("inspect", "--data", file, "--images", NUCLEI / "images", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "2 images (2 without objects), 0 objects" in result.output
    assert not (tmp_path / "out/boxes.png").exists()


def test_inspect_names_an_image_cut_off_that_it_meets_while_drawing(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
    annotation["segmentation"] = [[5, 5, 25, 5, 25, 25, 5, 25]]
    images = [{"id": 1, "file_name": "a.png", "height": 40, "width": 50}]
    data = {"images": images, "annotations": [annotation], "categories": [{"id": 1, "name": "nut"}]}
    (tmp_path / "ann.json").write_text(json.dumps(data), encoding="utf-8")
    result = invoke("inspect", "--data", tmp_path / "ann.json", "--images", tmp_path, "--out", tmp_path / "out")
    assert "1 x image (training refuses)" in result.output
    [issue] = json.loads((tmp_path / "out/report.json").read_text(encoding="utf-8"))["issues"]
    assert "a.png: the image is damaged or cut off" in str(issue)
