from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import convolution
from mrcnn.ops.convolution import conv2d, dilated_from_plain, grouped_from_dense, has_gradient

SYMMETRIC = [[0, 0], [1, 1], [1, 1], [0, 0]]


def slow_conv2d(
    x: np.ndarray, kernel: np.ndarray, stride: int = 1, before: int = 1, groups: int = 1, dilation: int = 1
) -> np.ndarray:
    """Loops over groups, output cells and taps; ceil(side / stride) cells; zeros outside, `before` of them first."""
    batch, height, width, channels = x.shape
    k, _, per_group, outputs = kernel.shape
    assert per_group * groups == channels
    own = outputs // groups
    result = np.zeros((batch, -(-height // stride), -(-width // stride), outputs))
    for group, y, x0 in itertools.product(range(groups), *map(range, result.shape[1:3])):
        inside = slice(group * per_group, (group + 1) * per_group)
        outside = slice(group * own, (group + 1) * own)
        for ky, kx in itertools.product(range(k), range(k)):
            at_y, at_x = y * stride - before + ky * dilation, x0 * stride - before + kx * dilation
            if 0 <= at_y < height and 0 <= at_x < width:
                result[:, y, x0, outside] += x[:, at_y, at_x, inside] @ kernel[ky, kx, :, outside]
    return result


def _draw(height: int, width: int, channels: int, outputs: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, height, width, channels))
    return x.astype(np.float32), rng.normal(size=(3, 3, channels // groups, outputs)).astype(np.float32)


def _check(convolve: Callable[..., tf.Tensor], slow: Callable[..., np.ndarray], x: np.ndarray, k: np.ndarray) -> None:
    """Values and both gradients, in a graph of open height and width.

    The sum of `upstream` times the result is linear in the input and in the kernel, so its derivative by one number is
    its value with that number 1 and all others 0.
    """
    expected = slow(x, k)
    upstream = np.random.default_rng(1).normal(size=expected.shape).astype(np.float32)
    spec = [tf.TensorSpec((None, None, None, x.shape[-1])), tf.TensorSpec(k.shape)]

    @tf.function(input_signature=spec)
    def run(x: tf.Tensor, k: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, k])
            y = convolve(x, k)
            total = tf.reduce_sum(y * upstream)
        return [y, *tape.gradient(total, [x, k])]

    y, to_x, to_k = run(x, k)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    rng = np.random.default_rng(2)
    for value, gradient in ((x, to_x), (k, to_k)):
        for index in rng.choice(value.size, 12, replace=False):
            unit = np.zeros(value.size, np.float32)
            unit[index] = 1.0
            unit = unit.reshape(value.shape)
            derivative = np.sum(upstream * (slow(unit, k) if value is x else slow(x, unit)))
            assert float(gradient.numpy().ravel()[index]) == pytest.approx(derivative, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("stride, padding, before", [(1, "SAME", 1), (2, SYMMETRIC, 1), (2, "SAME", 0)])
@pytest.mark.parametrize("channels, outputs, groups", [(8, 8, 4), (6, 12, 2), (6, 6, 6), (4, 2, 1)])
def test_grouped_against_loops(
    monkeypatch: pytest.MonkeyPatch,
    is_native: bool,
    stride: int,
    padding: str | list,
    before: int,
    channels: int,
    outputs: int,
    groups: int,
) -> None:
    if not is_native:
        monkeypatch.setattr(convolution, "has_gradient", lambda *_: False)
        monkeypatch.setattr(convolution, "CHUNK", 4)
    x, k = _draw(4, 6, channels, outputs, groups)
    _check(
        lambda x, k: conv2d(x, k, stride, padding, groups), lambda x, k: slow_conv2d(x, k, stride, before, groups), x, k
    )


@pytest.mark.parametrize("chunk, count", [(1, 4), (4, 4), (8, 2), (15, 2), (16, 1), (64, 1)])
def test_groups_are_put_together_up_to_the_chunk(monkeypatch: pytest.MonkeyPatch, chunk: int, count: int) -> None:
    """4 groups of 4 channels."""
    monkeypatch.setattr(convolution, "CHUNK", chunk)
    x, k = _draw(3, 3, 16, 8, 4)
    graph = tf.function(
        lambda: grouped_from_dense(tf.constant(x), tf.constant(k), 1, "SAME", 4)
    ).get_concrete_function()
    assert [op.type for op in graph.graph.get_operations()].count("Conv2D") == count
    np.testing.assert_allclose(graph(), slow_conv2d(x, k, groups=4), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("is_native", [True, False])
@pytest.mark.parametrize("height, width, dilation", [(6, 7, 2), (1, 2, 2), (7, 5, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_dilated_against_loops(
    monkeypatch: pytest.MonkeyPatch, is_native: bool, height: int, width: int, dilation: int, groups: int
) -> None:
    if not is_native:
        monkeypatch.setattr(convolution, "has_gradient", lambda *_: False)
    x, k = _draw(height, width, 4, 6, groups)
    _check(
        lambda x, k: conv2d(x, k, 1, "SAME", groups, dilation),
        lambda x, k: slow_conv2d(x, k, 1, dilation, groups, dilation),
        x,
        k,
    )


def test_static_shape_is_kept() -> None:
    x, k = _draw(5, 6, 4, 6, 1)
    graph = tf.function(lambda: dilated_from_plain(tf.constant(x), tf.constant(k), 1, 2)).get_concrete_function()
    assert graph.outputs[0].shape == (2, 5, 6, 6)


def _stock_gradients(groups: int, dtype: str) -> bool:
    x, k = tf.ones((1, 4, 4, 2 * groups), dtype), tf.ones((3, 3, 2, 2 * groups), dtype)
    try:
        with tf.GradientTape() as tape:
            tape.watch([x, k])
            y = tf.nn.conv2d(x, k, 1, "SAME")
        tape.gradient(y, [x, k])
    except tf.errors.OpError:
        return False
    return True


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_asking_for_a_gradient_in_and_out_of_a_graph(dtype: str) -> None:
    expected, answers = _stock_gradients(2, dtype), []
    for ask in (lambda f: f(), lambda f: tf.function(f).get_concrete_function()):
        has_gradient.cache_clear()
        ask(lambda: answers.append(has_gradient(dtype, 2, 1)))
    assert answers == [expected, expected]
    assert has_gradient("float32", 1, 1)


@pytest.mark.parametrize("groups, dilation", [(4, 1), (1, 2), (4, 2)])
def test_half_precision_trains(groups: int, dilation: int) -> None:
    x, k = _draw(5, 4, 8, 8, groups)
    x, k = tf.cast(x, tf.float16), tf.cast(k, tf.float16)
    with tf.GradientTape() as tape:
        tape.watch([x, k])
        y = conv2d(x, k, 1, "SAME", groups, dilation)
    assert y.dtype == tf.float16 and all(g is not None for g in tape.gradient(y, [x, k]))
    np.testing.assert_allclose(
        y.numpy().astype(np.float32),
        slow_conv2d(x.numpy().astype(np.float32), k.numpy().astype(np.float32), 1, dilation, groups, dilation),
        rtol=0.02,
        atol=0.05,
    )


@pytest.mark.parametrize("stride, before", [(1, 1), (2, 1)])
@pytest.mark.parametrize("is_native", [True, False])
def test_dense_against_loops(monkeypatch: pytest.MonkeyPatch, is_native: bool, stride: int, before: int) -> None:
    monkeypatch.setattr(convolution, "has_gradient", lambda *_: is_native)
    x, k = _draw(5, 7, 4, 3, 1)
    padding = "SAME" if stride == 1 else SYMMETRIC
    _check(lambda x, k: conv2d(x, k, stride, padding), lambda x, k: slow_conv2d(x, k, stride, before), x, k)


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_in_half_precision_has_the_gradients_of_float32(stride: int) -> None:
    x, k = _draw(5, 6, 4, 3, 1)
    k = k[1:2, 1:2]

    def gradients(dtype: str) -> list[np.ndarray]:
        inputs, kernel = tf.cast(x, dtype), tf.cast(k, dtype)
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            y = conv2d(inputs, kernel, stride)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * np.arange(1, 4, dtype=np.float32))
        results = [y, *tape.gradient(total, [inputs, kernel])]
        assert all(g.dtype == dtype for g in results)
        return [tf.cast(g, tf.float32).numpy() for g in results]

    for half, full in zip(gradients("bfloat16"), gradients("float32"), strict=True):
        np.testing.assert_allclose(half, full, rtol=0.03, atol=0.1)


def test_gradients_of_half_precision_are_in_the_graph_that_trains_fast() -> None:
    """No padding stated in an operation that oneDNN cannot take, and a matrix product for the 1x1 kernel."""

    @tf.function(autograph=False)
    def run(x: tf.Tensor, wide: tf.Tensor, narrow: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([wide, narrow])
            y = conv2d(conv2d(x, wide, 2, SYMMETRIC), narrow)
        return tape.gradient(y, [wide, narrow])

    x, k = (tf.cast(v, tf.bfloat16) for v in _draw(6, 6, 4, 4, 1))
    graph = run.get_concrete_function(x, k, k[1:2, 1:2]).graph
    functions = [graph, *(graph._get_function(name).graph for name in graph._functions)]
    ops = [op for function in functions for op in function.get_operations()]
    gradients = [op for op in ops if op.type.startswith("Conv2DBackprop")]
    assert gradients and all(op.get_attr("padding") != b"EXPLICIT" for op in gradients)
    kernels = [op for op in gradients if op.type == "Conv2DBackpropFilter"]
    assert len(kernels) == 1 and any(op.type == "MatMul" for op in ops)
