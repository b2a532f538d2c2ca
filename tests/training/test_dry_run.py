"""One image is overfit, or what stands in the way is named."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.inspection import inspect_batch
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation
from mrcnn.training.dry_run import _mask_iou, dry_run
from mrcnn.training.faults import find_fault, save_batch
from tests.mean_color import write_set
from tests.training.drawn import SIDE, draw_batch, small_model, weights
from tests.training.test_resume import recipe_of


def test_stages_are_looked_at_and_the_model_is_left_alone(tmp_path):
    data = write_set(tmp_path, num=2, side=SIDE)
    model = small_model()
    before, said = weights(model), []
    detections = dry_run(model, data, recipe_of(), steps=60, log=said.append)
    for path, value in weights(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert detections.image_id == 100
    assert detections.steps <= 60
    assert len(said) >= 1 and said[0].startswith("step 50: loss ")
    stages = {stage.name: stage for stage in detections.stages}
    for name in ("objects", "object sizes", "masks", "mask grid", "class ids", "anchors", "losses"):
        assert stages[name].ok, str(detections)
    assert "mask IoU" in str(detections)


@pytest.mark.slow
def test_objects_no_anchor_fits_are_named(tmp_path):
    data = write_set(tmp_path, num=1, side=SIDE)
    line = Dataset()
    line.add_class("shapes", 3, "thing")
    line.add_class("shapes", 8, "other")
    path = data.record(0).path
    line.add_image("shapes", 5, path, width=SIDE, height=SIDE, annotations=[Annotation(1, (1.0, 1.0, 2.0, 63.0))])
    detections = dry_run(small_model(), line, recipe_of(), steps=2)
    stages = {stage.name: stage for stage in detections.stages}
    assert not detections.ok
    assert not stages["anchors"].ok
    assert "look first at: object sizes" in str(detections)
    assert stages["anchors"].result.startswith("1 of 1 objects overlap no anchor")


def _one_object(tmp_path, annotation: Annotation, classes=("thing", "other")) -> Dataset:
    data = Dataset()
    for number, name in enumerate(classes, start=1):
        data.add_class("x", number, name)
    path = write_set(tmp_path, num=1, side=SIDE).record(0).path
    data.add_image("x", 5, path, width=SIDE, height=SIDE, annotations=[annotation])
    return data


@pytest.mark.slow
def test_masks_that_are_empty_are_named(tmp_path):
    line = [np.array([[10.0, 10.0], [30.0, 30.0]])]  # two points are no polygon
    data = _one_object(tmp_path, Annotation(1, (10.0, 10.0, 40.0, 40.0), line))
    detections = dry_run(small_model(), data, recipe_of(), steps=2)
    assert not detections.ok
    assert "look first at: masks" in str(detections)
    assert "FAIL  masks: 1 of 1 empty after resizing" in str(detections)


def test_class_ids_the_model_does_not_have_are_named(tmp_path):
    data = _one_object(tmp_path, Annotation(3, (10.0, 10.0, 40.0, 40.0)), ("thing", "other", "third"))
    detections = dry_run(small_model(), data, recipe_of(), steps=2)
    assert (detections.ok, detections.steps) == (False, 0)
    assert "look first at: class ids" in str(detections)
    assert "FAIL  class ids: [3] of 1..2" in str(detections)
    data = _one_object(tmp_path, Annotation(4, (10.0, 10.0, 40.0, 40.0), annotation_id=8))
    with pytest.raises(DataError, match=r"image 5, annotation 8: class id 4, expected 1\.\.2"):
        dry_run(small_model(), data, recipe_of(), steps=2)


def test_a_set_without_objects_is_refused(tmp_path):
    data = Dataset()
    data.add_class("x", 1, "thing")
    data.add_class("x", 2, "other")
    data.add_image("x", 1, None, width=8, height=8)
    with pytest.raises(ValueError, match="no image of the training set has an object"):
        dry_run(small_model(), data, recipe_of())


def test_mask_iou_by_hand():
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 2:] = True, True
    boxes = np.array([[0, 0, 2, 4], [2, 0, 4, 4]], np.float32)
    ground_truth = Instances(boxes, [1, 2], (4, 4), masks=masks, is_crowd=[False, False])
    half = masks.copy()
    half[0, 1] = False
    detections = Instances(boxes, [1, 1], (4, 4), scores=[1, 1], masks=half)
    assert _mask_iou(detections, ground_truth) == pytest.approx((0.5 + 0.0) / 2)


def test_a_kept_batch_opens(tmp_path):
    batch = draw_batch([2, 0])
    model = small_model()
    path = save_batch(tmp_path / "bad.npz", batch, find_fault(model, batch, 9), model.class_names)
    text, files = inspect_batch(path, tmp_path / "drawn")
    assert "step 9" in text
    assert "image 100: 64 x 64 pixels after resizing, 2 objects" in text
    assert [file.name for file in files] == ["bad_0_100.png", "bad_1_101.png"]
    assert all(file.stat().st_size > 500 for file in files)
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"cut\.npz: not a batch kept by a training run"):
        inspect_batch(tmp_path / "cut.npz")
    (tmp_path / "other.npz").write_text("no")
    with pytest.raises(ValueError, match=r"other\.npz: not a batch kept by a training run"):
        inspect_batch(tmp_path / "other.npz")
