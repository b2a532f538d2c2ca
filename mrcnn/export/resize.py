"""The picture resize of training and inference as graph operations.

A SavedModel cannot call Pillow, and another resize would show the model other pixels: half a grey level moves scores by
more than exported and Python results may differ. So this follows Pillow's integer arithmetic step by step and gives
the same bytes as `ops.resize.resize_image`.

Ref: Pillow, src/libImaging/Resample.c (8 bits per channel): two passes, columns first, weights of 22 bits.
"""

from __future__ import annotations

import tensorflow as tf

_BITS = 22  # fraction bits of a weight; 255 times the sum of the weights still fits 31 bits

Tensor = tf.Tensor


def resized_shape(height: Tensor, width: Tensor, short_side: int, long_side: int) -> tuple[Tensor, Tensor]:
    """`ops.resize.resized_shape` for i32[] height and width: the same rule in the same (double) precision."""
    height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    longest = tf.maximum(height, width)
    scale = tf.constant(short_side, tf.float64) / tf.minimum(height, width)
    scale = tf.where(scale * longest > long_side, tf.constant(long_side, tf.float64) / longest, scale)

    def rounded(side: Tensor) -> Tensor:
        return tf.maximum(1, tf.cast(tf.floor(side * scale + 0.5), tf.int32))

    return rounded(height), rounded(width)


def resize_image(image: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """`ops.resize.resize_image` for a batch, byte for byte.

    Args:
        image: u8[B, h, w, C].
        height, width: i32[], wanted.

    Returns:
        u8[B, height, width, C].
    """
    return _resize_axis(_resize_axis(image, width, axis=2), height, axis=1)


def _resize_axis(image: Tensor, size: Tensor, axis: int) -> Tensor:
    first, weights = _taps(tf.shape(image)[axis], size)
    last = tf.shape(image)[axis] - 1
    shape = tf.concat([tf.shape(image)[:axis], [size], tf.shape(image)[axis + 1 :]], axis=0)
    spread = [1, 1, 1, 1]
    spread[axis] = -1

    def add_tap(tap: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        pixels = tf.gather(image, tf.minimum(first + tap, last), axis=axis)  # u8[B, height, width, C]
        return tap + 1, total + tf.cast(pixels, tf.int32) * tf.reshape(weights[:, tap], spread)

    _, total = tf.while_loop(
        lambda tap, total: tap < tf.shape(weights)[1],
        add_tap,
        [tf.constant(0), tf.fill(shape, 1 << (_BITS - 1))],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, None, None, image.shape[3]])],
    )
    return tf.cast(tf.clip_by_value(tf.bitwise.right_shift(total, _BITS), 0, 255), tf.uint8)


def _taps(size: Tensor, new_size: Tensor) -> tuple[Tensor, Tensor]:
    """First source pixel i32[new] of each target pixel and the weights i32[new, T] of it and those after it."""
    scale = tf.cast(size, tf.float64) / tf.cast(new_size, tf.float64)
    support = tf.maximum(scale, 1.0)  # of the triangle, in source pixels
    centre = (tf.range(tf.cast(new_size, tf.float64), dtype=tf.float64) + 0.5) * scale
    # Pillow rounds by truncation; the left end is never below -1/2, so that is the floor after clipping at 0
    first = tf.cast(tf.floor(tf.maximum(centre - support + 0.5, 0.0)), tf.int32)
    end = tf.minimum(tf.cast(tf.floor(centre + support + 0.5), tf.int32), size)
    place = first[:, tf.newaxis] + tf.range(tf.reduce_max(end - first))  # [new, T]
    distance = tf.abs((tf.cast(place, tf.float64) - centre[:, tf.newaxis] + 0.5) * (1.0 / support))
    weights = tf.where(place < end[:, tf.newaxis], tf.maximum(1.0 - distance, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return first, tf.cast(tf.floor(weights * (1 << _BITS) + 0.5), tf.int32)
