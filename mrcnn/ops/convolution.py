"""Convolutions that train on every device, and as fast as it can: grouped, dilated and padded ones.

TensorFlow's own kernels on the CPU know no gradient of either; oneDNN's do, which TensorFlow uses on most CPUs but not
on all, and not in float16. Keras goes round this by way of XLA, whose gradient takes up to seventy times as long as a
dense convolution's. Here the first call asks TensorFlow once per dtype; where it has no gradient, plain convolutions
are put together to the same function. benchmarks/grouped_convolution.py compares the ways.

With padding stated side by side, oneDNN computes the convolution but not its gradients: TensorFlow's own kernels do,
which take up to a hundred times as long in bfloat16. Here they are those of a convolution of the padded input. The
gradient of a 1x1 kernel in half precision is a matrix product: oneDNN's own takes two to eight times as long. Where
oneDNN is not used, the gradient of the input is a convolution with the flipped kernel, which TensorFlow's own gradient
takes up to three times as long as.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.ops.custom_gradient import custom_gradient

CHUNK = 32
"""Input channels of the dense convolutions that a grouped one is made of: with fewer there are too many of them, with
more the zeros cost too much."""


def conv2d(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    stride: int = 1,
    padding: str | list[list[int]] = "SAME",
    groups: int = 1,
    dilation: int = 1,
) -> tf.Tensor:
    """Convolution, grouped or dilated or neither.

    Args:
        inputs: [B, H, W, in], floating.
        kernel: [k, k, in / groups, out]; output channels group after group.
        stride: step in both directions.
        padding: "SAME", "VALID" or, with dilation 1, [[0, 0], [top, bottom], [left, right], [0, 0]].
        groups: divides in and out.
        dilation: cells from one tap of the kernel to the next; more than 1 needs stride 1 and padding "SAME".

    Returns:
        [B, H', W', out].
    """
    if groups == 1 and dilation == 1:
        if kernel.shape[:2] == (1, 1) and inputs.dtype != tf.float32 and isinstance(padding, str):
            return _pointwise_conv2d(inputs, kernel, stride=stride)
        if padding == "SAME" and stride == 1 and _is_odd(kernel) and not has_gradient(inputs.dtype.name, 2, 1):
            return _same_conv2d(inputs, kernel)
        if isinstance(padding, str):
            return tf.nn.conv2d(inputs, kernel, stride, padding)
        return _padded_conv2d(inputs, kernel, stride=stride, sides=tuple(map(tuple, padding)))
    if dilation > 1 and not has_gradient(inputs.dtype.name, 1, dilation):
        return dilated_from_plain(inputs, kernel, groups, dilation)
    if groups > 1 and not has_gradient(inputs.dtype.name, 2, 1):
        return grouped_from_dense(inputs, kernel, stride, padding, groups, dilation)
    if not isinstance(padding, str):  # of which oneDNN knows no gradient
        inputs, padding = tf.pad(inputs, padding), "VALID"
    return tf.nn.conv2d(inputs, kernel, stride, padding, dilations=dilation)


@custom_gradient
def _padded_conv2d(
    inputs: tf.Tensor, kernel: tf.Tensor, *, stride: int, sides: tuple[tuple[int, int], ...]
) -> tuple[tf.Tensor, Any]:
    """Convolution with padding stated side by side; see the head of the module."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        padded = tf.pad(inputs, sides)
        rest = {"out_backprop": upstream, "strides": [1, stride, stride, 1], "padding": "VALID"}
        to_padded = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(padded), filter=kernel, **rest)
        to_kernel = tf.raw_ops.Conv2DBackpropFilter(input=padded, filter_sizes=tf.shape(kernel), **rest)
        begin = tf.constant([before for before, _ in sides])
        return tf.ensure_shape(tf.slice(to_padded, begin, tf.shape(inputs)), inputs.shape), to_kernel

    return tf.nn.conv2d(inputs, kernel, stride, [list(side) for side in sides]), gradient


@custom_gradient
def _pointwise_conv2d(inputs: tf.Tensor, kernel: tf.Tensor, *, stride: int) -> tuple[tf.Tensor, Any]:
    """Convolution with a 1x1 kernel; see the head of the module."""
    rest = {"strides": [1, stride, stride, 1], "padding": "SAME"}

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_inputs = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=upstream, **rest
        )
        cells = inputs if stride == 1 else inputs[:, ::stride, ::stride]
        cells = tf.reshape(cells, [-1, kernel.shape[2]])
        product = tf.matmul(cells, tf.reshape(upstream, [-1, kernel.shape[3]]), transpose_a=True)
        return to_inputs, product[tf.newaxis, tf.newaxis]

    return tf.nn.conv2d(inputs, kernel, **rest), gradient


def _is_odd(kernel: tf.Tensor) -> bool:
    """Whether SAME pads as much before as after, and at all."""
    height, width = kernel.shape[:2]
    return bool(height % 2 and width % 2 and height * width > 1)


@custom_gradient
def _same_conv2d(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Convolution with stride 1, SAME padding and a kernel of odd sides; see the head of the module."""
    strides = [1, 1, 1, 1]

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        flipped = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        to_kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=inputs, filter_sizes=tf.shape(kernel), out_backprop=upstream, strides=strides, padding="SAME"
        )
        return tf.nn.conv2d(upstream, flipped, strides, "SAME"), to_kernel

    return tf.nn.conv2d(inputs, kernel, strides, "SAME"), gradient


@functools.cache
def has_gradient(dtype: str, groups: int, dilation: int) -> bool:
    """Whether TensorFlow has both gradients of such a convolution, on the device where operations run by default."""
    rest = {"strides": [1] * 4, "padding": "SAME", "dilations": [1, dilation, dilation, 1]}
    with tf.init_scope():  # now, also while a graph is being traced; tapes do not record in it
        inputs, kernel = tf.ones((1, 3, 3, groups), dtype), tf.ones((3, 3, 1, groups), dtype)
        try:
            tf.raw_ops.Conv2DBackpropInput(input_sizes=inputs.shape, filter=kernel, out_backprop=inputs, **rest)
            tf.raw_ops.Conv2DBackpropFilter(input=inputs, filter_sizes=kernel.shape, out_backprop=inputs, **rest)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
            return False
    return True


def grouped_from_dense(
    inputs: tf.Tensor, kernel: tf.Tensor, stride: int, padding: Any, groups: int, dilation: int = 1
) -> tf.Tensor:
    """Grouped convolution as a few dense ones; arguments as in `conv2d`.

    Neighboring groups are taken together until they have CHUNK channels, and their kernels are laid on the diagonal
    of a dense kernel.
    """
    per_group, outputs = kernel.shape[2], kernel.shape[3]
    together = max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * per_group <= CHUNK))
    own = np.kron(np.eye(together), np.ones((per_group, outputs // groups)))  # [chunk in, chunk out], 1 inside a group
    own = tf.constant(own, kernel.dtype)
    chunks = groups // together
    return tf.concat(
        [
            tf.nn.conv2d(x, tf.tile(k, [1, 1, together, 1]) * own, stride, padding, dilations=dilation)
            for x, k in zip(tf.split(inputs, chunks, -1), tf.split(kernel, chunks, -1), strict=True)
        ],
        -1,
    )


def dilated_from_plain(inputs: tf.Tensor, kernel: tf.Tensor, groups: int, dilation: int) -> tf.Tensor:
    """Dilated convolution with stride 1 and SAME padding as a plain one of the map's phases.

    Taps lie `dilation` cells apart, so every dilation-th row and column is a map of its own. Arguments as in `conv2d`.
    """
    before = dilation * ((kernel.shape[0] - 1) // 2)
    after = dilation * (kernel.shape[0] // 2)
    missing = -tf.shape(inputs)[1:3] % dilation  # [2], up to a multiple of the dilation
    paddings = tf.stack([[before, before], missing + after], axis=1)  # [2, 2]
    phases = tf.space_to_batch(inputs, [dilation, dilation], paddings)
    convolved = conv2d(phases, kernel, 1, "VALID", groups)
    outputs = tf.batch_to_space(convolved, [dilation, dilation], tf.stack([[0, 0], missing], axis=1))
    return tf.ensure_shape(outputs, [*inputs.shape[:3], kernel.shape[3]])
