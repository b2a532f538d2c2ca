from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrcnn.weights.coco_classes import CATEGORIES, coco_classes
from mrcnn.weights.network import Network

ANNOTATIONS = Path(__file__).parents[1] / "assets" / "coco_eval_ref" / "instances_val2014_100.json"


def test_one_line() -> None:
    backbone = {"backbone.depth": 101, "backbone.groups": 32, "backbone.width_per_group": 8}
    network = Network("detectron2", {"num_classes": 1, **backbone, "keypoint_head.num_joints": 17})
    assert str(network) == "detectron2 X-101-32x8d-FPN, 1 class, box + 17 keypoints"


def test_as_many_names_as_classes() -> None:
    with pytest.raises(ValueError, match="class_names: expected 2 entries, one per class, got 1"):
        Network("detectron", {"num_classes": 2}, class_names=("cat",))


def test_classes_are_those_of_the_annotation_files() -> None:
    categories = json.loads(ANNOTATIONS.read_text())["categories"]
    assert {category["id"]: category["name"] for category in categories} == CATEGORIES


def test_classes_by_their_number() -> None:
    names, ids = coco_classes(80)
    assert (len(names), ids[0], ids[-1], names[ids.index(13)]) == (80, 1, 90, "stop sign")
    names, ids = coco_classes(90)
    assert (names[11], names[12], ids) == ("N/A", "stop sign", tuple(range(1, 91)))
    assert coco_classes(1, is_person_only=True) == (("person",), (1,))
    assert coco_classes(1) is None
    assert coco_classes(20) is None
