from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.mask_crops import crop_masks_by_corners


@pytest.mark.parametrize("shape, side", [((9, 9), 5), ((7, 12), 4), ((6, 6), 1)])
def test_is_crop_and_resize(rng, shape, side):
    """TensorFlow's operator, with the RoIs normalized by their objects' boxes."""
    masks = (rng.random((1, 3, *shape)) < 0.5).astype(np.uint8)
    corner = rng.uniform(0, 20, (1, 3, 2))
    frames = np.concatenate([corner, corner + rng.uniform(8, 30, (1, 3, 2))], -1).astype(np.float32)
    index = np.array([[0, 2, 1, 1, 0]], np.int32)
    boxes = (frames[:, index[0]] + rng.uniform(-4, 4, (1, 5, 4))).astype(np.float32)
    result = crop_masks_by_corners(masks, frames, index, boxes, side)
    frame = frames[0, index[0]]
    size = np.tile(frame[:, 2:] - frame[:, :2], 2)
    normalized = (boxes[0] - np.tile(frame[:, :2], 2)) / size
    expected = tf.image.crop_and_resize(
        masks[0][..., np.newaxis].astype(np.float32), normalized, index[0], (side, side)
    )[..., 0]
    assert result.shape == (1, 5, side, side)
    sure = np.abs(np.asarray(expected) - 0.5) > 1e-4
    np.testing.assert_array_equal(np.asarray(result)[0][sure], np.round(expected)[sure])


def test_a_whole_box_by_hand():
    """Corner on corner: a mask of the targets' own size comes back as it is; half is not enough."""
    mask = np.array([[1, 0], [1, 1]], np.uint8)[np.newaxis, np.newaxis]
    box = np.array([[[3, 5, 13, 25]]], np.float32)
    index = np.zeros((1, 1), np.int32)
    np.testing.assert_array_equal(crop_masks_by_corners(mask, box, index, box, 2)[0, 0], mask[0, 0])
    np.testing.assert_array_equal(
        crop_masks_by_corners(mask, box, index, box, 3)[0, 0], [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    )


def test_outside_and_empty_frames_are_finite():
    mask, index = np.ones((1, 1, 4, 4), np.uint8), np.zeros((1, 2), np.int32)
    boxes = np.array([[[20, 20, 30, 30], [0, 0, 5, 5]]], np.float32)
    result = crop_masks_by_corners(mask, np.array([[[0, 0, 10, 10]]], np.float32), index, boxes, 3)
    assert not np.asarray(result)[0, 0].any() and np.asarray(result)[0, 1].all()
    assert np.isfinite(crop_masks_by_corners(mask, np.zeros((1, 1, 4), np.float32), index, boxes, 3)).all()
