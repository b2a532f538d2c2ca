"""Annotation files whose fields have any type: a DataError or an issue, never another error, and bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.coco_writer import dataset_to_coco
from mrcnn.data.formats.loading import load_dataset
from mrcnn.data.formats.via import load_via
from mrcnn.evaluation import CocoMetric, evaluate_coco_files
from mrcnn.structures.instances import Instances
from tests.data.formats.fuzzer import variants

COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "height": 10, "width": 12, "source": "x"}],
    "categories": [{"id": 4, "name": "cat", "keypoints": ["nose"]}],
    "annotations": [
        {
            "id": 1, "image_id": 7, "category_id": 4, "bbox": [2, 2, 4, 4], "segmentation": [[2, 2, 6, 2, 6, 6]],
            "area": 16, "iscrowd": 0, "keypoints": [3, 3, 2],
        },
        {
            "id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 5],
            "segmentation": {"size": [10, 12], "counts": [0, 5, 115]}, "iscrowd": 1,
        },
    ],
}  # fmt: skip
VIA: dict[str, Any] = {
    "a.png12": {
        "filename": "a.png",
        "size": 12,
        "regions": [
            {
                "shape_attributes": {"name": "polygon", "all_points_x": [2, 8, 2], "all_points_y": [1, 1, 7]},
                "region_attributes": {"kind": "cat"},
            },
            {
                "shape_attributes": {"name": "circle", "cx": 5, "cy": 5, "r": 3},
                "region_attributes": {"kind": {"cat": True}},
            },
            {
                "shape_attributes": {"name": "ellipse", "cx": 5, "cy": 5, "rx": 3, "ry": 2, "theta": 0.5},
                "region_attributes": {"kind": "cat"},
            },
            {
                "shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 4, "height": 5},
                "region_attributes": {"kind": "cat"},
            },
        ],
    }
}
READERS = {"coco": (load_coco, COCO), "via": (load_via, VIA)}


def outcome(what: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, str]:
    """The result of a call and "", or None and the message of a DataError; any other error fails the test."""
    try:
        return call(*args, **kwargs), ""
    except DataError as error:
        return None, str(error)
    except Exception as error:
        raise AssertionError(what) from error


def use(dataset: Dataset, evaluate: bool = True) -> None:
    """All that a loaded set is used for."""
    dataset.validate()
    dataset.nothing_to_train_on()
    for index in range(len(dataset)):
        masks, class_ids = dataset.load_mask(index)
        ground_truth = dataset.instances(index)
        assert masks.shape == (*dataset.image_shape(index), len(ground_truth))
        assert class_ids.tolist() == ground_truth.class_ids.tolist()
        np.testing.assert_array_equal(np.moveaxis(masks, 2, 0), ground_truth.masks)
        assert np.isfinite(ground_truth.boxes).all()
        assert (ground_truth.boxes[:, :2] < ground_truth.boxes[:, 2:]).all()
    json.dumps(dataset_to_coco(dataset))
    if not evaluate:
        return
    metric = CocoMetric(dataset.class_names or ("none",), dataset.category_ids or (1,))
    for index, image_id in enumerate(dataset.image_ids):
        metric.update(image_id, dataset.record(index), Instances.empty(dataset.image_shape(index)))
    metric.compute()


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 8))])
@pytest.mark.parametrize("reader", list(READERS))
def test_every_field_of_every_type(tmp_path: Path, reader: str, part: int) -> None:
    load, data = READERS[reader]
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    path = tmp_path / "annotations.json"
    for number, (what, variant) in enumerate(variants(data, part, 8)):
        path.write_text(json.dumps(variant))
        for validate in (True, False) if number % 4 == 0 else (False,):
            dataset, message = outcome(f"{what}, validate={validate}", load, path, validate=validate)
            if message:
                assert str(path) in message and "\x1b" not in message, what
                continue
            if not validate:
                for issue in dataset.issues:
                    assert issue.path == str(path) and issue.kind and issue.message, what
                    assert "\n" not in str(issue) and "\x1b" not in str(issue)
            for name in dataset.class_names:
                assert name == name.encode().decode() and "\n" not in name
            _, message = outcome(f"using the set of {what}, validate={validate}", use, dataset, number % 32 == 0)
            assert message == "", what


@pytest.mark.parametrize(
    "content", ["", "{", "[", "nul", "\ufeff", "[" * 100_000, '{"a":' * 100_000, "1" * 5000, "\x00", '"\\ud800"']
)
def test_files_that_are_no_annotations(tmp_path: Path, content: str) -> None:
    for name, load in (("a.json", load_coco), ("a.json", load_via), ("a.csv", load_via), ("a.json", load_dataset)):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=rf"{name}"):
            load(tmp_path / name)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match=r"b\.json: not valid UTF-8"):
        load_coco(tmp_path / "b.json")


def test_cells_of_a_table_of_every_type(tmp_path: Path) -> None:
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    shape = json.dumps({"name": "rect", "x": 1, "y": 1, "width": 4, "height": 5}).replace('"', '""')
    header = "#filename,region_shape_attributes,region_attributes\n"
    cells = [
        "",
        "null",
        "[1]",
        '"x"',
        "{",
        "5",
        "[[[]]]",
        '{""name"": 5}',
        '{""name"": ""rect"", ""x"": ""1""}',
        "[" * 5000,
    ]
    for cell in cells:
        for row in (
            f'a.png,"{cell}","{{}}"',
            f'a.png,"{shape}","{cell}"',
            f'"{cell}","{shape}","{{}}"',
            cell,
            "a.png",
            ",,,,",
        ):
            (tmp_path / "t.csv").write_text(header + row + "\n")
            for validate in (True, False):
                dataset, message = outcome(row, load_via, tmp_path / "t.csv", validate=validate)
                assert "t.csv" in message if message else not outcome(row, use, dataset)[1]


def test_results_of_every_type(tmp_path: Path) -> None:
    """Of the evaluation of files: names the file and the entry."""
    ground_truth = {**COCO, "annotations": COCO["annotations"][:1]}
    results = [
        {"image_id": 7, "category_id": 4, "bbox": [2, 2, 4, 4], "score": 0.5, "keypoints": [3, 3, 2],
         "segmentation": {"size": [10, 12], "counts": [0, 5, 115]}},
    ]  # fmt: skip
    for kind in ("box", "mask", "keypoints"):
        sigmas = [0.1] if kind == "keypoints" else None
        assert evaluate_coco_files(ground_truth, results, kind, keypoint_sigmas=sigmas)["AP"] >= 0
        for what, variant in variants(results, step=4):
            args = (ground_truth, variant, kind)
            numbers, message = outcome(f"{kind}: {what}", evaluate_coco_files, *args, keypoint_sigmas=sigmas)
            if not isinstance(variant, str):  # a text is a path
                assert "results" in message if message else np.isfinite(list(numbers.values())).all(), what


def test_annotations_of_every_type_in_an_evaluation(tmp_path: Path) -> None:
    results = [{"image_id": 7, "category_id": 4, "bbox": [2, 2, 4, 4], "score": 0.5, "keypoints": [3, 3, 2],
                "segmentation": {"size": [10, 12], "counts": [0, 5, 115]}}]  # fmt: skip
    for kind in ("box", "mask", "keypoints"):
        sigmas = [0.1] if kind == "keypoints" else None
        for what, variant in variants(COCO, step=8):
            args = (variant, results, kind)
            numbers, message = outcome(f"{kind}: {what}", evaluate_coco_files, *args, keypoint_sigmas=sigmas)
            if not isinstance(variant, str):
                assert message.startswith(("annotations: ", "results: ")) if message else numbers, what


MEMORY = """
import json, resource, sys
import numpy as np
import pycocotools.mask
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.formats.via import load_via
from mrcnn.data.rasterize import annotation_mask
from mrcnn.evaluation import CocoMetric, evaluate_coco_files
from mrcnn.structures.instances import Instances

resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
folder = sys.argv[1]
for size in (1e7, 1e8, 1e9, 1e300):
    polygon = [[2, 2, size, 5, 6, 9]]
    coco = {
        "images": [{"id": 7, "file_name": "a.png", "height": 10, "width": 12}],
        "categories": [{"id": 4, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 4, "bbox": [2, 2, size, 7], "segmentation": polygon, "area": 9},
            {"id": 2, "image_id": 7, "category_id": 4, "bbox": [2, 2, 4, 4], "segmentation": [[2, 2, 6, 2, -size, 9]]},
        ],
    }
    json.dump(coco, open(folder + "/c.json", "w"))
    data = load_coco(folder + "/c.json")
    assert any(i.annotation_id == 1 and format(size, "g") in i.message for i in data.issues), data.issues
    data.instances(0).masks, data.load_mask(0), data.validate()
    metric = CocoMetric(["cat"], [4])
    metric.update(7, data.record(0), Instances.empty((10, 12)))
    metric.compute()
    for kind in ("box", "mask"):
        result = {"image_id": 7, "category_id": 4, "bbox": [2, 2, 4, 4], "score": 0.5, "segmentation": polygon}
        evaluate_coco_files(coco, [result], kind)
    for shape in (
        {"name": "circle", "cx": 5, "cy": 5, "r": size},
        {"name": "circle", "cx": size, "cy": 5, "r": size},
        {"name": "ellipse", "cx": 5, "cy": 5, "rx": size, "ry": 2, "theta": 0.3},
        {"name": "rect", "x": 2, "y": 2, "width": size, "height": size},
        {"name": "polygon", "all_points_x": [1, size, 5], "all_points_y": [1, 5, 9]},
    ):
        region = {"shape_attributes": shape, "region_attributes": {}}
        json.dump({"a": {"filename": "a.png", "regions": [region]}}, open(folder + "/v.json", "w"))
        data = load_via(folder + "/v.json", validate=False)
        if len(data):
            data.instances(0).masks, data.load_mask(0)
        assert data.issues, shape
print("done")
"""


def test_memory_stays_bounded_for_any_coordinate(tmp_path: Path) -> None:
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    result = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_a_small_file_that_claims_huge_images(tmp_path: Path) -> None:
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    for side in (100_000, 10**9, 2**31):
        data = json.loads(json.dumps(COCO))
        data["images"][0] |= {"height": side, "width": side}
        data["annotations"][1]["segmentation"] = {"size": [side, side], "counts": [side * side]}
        (tmp_path / "a.json").write_text(json.dumps(data))
        tracemalloc.start()
        message = r"a\.json: image 7 \(a\.png\): size .*expected at most 268435456 pixels"
        with pytest.raises(DataError, match=message):
            load_coco(tmp_path / "a.json")
        dataset = load_coco(tmp_path / "a.json", validate=False)
        assert len(dataset) == 0 and [issue.kind for issue in dataset.issues] == ["image size"]
        assert tracemalloc.get_traced_memory()[1] < 10e6
        tracemalloc.stop()
