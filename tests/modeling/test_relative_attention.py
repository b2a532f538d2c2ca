"""Attention with decomposed relative positions against plain loops over pairs of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.relative_attention import PoolingAttention, RelativeAttention

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


def pooled(x, kernel, norm, stride):
    """A depthwise 3x3 convolution around every stride-th cell, then a layer norm."""
    padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
    rows, columns = (-(-side // stride) for side in x.shape[:2])
    out = np.zeros((rows, columns, x.shape[2]))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = (padded[i * stride : i * stride + 3, j * stride : j * stride + 3] * kernel[..., 0]).sum((0, 1))
    center = out - out.mean(-1, keepdims=True)
    return center / np.sqrt((center**2).mean(-1, keepdims=True) + 1e-6) * norm[0] + norm[1]


def pooling_attention(x, weights, q_stride, kv_stride, window=0):
    """One query and one key after the other; tables are of the right size for windows of equal numbers of cells."""
    width = weights["project/kernel"].shape[0]
    qkv = np.split(x @ weights["qkv/kernel"] + weights["qkv/bias"], 3, axis=-1)
    depth = width // HEADS
    heads = []
    for h in range(HEADS):
        q, k, v = (
            pooled(
                part[..., h * depth : (h + 1) * depth],
                weights[f"{name}_depthwise/kernel"],
                [weights[f"{name}_depthwise/norm/{leaf}"] for leaf in ("gamma", "beta")],
                stride,
            )
            for part, name, stride in zip(
                qkv, ("queries", "keys", "values"), (q_stride, kv_stride, kv_stride), strict=True
            )
        )
        side_q, side_k = ((window // s, window // s) if window else None for s in (q_stride, kv_stride))
        side_q, side_k = side_q or q.shape[:2], side_k or k.shape[:2]
        count = [-(-n // s) for n, s in zip(q.shape[:2], side_q, strict=True)]
        k, v = (
            np.pad(a, [(0, c * s - n) for c, s, n in zip(count, side_k, a.shape[:2], strict=True)] + [(0, 0)])
            for a in (k, v)
        )
        out = np.zeros_like(q)
        for i in range(q.shape[0]):
            for j in range(q.shape[1]):
                top, left = i // side_q[0] * side_k[0], j // side_q[1] * side_k[1]
                own = (i % side_q[0], j % side_q[1])
                scores, values = [], []
                for y in range(side_k[0]):
                    for z in range(side_k[1]):
                        score = q[i, j] @ k[top + y, left + z] / math.sqrt(depth)
                        for table, a, b, n, m in zip(("rows", "columns"), own, (y, z), side_q, side_k, strict=True):
                            fine = max(n, m)
                            score += q[i, j] @ weights[table][a * fine // n - b * fine // m + (m - 1) * fine // m]
                        scores.append(score)
                        values.append(v[top + y, left + z])
                shares = np.exp(scores)
                out[i, j] = shares / shares.sum() @ np.array(values)
        heads.append(out + q)
    return np.concatenate(heads, -1) @ weights["project/kernel"] + weights["project/bias"]


@pytest.mark.parametrize(
    "size, q_stride, kv_stride, window, grid",
    [((4, 4), 1, 2, 0, 4), ((4, 4), 2, 1, 0, 4), ((6, 5), 1, 2, 4, 4), ((8, 6), 2, 2, 4, 2)],
)
def test_pooling_equals_plain_loops(rng, size, q_stride, kv_stride, window, grid):
    layer = PoolingAttention(HEADS * DEPTH, HEADS, q_stride, kv_stride, window=window, grid=grid, name="a")
    layer.build((None, None, None, 4))
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.5, variable.shape))
    x = rng.normal(0, 1, (2, *size, 4))
    ours = layer(tf.constant(x, tf.float32))
    for image, mine in zip(x, ours, strict=True):
        expected = pooling_attention(image, weights_of(layer), q_stride, kv_stride, window)
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-3)
    open_size = tf.function(layer, input_signature=[tf.TensorSpec([None, None, None, 4])])
    np.testing.assert_allclose(open_size(tf.constant(x, tf.float32)), ours, rtol=1e-4, atol=1e-5)


def test_impossible_pooling_is_refused():
    with pytest.raises(ValueError, match="heads"):
        PoolingAttention(6, 4, grid=2)
    with pytest.raises(ValueError, match="divide the window 5"):
        PoolingAttention(6, 2, 2, window=5, grid=2)
    layer = PoolingAttention(6, 2, 2, 2, window=4, grid=2)
    assert PoolingAttention.from_config(layer.get_config()).get_config() == layer.get_config()
