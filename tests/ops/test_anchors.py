import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import anchors as anchor_ops
from tests.reference import boxes as reference


def test_cell_anchors_of_hand_numbers():
    cells = anchor_ops.cell_anchors([32, 64], [0.25, 1, 4])
    assert cells.dtype == np.float32
    sides = np.stack([cells[:, 2] - cells[:, 0], cells[:, 3] - cells[:, 1]], axis=-1)
    np.testing.assert_allclose(sides, [[16, 64], [32, 32], [64, 16], [32, 128], [64, 64], [128, 32]])
    np.testing.assert_array_equal(cells[:, :2], -cells[:, 2:])


def test_ratio_major_order_of_hand_numbers():
    sides = anchor_ops.cell_anchors([32, 64], [0.25, 4], "ratio_major")[:, 2:] * 2
    np.testing.assert_allclose(sides, [[16, 64], [32, 128], [64, 16], [128, 32]])


def test_rounded_corners_of_hand_numbers():
    """The anchors of torchvision's finest level, (y1, x1, y2, x2)."""
    cells = anchor_ops.cell_anchors([32], [0.5, 1, 2], rounding="corners")
    np.testing.assert_array_equal(cells, [[-11, -23, 11, 23], [-16, -16, 16, 16], [-23, -11, 23, 11]])


def test_detectron_anchors_of_hand_numbers():
    """Its P2 anchors are [-22, -10, 25, 13], [-14, -14, 17, 17] and [-10, -22, 13, 25], (x1, y1, last x, last y)."""
    cells = anchor_ops.cell_anchors([32], [0.5, 1, 2], "ratio_major", "detectron", stride=4)
    grid = anchor_ops.grid_anchors(1, 1, 4, cells, offset=0.5)
    np.testing.assert_array_equal(grid, [[-10, -22, 14, 26], [-14, -14, 18, 18], [-22, -10, 26, 14]])


def test_detectron_anchors_of_one_level():
    """Stride 16 as Faster R-CNN published them: 184 x 96 at size 128 and ratio 1/2."""
    cells = anchor_ops.cell_anchors([128, 256], [0.5], "ratio_major", "detectron", stride=16)
    np.testing.assert_array_equal(cells[:, 2:] * 2, [[96, 184], [192, 368]])


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_grid_equals_reference(offset):
    sizes, ratios = [16, 20.5], [0.5, 1, 2]
    grid = anchor_ops.grid_anchors(3, 5, 8, anchor_ops.cell_anchors(sizes, ratios), offset)
    np.testing.assert_allclose(grid, reference.anchors(3, 5, 8, sizes, ratios, offset), rtol=1e-5, atol=1e-4)


def test_grid_with_a_stride_per_axis():
    grid = anchor_ops.grid_anchors(2, 2, (8, tf.constant(5)), np.zeros((1, 4), np.float32))
    np.testing.assert_array_equal(grid[:, :2], [[0, 0], [0, 5], [8, 0], [8, 5]])


def test_grid_of_static_size_has_a_static_shape():
    shapes = []

    @tf.function(jit_compile=True)
    def compiled():
        grid = anchor_ops.grid_anchors(3, 5, 8, anchor_ops.cell_anchors([32], [1, 2]))
        shapes.append(grid.shape)
        return grid

    eager = anchor_ops.grid_anchors(3, 5, 8, anchor_ops.cell_anchors([32], [1, 2]))
    np.testing.assert_allclose(compiled(), eager)
    assert shapes == [(30, 4)]


def test_grid_of_dynamic_size():
    dynamic = tf.function(lambda h, w: anchor_ops.grid_anchors(h, w, 8, anchor_ops.cell_anchors([32], [1])))
    for h, w in ((2, 3), (4, 1), (0, 3)):
        expected = anchor_ops.grid_anchors(h, w, 8, anchor_ops.cell_anchors([32], [1]))
        np.testing.assert_array_equal(dynamic(tf.constant(h), tf.constant(w)), expected)
