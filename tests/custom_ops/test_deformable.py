"""Deformable convolution by the op: the same numbers and gradients as of TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.native import loading
from mrcnn.ops.deformable_conv import deformable_conv2d
from tests.ops.test_deformable_conv import CASES, make
from tests.reference import deformable_conv as reference
from tests.tolerances import tolerance_of

pytestmark = pytest.mark.slow


def with_gradients(arrays, options, method):
    variables = [tf.constant(x) for x in arrays if x is not None]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        outputs = deformable_conv2d(*variables, **options, method=method)
        upstream = tf.cast(tf.sin(tf.range(tf.size(outputs), dtype=tf.float32)), outputs.dtype)
        total = tf.reduce_sum(outputs * tf.reshape(upstream, tf.shape(outputs)))
    return outputs, *tape.gradient(total, variables)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_slow_one(op, rng, name):
    *arrays, options = make(rng, *CASES[name])
    arrays[1][0, 0, 0, :6] = [0.0, 1.0, -9.0, np.inf, np.nan, 1e30]
    expected = reference.deformable_conv2d(*arrays, **options)
    np.testing.assert_allclose(deformable_conv2d(*arrays, **options, method="op"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("channels", [8, 96])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_pure_path(op, rng, name, channels, dtype):
    *arrays, options = make(rng, *CASES[name], channels=channels)
    arrays[1][:, 1, 1] = np.round(arrays[1][:, 1, 1])  # where the slopes have a kink
    arrays = [None if x is None else tf.cast(x, dtype) for x in arrays]
    rounding = tolerance_of(dtype).rounding
    ours, theirs = (with_gradients(arrays, options, method) for method in ("op", "gather"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype and mine.shape == other.shape
        other = tf.cast(other, tf.float32).numpy()
        scale = np.abs(other).max()
        np.testing.assert_allclose(
            tf.cast(mine, tf.float32), other, rtol=rounding, atol=max(2 * rounding, 1e-5) * scale
        )


def test_other_paddings_and_kernels(op, rng):
    inputs = rng.normal(size=(1, 6, 7, 2)).astype(np.float32)
    kernel = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    for padding, out in ((0, (6, 6)), (2, (10, 10))):
        offsets = rng.normal(size=(1, *out, 4)).astype(np.float32)
        options = {"padding": padding}
        ours, theirs = (with_gradients((inputs, offsets, kernel), options, method) for method in ("op", "gather"))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_no_image(op, rng):
    *arrays, options = make(rng, *CASES["modulated"], batch=0)
    outputs, *gradients = with_gradients(arrays, options, "op")
    assert outputs.shape == (0, 6, 5, 4)
    assert [g.shape for g in gradients] == [x.shape for x in arrays]
    assert not np.any(gradients[2])


def test_chosen_by_default_and_not_where_stock_ops_are_asked_for(op, rng, monkeypatch):
    *arrays, options = make(rng, *CASES["plain"])
    monkeypatch.delenv(loading.VARIABLE, raising=False)

    def operations():
        graph = tf.function(lambda: deformable_conv2d(*arrays, **options)).get_concrete_function().graph
        functions = [f.graph for f in graph._functions.values()] if hasattr(graph, "_functions") else []
        defs = graph.as_graph_def().library.function
        return {node.op for function in defs for node in function.node_def} | {
            o.type for g in functions for o in g.get_operations()
        }

    assert "MrcnnDeformableColumns" in operations()
    for stock in (loading.stock_ops(), loading.replaced_by(lambda *_: pytest.fail("there are no RoIs"))):
        with stock:
            assert not any(name.startswith("Mrcnn") for name in operations())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 4), (1, 4, 4, 18), (0, 0, 0, 0)), r"must be rank 4|features: expected"),
        (((1, 4, 4, 2), (1, 4, 3, 18), (0, 0, 0, 0)), r"offsets: expected \[1, 4, 4, a multiple of 18\]"),
        (((1, 4, 4, 2), (1, 4, 4, 18), (1, 4, 4, 8)), "mask: expected"),
        (((1, 4, 4, 3), (1, 4, 4, 36), (0, 0, 0, 0)), "2 groups of offsets"),
    ],
)
def test_the_op_refuses_shapes_that_do_not_fit(op, shapes, message):
    features, offsets, mask = (tf.zeros(shape) for shape in shapes)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        op.mrcnn_deformable_columns(
            features=features, offsets=offsets, mask=mask, kernel_height=3, kernel_width=3, padding=1
        )


def test_the_same_digits_on_any_number_of_threads(op, rng):
    *arrays, options = make(rng, *CASES["offset_groups"], channels=96)
    first, second = (with_gradients(arrays, options, "op") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
