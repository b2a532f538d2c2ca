"""Points between cells, against plain loops; what is drawn; what is doubled and replaced."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import points as point_ops


def slow_sample(grid, y, x):
    """[h, w, C] at (y, x), cell centers at halves, zeros around."""
    y, x = y - 0.5, x - 0.5
    total = np.zeros(grid.shape[-1])
    for i in (int(np.floor(y)), int(np.floor(y)) + 1):
        for j in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= i < grid.shape[0] and 0 <= j < grid.shape[1]:
                total += grid[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return total


def test_samples_equal_plain_loops(rng):
    maps = rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
    points = rng.uniform(-1.5, 8, (2, 40, 2)).astype(np.float32)
    points[:, 0] = 0.0, 6.0
    ours = point_ops.sample_points(tf.constant(maps), tf.constant(points)).numpy()
    for n, p in np.ndindex(2, 40):
        np.testing.assert_allclose(ours[n, p], slow_sample(maps[n], *points[n, p]), atol=1e-5)


def test_samples_of_masks_equal_those_of_maps(rng):
    masks = rng.integers(0, 2, (2, 3, 5, 4)).astype(np.uint8)
    index, points = rng.integers(0, 3, (2, 6)), rng.uniform(-1, 6, (2, 6, 7, 2)).astype(np.float32)
    ours = point_ops.sample_masks(tf.constant(masks), tf.constant(index, tf.int32), tf.constant(points)).numpy()
    for b, s, p in np.ndindex(2, 6, 7):
        expected = slow_sample(masks[b, index[b, s]][..., None].astype(float), *points[b, s, p])[0]
        assert ours[b, s, p] == pytest.approx(expected, abs=1e-5)


def test_gradients_of_samples_are_their_weights(rng):
    maps, points = rng.normal(size=(1, 3, 3, 2)), rng.uniform(-0.5, 3.5, (1, 5, 2))
    theory, practice = tf.test.compute_gradient(
        lambda x: point_ops.sample_points(x, tf.constant(points, tf.float32)), [tf.constant(maps, tf.float32)], 0.25
    )
    np.testing.assert_allclose(theory[0], practice[0], atol=1e-3)


def test_nothing_gives_nothing():
    assert point_ops.sample_points(tf.zeros([0, 3, 3, 2]), tf.zeros([0, 4, 2])).shape == (0, 4, 2)
    assert point_ops.sample_points(tf.zeros([2, 3, 3, 2]), tf.zeros([2, 0, 2])).shape == (2, 0, 2)
    assert point_ops.double(tf.zeros([0, 2, 3])).shape == (0, 4, 6)


def test_points_of_a_box_in_the_image():
    boxes = tf.constant([[[0.0, 0.0, 8.0, 4.0], [10.0, 20.0, 10.0, 20.0]]])
    points = tf.broadcast_to(point_ops.regular_points(2), [1, 2, 4, 2])
    ours = point_ops.points_in_image(points, boxes).numpy()[0]
    np.testing.assert_allclose(ours[0], [[2, 1], [2, 3], [6, 1], [6, 3]])
    np.testing.assert_allclose(ours[1], [[10, 20]] * 4)


def test_grids_take_parts_of_themselves(rng):
    grids = rng.normal(size=(2, 4, 4, 1)).astype(np.float32)
    points = tf.broadcast_to(point_ops.regular_points(4), [2, 16, 2])
    np.testing.assert_allclose(point_ops.sample_grids(tf.constant(grids), points), grids.reshape(2, 16, 1), atol=1e-6)


def test_drawn_points_depend_on_the_seed_of_their_image_and_not_on_the_number_of_rois():
    seed = tf.constant([[1, 2], [3, 4]])
    few, many = (point_ops.draw_points(seed, num, 9).numpy() for num in (2, 5))
    np.testing.assert_array_equal(few, many[:, :2])
    np.testing.assert_array_equal(few[1:], point_ops.draw_points(seed[1:], 2, 9))
    assert many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.1
    assert len(np.unique(many)) == many.size


def test_doubling_is_the_bilinear_resize_of_half_pixel_centers(rng):
    grid = rng.normal(size=(2, 3, 5)).astype(np.float32)
    expected = tf.image.resize(grid[..., None], [6, 10], "bilinear")[..., 0]
    np.testing.assert_allclose(point_ops.double(tf.constant(grid)), expected, atol=1e-6)


def test_only_the_least_certain_cells_are_replaced(rng):
    grid = rng.normal(size=(3, 4, 5)).astype(np.float32)
    index = point_ops.least_certain(tf.reshape(tf.constant(grid), [3, 20]), 6)
    ours = point_ops.replace_points(tf.constant(grid), index, tf.fill([3, 6], 9.0)).numpy()
    for n in range(3):
        smallest = np.argsort(np.abs(grid[n].ravel()))[:6]
        expected = grid[n].ravel().copy()
        expected[smallest] = 9.0
        np.testing.assert_array_equal(ours[n].ravel(), expected)
