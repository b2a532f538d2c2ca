"""Deformable convolution against one sample after another, and its gradients against differences."""

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.deformable_conv import deformable_conv2d
from tests.reference import deformable_conv as reference
from tests.tolerances import tolerance_of

CASES = {
    # offset groups, groups, stride, dilation, modulated
    "plain": (1, 1, 1, 1, False),
    "modulated": (1, 1, 1, 1, True),
    "strided": (1, 1, 2, 1, True),
    "dilated": (1, 1, 1, 2, False),
    "groups": (2, 4, 2, 1, True),
    "offset_groups": (4, 2, 1, 1, True),
}


def make(rng, offset_groups, groups, stride, dilation, modulated, batch=2, size=(6, 5), channels=8, filters=4):
    inputs = rng.normal(size=(batch, *size, channels)).astype(np.float32)
    out = tuple((side - 1) // stride + 1 for side in size)
    offsets = rng.normal(0, 2, (batch, *out, 18 * offset_groups)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, channels // groups, filters)).astype(np.float32)
    mask = rng.uniform(size=(batch, *out, 9 * offset_groups)).astype(np.float32) if modulated else None
    return inputs, offsets, kernel, mask, {"stride": stride, "dilation": dilation, "groups": groups}


@pytest.mark.parametrize("name", CASES)
def test_equals_one_sample_after_another(rng, name):
    *arrays, options = make(rng, *CASES[name])
    arrays[1][0, 0, 0, :6] = [0.0, 1.0, -9.0, np.inf, np.nan, 1e30]
    expected = reference.deformable_conv2d(*arrays, **options)
    np.testing.assert_allclose(deformable_conv2d(*arrays, **options), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_slopes(rng, name):
    """Along random directions, by differences of the float64 reference; away from the kinks of whole positions."""
    inputs, offsets, kernel, mask, options = make(rng, *CASES[name], batch=1, size=(4, 3))
    fraction = offsets - np.floor(offsets)
    offsets = (np.floor(offsets) + 0.1 + 0.8 * fraction).astype(np.float32)
    given = [x for x in (inputs, offsets, kernel, mask) if x is not None]
    variables = [tf.constant(x) for x in given]
    upstream = rng.normal(size=(1, *offsets.shape[1:3], kernel.shape[-1]))
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = tf.reduce_sum(deformable_conv2d(*variables, **options) * tf.cast(upstream, tf.float32))
    for k, gradient in enumerate(tape.gradient(total, variables)):
        direction = rng.normal(size=given[k].shape)

        def at(step, k=k, direction=direction):
            moved = [x + step * direction if i == k else x for i, x in enumerate(given)]
            return np.sum(upstream * reference.deformable_conv2d(*moved, **options))

        slope = (at(1e-4) - at(-1e-4)) / 2e-4
        np.testing.assert_allclose(np.sum(gradient.numpy() * direction), slope, rtol=1e-3, atol=1e-3)


def test_whole_offsets_move_the_taps():
    image = tf.reshape(tf.range(25.0), [1, 5, 5, 1])
    kernel = tf.ones((3, 3, 1, 1))
    one_to_the_right = tf.tile(tf.constant([0.0, 1.0]), [9])
    moved = deformable_conv2d(image, tf.broadcast_to(one_to_the_right, [1, 5, 5, 18]), kernel)
    plain = tf.nn.conv2d(image, kernel, 1, "SAME")
    np.testing.assert_array_equal(moved[:, :, :-1], plain[:, :, 1:])
    np.testing.assert_array_equal(moved[0, :, -1, 0], [4 + 9, 4 + 9 + 14, 9 + 14 + 19, 14 + 19 + 24, 19 + 24])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_without_offsets_it_is_a_convolution(rng, groups, stride, dilation):
    inputs, offsets, kernel, _, options = make(rng, 1, groups, stride, dilation, False, size=(8, 6))
    padded = np.pad(inputs, [(0, 0), (dilation, dilation), (dilation, dilation), (0, 0)])
    expected = tf.nn.conv2d(padded, kernel, stride, "VALID", dilations=dilation)
    np.testing.assert_allclose(deformable_conv2d(inputs, 0 * offsets, kernel, **options), expected, atol=1e-5)


def test_other_paddings_and_kernels(rng):
    inputs = rng.normal(size=(1, 6, 7, 2)).astype(np.float32)
    kernel = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    for padding, out in ((0, (6, 6)), (2, (10, 10))):
        offsets = rng.normal(size=(1, *out, 4)).astype(np.float32)
        expected = reference.deformable_conv2d(inputs, offsets, kernel, padding=padding)
        np.testing.assert_allclose(deformable_conv2d(inputs, offsets, kernel, padding=padding), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision(rng, dtype):
    *arrays, options = make(rng, *CASES["modulated"])
    inputs, offsets, kernel, mask = (tf.cast(x, dtype) for x in arrays)
    narrow = deformable_conv2d(inputs, offsets, kernel, mask, **options)
    wide = deformable_conv2d(*(tf.cast(x, tf.float32) for x in (inputs, offsets, kernel, mask)), **options)
    assert narrow.dtype == dtype
    np.testing.assert_allclose(tf.cast(narrow, tf.float32), wide, atol=tolerance_of(dtype).rounding * 60)


def test_no_image(rng):
    inputs, offsets, kernel, mask, options = make(rng, *CASES["modulated"], batch=0)
    variables = [tf.constant(x) for x in (inputs, offsets, kernel, mask)]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        outputs = deformable_conv2d(*variables, **options)
    assert outputs.shape == (0, 6, 5, 4)
    assert [g.shape for g in tape.gradient(outputs, variables)] == [v.shape for v in variables]


def test_open_sizes_in_a_graph(rng):
    *arrays, options = make(rng, *CASES["groups"])
    signature = [tf.TensorSpec([None, None, None, x.shape[-1]]) for x in (arrays[0], arrays[1], arrays[3])]

    @tf.function(input_signature=signature)
    def convolve(inputs, offsets, mask):
        return deformable_conv2d(inputs, offsets, tf.constant(arrays[2]), mask, **options)

    inputs, offsets, _, mask = arrays
    np.testing.assert_allclose(
        convolve(inputs, offsets, mask), deformable_conv2d(*arrays, **options), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
def test_xla_compiles_it_with_its_gradient(rng):
    inputs, offsets, kernel, mask, options = make(rng, *CASES["modulated"])

    def both(*variables):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            outputs = deformable_conv2d(*variables, **options)
            total = tf.reduce_sum(outputs**2)
        return outputs, *tape.gradient(total, variables)

    given = [tf.constant(x) for x in (inputs, offsets, kernel, mask)]
    for compiled, plain in zip(tf.function(both, jit_compile=True)(*given), both(*given), strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((17, 9, 8), "offsets have 17 channels, expected 18"),
        ((54, 27, 8), "divide 8 channels"),
        ((18, 18, 8), "the mask has 18"),
        ((18, 9, 7), "do not fit 7"),
    ],
)
def test_refuses_channels_that_do_not_fit(channels, message):
    offsets, mask, inputs = (tf.zeros((1, 3, 3, c)) for c in channels)
    with pytest.raises(ValueError, match=message):
        deformable_conv2d(inputs, offsets, tf.zeros((3, 3, 8, 2)), mask)
