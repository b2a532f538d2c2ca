from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.feature_pooling import pool_features


def slow_pool(cells, window, side):
    """Cell by cell."""
    h, w, _ = cells.shape
    inside = [
        cells[y, x]
        for y in range(h)
        for x in range(w)
        if window[0] <= (y + 0.5) * side[0] / h < window[2] and window[1] <= (x + 0.5) * side[1] / w < window[3]
    ]
    return np.concatenate([np.mean(inside, 0), np.std(inside, 0)])


def test_against_plain_loops() -> None:
    rng = np.random.default_rng(0)
    maps = {"p3": rng.normal(size=(2, 8, 12, 3)), "p2": rng.normal(size=(2, 16, 24, 3))}
    windows = np.array([[0, 0, 64, 96], [8, 4, 50, 61]], np.float32)
    pooled = pool_features({k: tf.constant(v, tf.float32) for k, v in maps.items()}, tf.constant(windows), [64, 96])
    for k in range(2):
        expected = np.concatenate([slow_pool(maps[name][k], windows[k], (64, 96)) for name in ("p2", "p3")])
        assert pooled[k].numpy() == pytest.approx(expected, abs=1e-5)


def test_padding_does_not_count_and_an_empty_window_is_zero() -> None:
    cells = np.ones((1, 4, 4, 1), np.float32)
    cells[0, 2:] = 99
    window = tf.constant([[0.0, 0, 8, 16]])
    assert pool_features({"p2": tf.constant(cells)}, window, [16, 16]).numpy().tolist() == [[1, 0]]
    nothing = tf.constant([[0.0, 0, 0, 0]])
    assert pool_features({"p2": tf.constant(cells)}, nothing, [16, 16]).numpy().tolist() == [[0, 0]]
