from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import mrcnn
from tests.cli.runner import LITE, NARROW, SMALL, invoke, refused

NUTS = Path(__file__).parents[1] / "assets/nuts3/annotations.json"


def test_formats_are_listed_with_how_they_are_recognized() -> None:
    result = invoke("data", "formats")
    assert result.exit_code == 0, result.output
    assert 'coco (read and write): a JSON object with the lists "images"' in result.output
    assert "cityscapes: gtFine" in result.output


def test_convert_stats_split_merge_remap_subset(tmp_path: Path) -> None:
    result = invoke("data", "convert", NUTS, tmp_path / "yolo", "--to", "yolo")
    assert result.exit_code == 0 and "4 images; nothing is lost" in result.output, result.output
    stats = invoke("data", "stats", tmp_path / "yolo")
    assert stats.exit_code == 0 and "hazelnut" in stats.output and "4 images" in stats.output
    result = invoke("data", "split", tmp_path / "yolo", tmp_path / "parts", "--parts", "train=0.5,val=0.5")
    assert result.exit_code == 0, result.output
    assert mrcnn.dataset_splits(tmp_path / "parts") == ("train", "val")
    halves = [tmp_path / "parts" / name for name in ("train", "val")]
    assert invoke("data", "merge", *halves, "--out", tmp_path / "both", "--to", "labelme").exit_code == 0
    assert len(mrcnn.load_dataset(tmp_path / "both")) == 4
    args = ["--rename", "date=fruit", "--rename", "fig=fruit", "--keep", "fruit"]
    assert invoke("data", "remap", NUTS, tmp_path / "fruit", *args).exit_code == 0
    assert mrcnn.load_dataset(tmp_path / "fruit").class_names == ("fruit",)
    assert invoke("data", "subset", NUTS, tmp_path / "two", "--number", 2).exit_code == 0
    assert len(mrcnn.load_dataset(tmp_path / "two")) == 2
    assert "is there already" in refused("data", "subset", NUTS, tmp_path / "two", "--number", 2)
    assert "expected NAME=FRACTION" in refused("data", "split", NUTS, tmp_path / "x", "--parts", "train")


def test_check_looks_across_splits(tmp_path: Path) -> None:
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "train")
    data.subset([1]).save(tmp_path / "val")
    result = invoke("data", "check", tmp_path)
    assert result.exit_code == 2 and "near-duplicate image: " in result.output, result.output
    assert "1 issues in 5 images" in result.output


@pytest.mark.slow
def test_train_takes_a_root_with_its_splits(tmp_path: Path) -> None:
    root = tmp_path / "set"
    mrcnn.load_dataset(NUTS).save(root, "yolo")
    for kind in ("images", "labels"):
        shutil.copytree(root / kind / "train", root / kind / "val")
    names = (root / "data.yaml").read_text()
    (root / "data.yaml").write_text(names.replace("train: images/train", "train: images/train\nval: images/val"))
    args = ["train", "--recipe", LITE, "--data", root, "--out", tmp_path / "run", "--weights", "none"]
    result = invoke(*args, *NARROW, *SMALL)
    assert result.exit_code == 0, result.output
    assert "train: 4 images, val: 4 images" in result.output
    assert (tmp_path / "run/best.safetensors").exists()


def test_what_train_needs(tmp_path: Path) -> None:
    base = ["train", "--recipe", LITE, "--out", tmp_path / "run", "--weights", "none"]
    assert "expected --data with the splits of a data set, or --train" in refused(*base)
    assert "--val is for --train" in refused(*base, "--data", NUTS, "--val", NUTS)
    (tmp_path / "test").mkdir()
    shutil.copy(NUTS.parent / "0.jpg", tmp_path / "test/0.jpg")
    content = json.loads(NUTS.read_text())
    content["images"] = [i for i in content["images"] if i["file_name"] == "0.jpg"]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    (tmp_path / "test/_annotations.coco.json").write_text(json.dumps(content))
    assert "has the splits test, none of which is train" in refused(*base, "--data", tmp_path)


def test_evaluate_refuses_a_set_that_lacks_images(tmp_path: Path) -> None:
    content = json.loads(NUTS.read_text())
    (tmp_path / "a.json").write_text(json.dumps(content))
    line = refused("evaluate", "--model", tmp_path, "--data", tmp_path / "a.json", "--out", tmp_path / "out")
    assert "no such image" in line or "is there" in line
    for image in content["images"][1:]:
        shutil.copy(NUTS.parent / image["file_name"], tmp_path / image["file_name"])
    line = refused("evaluate", "--model", tmp_path, "--data", tmp_path / "a.json", "--out", tmp_path / "out")
    assert "1 images cannot be used, the first" in line
