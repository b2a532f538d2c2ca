from __future__ import annotations

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.evaluation.overlap import box_iou, mask_iou
from mrcnn.evaluation.pairs import pair_image
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord
from tests.evaluation.scene import instances, random_pair


@pytest.mark.parametrize("masks", [True, False])
def test_overlaps_are_those_of_masks_where_there_are_any(rng, masks):
    ground_truth, prediction = random_pair(rng, masks=masks)
    pairs = pair_image("a", ground_truth, prediction)
    prediction = prediction[np.argsort(-prediction.scores)]
    expected = mask_iou(prediction, ground_truth) if masks else box_iou(prediction.boxes, ground_truth.boxes)
    np.testing.assert_allclose(pairs.iou, expected, atol=1e-9)
    assert pairs.of_masks == masks and (np.diff(pairs.scores) <= 0).all()
    if masks:
        np.testing.assert_array_equal(pairs.areas, prediction.masks.sum((1, 2)))
        np.testing.assert_array_equal(pairs.gt_areas, ground_truth.masks.sum((1, 2)))


def test_the_best_of_each_class_are_kept_and_towards_crowds_the_own_area_counts():
    crowd = instances([[0, 0, 40, 40]], [2], is_crowd=[True])
    prediction = instances([[0, 0, 20, 20]] * 3 + [[0, 0, 20, 80]], [1, 1, 1, 2], [0.2, 0.9, 0.5, 0.1])
    pairs = pair_image(1, crowd, prediction, max_detections=2)
    assert pairs.scores.tolist() == pytest.approx([0.9, 0.5, 0.1]) and pairs.class_ids.tolist() == [1, 1, 2]
    assert pairs.iou[:, 0].tolist() == [1, 1, 0.5]
    assert pairs.best_overlaps(same_class=True)[0].tolist() == [-1, -1, -1]


def test_areas_of_a_record_are_the_files():
    record = ImageRecord(3, None, 100, 120, (Annotation(1, (0, 0, 10, 10), area=55.5), Annotation(1, (5, 5, 15, 25))))
    assert pair_image(3, record, Instances.empty((100, 120))).gt_areas.tolist() == [55.5, 200]


def test_nothing_on_either_side_and_bad_input():
    nothing = Instances.empty((100, 120))
    some = instances([[0, 0, 5, 5]], scores=[0.5])
    assert pair_image(1, nothing, some).iou.shape == (1, 0)
    assert pair_image(1, some, nothing).iou.shape == (0, 1)
    assert pair_image(1, nothing, nothing).best_overlaps(True)[1].shape == (0,)
    with pytest.raises(InputError, match="image 1: detections need scores"):
        pair_image(1, some, instances([[0, 0, 5, 5]]))
    with pytest.raises(InputError, match="image 1: ground truth has shape"):
        pair_image(1, some, Instances.empty((5, 5)))
