"""Attention against one place at a time, in every chunk size, with its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import attention
from tests.reference import attention as reference


def arrays_of(rng, batch=2, num=7, keys=5):
    shapes = ((batch, num, 3), (batch, keys, 3), (batch, keys, 4))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("open_shape", [False, True])
def test_equals_the_slow_one(rng, chunk, open_shape):
    arrays = arrays_of(rng)
    spec = [tf.TensorSpec([None, None, x.shape[2]]) if open_shape else tf.TensorSpec(x.shape) for x in arrays]
    in_graph = tf.function(lambda q, k, v: attention.attend(q, k, v, chunk=chunk), input_signature=spec)
    for result in (attention.attend(*arrays, chunk=chunk), in_graph(*arrays)):
        assert result.dtype == tf.float32 and result.shape == (2, 7, 4)
        for b in range(2):
            np.testing.assert_allclose(result[b], reference.attend(*(x[b] for x in arrays)), atol=1e-5)


@pytest.mark.parametrize("chunk", [3, 100])
def test_gradient_is_that_of_plain_operations(rng, chunk):
    arrays = [tf.constant(x) for x in arrays_of(rng)]
    upstream = tf.constant(rng.normal(size=(2, 7, 4)), tf.float32)

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            loss = tf.reduce_sum(function(*arrays) * upstream)
        return tape.gradient(loss, arrays)

    expected = gradients(lambda q, k, v: tf.nn.softmax(q @ tf.transpose(k, [0, 2, 1])) @ v)
    open_spec = [tf.TensorSpec([None, None, x.shape[2]]) for x in arrays]
    traced = tf.function(lambda q, k, v: attention.attend(q, k, v, chunk=chunk), input_signature=open_spec)
    for function in (lambda q, k, v: attention.attend(q, k, v, chunk=chunk), traced):
        for result, value in zip(gradients(function), expected, strict=True):
            np.testing.assert_allclose(result, value, atol=1e-5)


def test_no_array_is_larger_than_a_chunk(monkeypatch):
    """What the weights are computed from never holds more queries than `chunk`, forwards or backwards."""
    sizes = []
    softmax = tf.nn.softmax

    def counted(x):
        sizes.append(x.shape[1])
        return softmax(x)

    monkeypatch.setattr(attention.tf.nn, "softmax", counted)
    x = tf.ones([1, 100, 2])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(attention.attend(x, x, x, chunk=30))
    tape.gradient(loss, x)
    assert sizes == [25] * 8  # four parts, once for the result and once for the gradient


@pytest.mark.parametrize("batch, num", [(0, 7), (2, 0)])
@pytest.mark.parametrize("chunk", [3, 100])
def test_of_nothing_there_is_nothing(rng, batch, num, chunk):
    arrays = arrays_of(rng, batch, num)
    spec = [tf.TensorSpec([None, None, x.shape[2]]) for x in arrays]
    in_graph = tf.function(lambda q, k, v: attention.attend(q, k, v, chunk=chunk), input_signature=spec)
    for result in (attention.attend(*arrays, chunk=chunk), in_graph(*arrays)):
        assert result.shape == (batch, num, 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_beyond_half_precision_stay_finite(dtype):
    """A product of 90,000 is more than float16 holds; the largest one wins."""
    queries = tf.cast([[[300.0]]], dtype)
    keys, values = tf.cast([[[300.0], [1.0]]], dtype), tf.cast([[[2.0], [4.0]]], dtype)
    result = attention.attend(queries, keys, values)
    assert result.dtype == dtype and float(result[0, 0, 0]) == 2.0
