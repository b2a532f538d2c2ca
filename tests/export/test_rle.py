from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from mrcnn.export.rle import paste_rle, rle_string, run_lengths
from mrcnn.structures.masks import paste_masks

ENCODE = tf.function(
    lambda window, top, left, height, width: rle_string(run_lengths(window, top, left, height, width)),
    input_signature=[tf.TensorSpec([None, None], tf.bool), *[tf.TensorSpec([], tf.int32)] * 4],
)


def reference(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_strings_are_those_of_pycocotools(density):
    rng = np.random.default_rng(int(100 * density))
    for _ in range(30):
        h, w = rng.integers(1, 30, 2)
        top, left = rng.integers(0, 40, 2) * rng.integers(0, 2, 2)
        height, width = np.array([top + h, left + w]) + rng.integers(0, 500, 2) * rng.integers(0, 2, 2)
        window = rng.random((h, w)) < density
        mask = np.zeros((height, width), bool)
        mask[top : top + h, left : left + w] = window
        assert ENCODE(window, top, left, height, width).numpy() == reference(mask), (top, left, mask.shape)


def test_no_window_and_large_images():
    empty = np.zeros((0, 0), bool)
    assert ENCODE(empty, 0, 0, 7, 9).numpy() == reference(np.zeros((7, 9)))
    mask = np.zeros((6000, 7000), bool)
    mask[5990:, 6990:] = True
    assert ENCODE(np.ones((10, 10), bool), 5990, 6990, 6000, 7000).numpy() == reference(mask)


@pytest.mark.parametrize("convention", ["exact", "padded_integer", "integer_resize"])
def test_masks_of_images_of_several_sizes(convention):
    rng = np.random.default_rng(0)
    masks = rng.random((5, 14, 14)).astype(np.float32)
    boxes = np.array([[2, 3, 30, 40], [0, 0, 50, 60], [-5, 40, 20, 70], [9, 9, 9, 9], [np.nan, 0, 1, 1]], np.float32)
    shape = np.array([[50, 60], [50, 60], [40, 61], [40, 61], [40, 61]], np.int32)
    valid = np.array([True, True, True, True, True])
    result = paste_rle(masks, boxes, valid, shape, 0.5, convention).numpy()
    for k in range(4):
        pasted = paste_masks(masks[k : k + 1], boxes[k : k + 1], *shape[k].tolist(), 0.5, convention)
        assert result[k] == reference(pasted[0])
    assert result[4] == b""
    assert paste_rle(masks[:1], boxes[:1], valid[:1] & False, shape[:1]).numpy().tolist() == [b""]
    assert paste_rle(masks[:0], boxes[:0], valid[:0], shape[:0]).shape == (0,)
