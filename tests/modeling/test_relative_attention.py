"""Attention with decomposed relative positions against plain loops over pairs of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.relative_attention import RelativeAttention

HEADS, DEPTH = 2, 3


def built(rng, window=0, grid=3) -> RelativeAttention:
    layer = RelativeAttention(HEADS, window, grid, name="a")
    layer.build((None, None, None, HEADS * DEPTH))
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    return layer


def weights_of(layer) -> dict[str, np.ndarray]:
    return {v.path.removeprefix(f"{layer.name}/"): np.asarray(v, np.float64) for v in layer.weights}


def attention(x, weights, window=0):
    """One pair of cells after the other; tables are of the right size."""
    height, width, channels = x.shape
    side_y, side_x = (window, window) if window else (height, width)
    padded = np.zeros((-(-height // side_y) * side_y, -(-width // side_x) * side_x, channels))
    padded[:height, :width] = x
    q, k, v = np.split(padded @ weights["qkv/kernel"] + weights["qkv/bias"], 3, axis=-1)
    out = np.zeros((height, width, channels))
    for i in range(height):
        for j in range(width):
            top, left = i // side_y * side_y, j // side_x * side_x
            others = [(y, z) for y in range(top, top + side_y) for z in range(left, left + side_x)]
            for h in range(HEADS):
                part = slice(h * DEPTH, (h + 1) * DEPTH)
                query, scores = q[i, j, part], []
                for y, z in others:
                    score = query @ k[y, z, part] / math.sqrt(DEPTH)
                    if "rows" in weights:
                        score += query @ weights["rows"][i - y + side_y - 1]
                        score += query @ weights["columns"][j - z + side_x - 1]
                    scores.append(score)
                shares = np.exp(scores)
                out[i, j, part] = shares / shares.sum() @ np.array([v[y, z, part] for y, z in others])
    return out @ weights["project/kernel"] + weights["project/bias"]


@pytest.mark.parametrize("size, window, grid", [((3, 3), 0, 3), ((2, 4), 0, 0), ((4, 5), 3, 3), ((3, 6), 3, 3)])
def test_equals_plain_loops(rng, size, window, grid):
    layer = built(rng, window, grid)
    x = rng.normal(0, 1, (2, *size, HEADS * DEPTH))
    ours = layer(tf.constant(x, tf.float32))
    for image, mine in zip(x, ours, strict=True):
        np.testing.assert_allclose(mine, attention(image, weights_of(layer), window), rtol=1e-4, atol=1e-4)
    open_size = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, HEADS * DEPTH])])
    np.testing.assert_allclose(open_size(tf.constant(x, tf.float32)), ours, rtol=1e-5, atol=1e-5)


def test_rows_and_columns_are_not_mixed_up_where_tables_are_interpolated(rng):
    """Of a map and its transpose, with the tables changed over, the results are each other's transpose."""
    layer, turned = built(rng), RelativeAttention(HEADS, 0, 3, name="b")
    turned.build((None, None, None, HEADS * DEPTH))
    for own, other in (("rows", "columns"), ("columns", "rows")):
        getattr(turned, own).assign(getattr(layer, other))
    for name in ("qkv", "project"):
        getattr(turned, name).set_weights(getattr(layer, name).get_weights())
    x = rng.normal(0, 1, (1, 4, 2, HEADS * DEPTH)).astype(np.float32)
    result = turned(tf.constant(x.transpose(0, 2, 1, 3))).numpy().transpose(0, 2, 1, 3)
    np.testing.assert_allclose(layer(tf.constant(x)), result, rtol=1e-4, atol=1e-5)


def test_impossible_layers_are_refused():
    with pytest.raises(ValueError, match="heads"):
        RelativeAttention(5).build((None, None, None, 6))
    with pytest.raises(ValueError, match="window -1"):
        RelativeAttention(1, window=-1)


def test_layers_come_back_from_their_config():
    layer = RelativeAttention(HEADS, 4, 4)
    assert RelativeAttention.from_config(layer.get_config()).get_config() == layer.get_config()
