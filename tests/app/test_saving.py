"""Labels as files, read back by the package's readers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.app.saving import FORMATS, save_view
from mrcnn.app.view import Edits, View, edited
from mrcnn.data.errors import DataError
from mrcnn.structures.instances import Instances

NAMES = ["leaf", "nut"]


@pytest.fixture
def view():
    """Three instances, of which one is given another class, one is deleted, and one has two parts."""
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 2:8, 2:8] = masks[1, 10:18, 4:9] = masks[2, 2:5, 15:20] = masks[2, 10:15, 15:25] = True
    boxes = [[2, 2, 8, 8], [10, 4, 18, 9], [2, 15, 15, 25]]
    instances = Instances(boxes, [1, 1, 2], (20, 30), [0.9, 0.8, 0.3], masks)
    view = View("my image.png", np.zeros((20, 30, 3), np.uint8), instances)
    return edited(view, Edits().with_class(0, 2).with_deleted(1).with_accepted(2))


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_shown_comes_back(view, tmp_path, format):
    path = save_view(view, tmp_path, format, NAMES, [7, 9])
    Image.fromarray(view.pixels).save(tmp_path / ("my image.png" if format != "yolo" else "my_image.png"))
    source, options = (path, {"images": tmp_path}) if format == "coco" else (tmp_path, {})
    dataset = mrcnn.load_dataset(source, **options, **({"classes": NAMES} if format == "yolo" else {}))
    if format == "coco":
        assert dataset.category_ids == (7, 9)
    instances = dataset.instances(0)
    assert [dataset.class_names[c - 1] for c in instances.class_ids] == ["nut", "nut"]
    expected = view.instances.masks[[0, 2]]
    wrong = (instances.masks != expected).sum((1, 2))
    assert wrong[0] == 0 and wrong[1] <= (0 if format != "yolo" else 8)  # YOLO joins parts by bridges


def test_nothing_is_replaced_and_names_lead_nowhere_else(view, tmp_path):
    assert save_view(view, tmp_path, "coco", NAMES).name == "my_image.json"
    with pytest.raises(DataError, match=r"my_image\.json: is there already"):
        save_view(view, tmp_path, "coco", NAMES)
    (tmp_path / "x").mkdir()
    tricky = View("..\\..\\x.png", view.pixels, view.instances)
    assert save_view(tricky, tmp_path / "x", "yolo", NAMES).parent == tmp_path / "x"


def test_an_image_without_instances_gives_a_file_without_objects(tmp_path):
    view = View("a.png", np.zeros((8, 8, 3), np.uint8), Instances.empty((8, 8)))
    Image.fromarray(view.pixels).save(tmp_path / "a.png")
    assert len(mrcnn.load_coco(save_view(view, tmp_path, "coco", NAMES)).annotations(0)) == 0
    assert save_view(view, tmp_path, "yolo", NAMES).read_text() == ""
