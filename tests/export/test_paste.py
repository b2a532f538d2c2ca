from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export.paste import paste_masks
from mrcnn.structures import masks as host

SPECS = [
    tf.TensorSpec([None, 14, 14], tf.float32),
    tf.TensorSpec([None, 4], tf.float32),
    tf.TensorSpec([None], tf.bool),
    tf.TensorSpec([], tf.int32),
    tf.TensorSpec([], tf.int32),
]


def in_graph(convention="exact", packed=False):
    run = tf.function(
        lambda m, b, v, h, w: paste_masks(m, b, v, h, w, 0.5, convention, packed),
        input_signature=SPECS,
        autograph=False,
    )
    return lambda *arguments: run(*map(tf.constant, arguments)).numpy()


def cases(rng, num, height, width):
    corner = rng.uniform(-10, [height, width], (num, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.2, [height, width], (num, 2))], axis=1).astype(np.float32)
    boxes[0] = [3, 3, 3, 9]  # empty
    boxes[1] = [np.nan, 0, 5, 5]
    boxes[2] = [-20, -20, height + 20, width + 20]
    boxes[3] = [height + 5, width + 5, height + 9, width + 9]  # outside
    return rng.uniform(0, 1, (num, 14, 14)).astype(np.float32), boxes


@pytest.mark.parametrize("convention", ["exact", "padded_integer", "integer_resize"])
def test_every_pixel_equals_the_hosts(convention, rng):
    paste = in_graph(convention)
    for height, width in ((40, 61), (7, 120)):
        masks, boxes = cases(rng, 12, height, width)
        result = paste(masks, boxes, np.ones(12, bool), height, width)
        expected = host.paste_masks(masks, boxes, height, width, 0.5, convention)
        assert result.dtype == np.uint8 and result.shape == (12, height, width)
        assert result.sum() > 0
        assert (result != expected).sum() <= 1e-4 * result.size  # sums in another order


def test_packed_rows_unpack_to_the_same(rng):
    masks, boxes = cases(rng, 6, 30, 43)
    valid = np.array([1, 1, 1, 1, 0, 1], bool)
    pixels = in_graph()(masks, boxes, valid, 30, 43)
    bits = in_graph(packed=True)(masks, boxes, valid, 30, 43)
    assert bits.shape == (6, 30, 6)
    assert np.array_equal(np.unpackbits(bits, axis=-1, count=43), pixels)
    assert not pixels[4].any()


def test_half_a_box_by_hand():
    mask = np.zeros((1, 14, 14), np.float32)
    mask[:, :, :7] = 1.0
    result = in_graph()(mask, np.array([[2, 4, 4, 8]], np.float32), np.array([True]), 6, 10)
    assert result[0].tolist() == [[0] * 10] * 2 + [[0, 0, 0, 0, 1, 1, 0, 0, 0, 0]] * 2 + [[0] * 10] * 2


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_gives_no_rows(packed):
    empty = in_graph(packed=packed)(
        np.zeros((0, 14, 14), np.float32), np.zeros((0, 4), np.float32), np.zeros(0, bool), 5, 9
    )
    assert empty.shape == (0, 5, 2 if packed else 9)
