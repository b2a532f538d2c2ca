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


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_grid_equals_reference(offset):
    sizes, ratios = [16, 20.5], [0.5, 1, 2]
    grid = anchor_ops.grid_anchors(3, 5, 8, anchor_ops.cell_anchors(sizes, ratios), offset)
    np.testing.assert_allclose(grid, reference.anchors(3, 5, 8, sizes, ratios, offset), rtol=1e-5, atol=1e-4)


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
