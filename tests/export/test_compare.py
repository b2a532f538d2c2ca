from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export.compare import ACCEPTED, Difference, compare, full_precision
from mrcnn.structures.instances import Instances


def instances(boxes, class_ids=None, scores=None, masks=None, keypoints=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    return Instances(
        boxes,
        np.ones(n, np.int32) if class_ids is None else np.array(class_ids),
        (20, 20),
        np.full(n, 0.5) if scores is None else np.array(scores),
        masks,
        keypoints,
    )


def test_differences_by_hand():
    masks = np.zeros((2, 20, 20), bool)
    masks[0, :4, :5] = masks[1, 10:, 10:] = True  # 20 and 100 pixels
    other = masks.copy()
    other[0, 0, 0] = False
    keypoints = np.zeros((2, 3, 3), np.float32)
    moved = keypoints.copy()
    moved[1, 2, :2] = 3.0
    here = instances([[0, 0, 4, 5], [10, 10, 20, 20]], scores=[0.9, 0.8], masks=masks, keypoints=keypoints)
    # the same objects in the other order
    there = instances([[10, 10, 20, 19.5], [0, 0, 4, 5]], scores=[0.8, 0.87], masks=other[::-1], keypoints=moved[::-1])
    result = compare([here], [there])
    assert (result.images, result.detections, result.unmatched) == (1, 2, 0.0)
    assert result.scores == pytest.approx(0.03)
    assert result.boxes == pytest.approx(0.5)
    assert result.masks == pytest.approx(1 / 120)
    assert result.keypoints == pytest.approx(1 / 6)
    assert [text.split()[0] for text in result.beyond(ACCEPTED)] == ["scores", "boxes", "keypoints"]
    assert "2 detections in 1 images" in str(result)


def test_an_object_of_another_class_or_place_is_on_one_side_only():
    here = instances([[0, 0, 4, 4], [10, 10, 20, 20]], class_ids=[1, 2])
    there = instances([[0, 0, 4, 4], [10, 10, 20, 20], [5, 5, 8, 8]], class_ids=[1, 1, 1])
    result = compare([here], [there])
    assert result.unmatched == pytest.approx(3 / 5)
    assert result.scores == result.boxes == 0.0
    assert result.beyond(ACCEPTED) == ["unmatched 0.6 > 0.01"]


def test_each_object_is_paired_once():
    here = instances([[0, 0, 10, 10], [0, 0, 10, 9]], scores=[0.9, 0.1])
    there = instances([[0, 0, 10, 9.1], [0, 0, 10, 9.9]], scores=[0.1, 0.9])
    result = compare([here], [there])
    assert result.unmatched == 0.0 and result.scores == 0.0
    assert result.boxes == pytest.approx(0.1, abs=1e-5)


def test_nothing_found_is_said():
    result = compare([instances([])], [instances([])])
    assert result == Difference(images=1)
    assert result.beyond(ACCEPTED) == []
    assert "no detections" in str(result)
    assert compare([instances([])], [instances([[0, 0, 1, 1]])]).unmatched == 1.0


def test_what_is_not_a_number_is_beyond_every_bound():
    assert Difference(scores=float("nan")).beyond(ACCEPTED) == ["scores nan > 0.001"]


@pytest.mark.parametrize("before", [True, False])
def test_full_precision_is_for_a_while(before):
    state = tf.config.experimental
    kept = state.tensor_float_32_execution_enabled()
    try:
        state.enable_tensor_float_32_execution(before)
        with full_precision():
            assert not state.tensor_float_32_execution_enabled()
        assert state.tensor_float_32_execution_enabled() is before
        with pytest.raises(KeyError), full_precision():
            raise KeyError
        assert state.tensor_float_32_execution_enabled() is before
    finally:
        state.enable_tensor_float_32_execution(kept)
