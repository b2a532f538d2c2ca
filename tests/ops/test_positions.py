"""Positions of a map: interpolation against plain loops and hand numbers, distances one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.positions import relative_positions, resize_positions

SIZES = [(4, 4), (3, 7), (9, 2), (1, 1)]


def cubic(x: float) -> float:
    """Keys' kernel with PyTorch's a = -0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def slow_bicubic(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    side = len(grid)
    out = np.zeros((height, width, grid.shape[2]))
    for i in range(height):
        for j in range(width):
            y, x = ((k + 0.5) * side / size - 0.5 for k, size in ((i, height), (j, width)))
            for m in range(math.floor(y) - 1, math.floor(y) + 3):
                for n in range(math.floor(x) - 1, math.floor(x) + 3):
                    cell = grid[min(max(m, 0), side - 1), min(max(n, 0), side - 1)]
                    out[i, j] += cubic(y - m) * cubic(x - n) * cell
    return out


@pytest.mark.parametrize("height, width", SIZES)
def test_bicubic_equals_plain_loops(rng, height, width):
    grid = rng.normal(size=(4, 4, 3)).astype(np.float32)
    expected = slow_bicubic(grid.astype(np.float64), height, width)
    np.testing.assert_allclose(resize_positions(tf.constant(grid), height, width), expected, atol=1e-5)
    traced = tf.function(
        resize_positions, input_signature=[tf.TensorSpec([4, 4, 3])] + [tf.TensorSpec([], tf.int32)] * 2
    )
    np.testing.assert_allclose(traced(grid, height, width), expected, atol=1e-5)


def test_the_grids_own_size_changes_nothing(rng):
    grid = rng.normal(size=(5, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(resize_positions(tf.constant(grid), 5, 5), grid)
    np.testing.assert_array_equal(resize_positions(tf.constant(grid), tf.constant(5), tf.constant(5)), grid)


@pytest.mark.parametrize("queries, keys, length", [(3, 3, 5), (4, 4, 5), (2, 2, 7), (6, 3, 11), (2, 4, 7), (6, 3, 5)])
def test_distances_one_by_one(rng, queries, keys, length):
    table = rng.normal(size=(length, 2)).astype(np.float32)
    target = 2 * max(queries, keys) - 1
    expected = np.zeros((queries, keys, 2))
    for i in range(queries):
        for j in range(keys):
            size = max(queries, keys)  # in the cells of the finer of the two
            row = math.floor(i * size / queries - j * size / keys) + (keys - 1) * size // keys
            place = max((row + 0.5) * length / target - 0.5, 0.0)
            low = int(place)
            expected[i, j] = table[low] + (place - low) * (table[min(low + 1, length - 1)] - table[low])
    np.testing.assert_allclose(relative_positions(tf.constant(table), queries, keys), expected, atol=1e-5)
    open_sizes = relative_positions(tf.constant(table), tf.constant(queries), tf.constant(keys))
    np.testing.assert_allclose(open_sizes, expected, atol=1e-5)


def test_gradient_of_interpolated_positions():
    grid = tf.Variable(tf.ones([2, 2, 1]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(resize_positions(grid, 3, 5))
    np.testing.assert_allclose(tape.gradient(total, grid), np.full((2, 2, 1), 15 / 4), rtol=1e-5)
