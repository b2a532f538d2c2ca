"""LVIS' numbers, equal to those its package gave for the same files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.evaluation import to_coco_results
from mrcnn.evaluation.lvis import evaluate_lvis_files
from mrcnn.structures.instances import Instances


def annotations(path: Path) -> Path:
    """Two categories, two images: in the second nobody looked for category 7."""
    square = [[10, 10, 40, 10, 40, 40, 10, 40]]
    images = [
        {"id": i, "height": 50, "width": 60, "neg_category_ids": neg, "not_exhaustive_category_ids": []}
        for i, neg in ((1, [7]), (2, []))
    ]
    objects = [
        {"id": i, "image_id": i, "category_id": 3, "bbox": [10, 10, 30, 30], "area": 900, "segmentation": square}
        for i in (1, 2)
    ]
    categories = [{"id": 3, "name": "a", "frequency": "r"}, {"id": 7, "name": "b", "frequency": "f"}]
    path.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    return path


def results(second_class: int = 1) -> list[dict]:
    """From Instances: the object of each image, and in the second image one of another class on top."""
    mask = np.zeros((1, 50, 60), bool)
    mask[0, 10:40, 10:40] = True
    one = Instances([[10, 10, 40, 40]], [1], (50, 60), scores=[0.9], masks=mask)
    other = Instances([[0, 0, 9, 9]], [second_class], (50, 60), scores=[0.95], masks=~mask)
    right = to_coco_results(1, one, [3, 7]) + to_coco_results(2, one, [3, 7])
    return right + to_coco_results(2, other, [3, 7])


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_numbers_by_hand(tmp_path, kind):
    """A detection of a category nobody looked for does not count; one of a category that was is a false positive."""
    pytest.importorskip("cv2")
    pytest.importorskip("lvis")
    path = annotations(tmp_path / "lvis.json")
    assert evaluate_lvis_files(path, results(second_class=2), kind)["AP"] == pytest.approx(1.0)
    numbers = evaluate_lvis_files(path, results(second_class=1), kind)
    assert numbers["APr"] == numbers["AP"] == pytest.approx(2 / 3, abs=0.01) and numbers["APf"] == -1


def test_bad_input_is_named(tmp_path):
    path = annotations(tmp_path / "lvis.json")
    with pytest.raises(InputError, match='kind: expected "mask" or "box", got \'points\''):
        evaluate_lvis_files(path, [], "points")
    with pytest.raises(DataError, match="entry 0 has no 'score'"):
        evaluate_lvis_files(path, [{"image_id": 1, "category_id": 3}])
    with pytest.raises(DataError, match="entry 0 is of image 9"):
        evaluate_lvis_files(path, [results()[0] | {"image_id": 9}])
    with pytest.raises(DataError, match="expected a JSON file"):
        evaluate_lvis_files(tmp_path / "none.json", [])
    with pytest.raises(InputError, match="results: there are none"):
        evaluate_lvis_files(path, [])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="no annotation file of LVIS"):
        evaluate_lvis_files(tmp_path / "other.json", [])
