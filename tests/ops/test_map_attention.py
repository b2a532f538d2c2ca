"""Attention on a map against one query and one key at a time, in every chunk size, with its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import map_attention
from mrcnn.ops.map_attention import attend_map

HEIGHT, WIDTH = 2, 3


def arrays_of(rng, batch=2, num=7):
    shapes = ((num, 3), (HEIGHT * WIDTH, 3), (HEIGHT * WIDTH, 4), (num, HEIGHT), (num, WIDTH))
    return [rng.normal(size=(batch, *shape)).astype(np.float32) for shape in shapes]


def slow(queries, keys, values, rows, columns):
    """One query after the other."""
    out = np.zeros((len(queries), values.shape[1]))
    for i, query in enumerate(queries):
        scores = [query @ keys[y * WIDTH + x] + rows[i, y] + columns[i, x] for y in range(HEIGHT) for x in range(WIDTH)]
        shares = np.exp(scores)
        out[i] = shares / shares.sum() @ values
    return out


def open_spec(arrays):
    return [tf.TensorSpec([None, None, None if i > 2 else x.shape[2]]) for i, x in enumerate(arrays)]


@pytest.mark.parametrize("chunk, in_product", [(1, False), (3, False), (3, True), (7, True), (100, False), (100, True)])
def test_equals_the_slow_one(rng, monkeypatch, chunk, in_product):
    monkeypatch.setattr(map_attention, "_adds_in_product", lambda keys, size: in_product)
    arrays = arrays_of(rng)
    traced = tf.function(lambda *a: attend_map(*a, chunk=chunk), input_signature=open_spec(arrays))
    known = tf.function(lambda *a: attend_map(*a, chunk=chunk))
    for function in (lambda *a: attend_map(*a, chunk=chunk), traced, known):
        result = function(*(tf.constant(x) for x in arrays))
        assert result.dtype == tf.float32 and result.shape == (2, 7, 4)
        for b in range(2):
            np.testing.assert_allclose(result[b], slow(*(x[b] for x in arrays)), atol=1e-5)


@pytest.mark.parametrize("chunk", [3, 100])
@pytest.mark.parametrize("in_product", [False, True])
def test_gradient_is_that_of_plain_operations(rng, monkeypatch, chunk, in_product):
    """Rows and columns are added by the product, or after it."""
    monkeypatch.setattr(map_attention, "_adds_in_product", lambda keys, size: in_product)
    arrays = [tf.constant(x) for x in arrays_of(rng)]
    upstream = tf.constant(rng.normal(size=(2, 7, 4)), tf.float32)

    def plain(q, k, v, rows, columns):
        scores = tf.reshape(q @ tf.transpose(k, [0, 2, 1]), [2, 7, HEIGHT, WIDTH])
        scores += rows[..., None] + columns[:, :, None]
        return tf.nn.softmax(tf.reshape(scores, [2, 7, HEIGHT * WIDTH])) @ v

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            loss = tf.reduce_sum(function(*arrays) * upstream)
        return tape.gradient(loss, arrays)

    expected = gradients(plain)
    traced = tf.function(lambda *a: attend_map(*a, chunk=chunk), input_signature=open_spec(arrays))
    for function in (lambda *a: attend_map(*a, chunk=chunk), traced):
        for result, value in zip(gradients(function), expected, strict=True):
            np.testing.assert_allclose(result, value, atol=1e-5)


def test_no_array_is_larger_than_a_chunk(rng, monkeypatch):
    sizes = []
    softmax = tf.nn.softmax

    def counted(x):
        sizes.append(x.shape[1])
        return softmax(x)

    monkeypatch.setattr(map_attention.tf.nn, "softmax", counted)
    arrays = [tf.constant(x) for x in arrays_of(rng, num=100)]
    with tf.GradientTape() as tape:
        tape.watch(arrays)
        loss = tf.reduce_sum(attend_map(*arrays, chunk=30))
    tape.gradient(loss, arrays)
    assert sizes == [25] * 8  # four parts, once for the result and once for the gradient


@pytest.mark.parametrize("batch, num", [(0, 7), (2, 0)])
@pytest.mark.parametrize("chunk", [3, 100])
def test_of_nothing_there_is_nothing(rng, batch, num, chunk):
    arrays = [tf.constant(x) for x in arrays_of(rng, batch, num)]
    assert attend_map(*arrays, chunk=chunk).shape == (batch, num, 4)


def test_half_precision_stays_near(rng):
    arrays = [tf.constant(x) for x in arrays_of(rng)]
    results, slopes = [], []
    for dtype in (tf.bfloat16, tf.float32):
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            results.append(attend_map(*(tf.cast(x, dtype) for x in arrays), chunk=3))
            loss = tf.reduce_sum(tf.cast(results[-1], tf.float32) ** 2)
        slopes.append(tape.gradient(loss, arrays))
    half, full = results
    assert half.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(half, tf.float32), full, atol=0.06)
    for mine, expected in zip(*slopes, strict=True):
        assert np.linalg.norm(mine - expected) < 0.05 * np.linalg.norm(expected)
