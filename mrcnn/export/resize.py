"""`preprocessing.preprocess`, the resize and padding of training and inference, as graph operations.

A SavedModel cannot call Pillow or NumPy, and another resize would feed the model other pixels: half a gray level
moves scores by more than exported and Python results may differ. Each interpolation of `ops.resize.resize_image` is
therefore computed step by step in the same arithmetic: bytes are equal, and float32 pixels to rounding.

Ref: Pillow, src/libImaging/Resample.c (8 bits per channel): two passes, columns first, weights of 22 bits.
"""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from mrcnn.ops.resize import BYTE_WEIGHT, Interpolation, Rounding
from mrcnn.preprocessing import InputConfig

_BITS = 22  # fraction bits of a weight; 255 times the sum of the weights still fits 31 bits

Tensor: TypeAlias = tf.Tensor


def resized_shape(
    height: Tensor,
    width: Tensor,
    short_side: int,
    long_side: int,
    rounding: Rounding = "half_up",
    never_shrink_for_short: bool = False,
) -> tuple[Tensor, Tensor]:
    """`ops.resize.resized_shape` for i32 height and width of any shape: the same rule in the same precision."""
    sides = [tf.cast(side, tf.float64) for side in (height, width)]
    shorter, longest = tf.minimum(*sides), tf.maximum(*sides)
    short, long = tf.constant(short_side, tf.float64), tf.constant(long_side, tf.float64)
    scale = short / shorter
    if never_shrink_for_short:
        scale, short = tf.maximum(scale, 1.0), tf.maximum(shorter, short)
    reached = scale * longest
    if rounding == "half_up":
        to_fit = tf.where(reached > long, long / reached, 1.0)
        is_wide = sides[0] < sides[1]
        lengths = [tf.where(is_wide, a, b) * to_fit + 0.5 for a, b in ((short, reached), (reached, short))]
        lengths = [tf.floor(length) for length in lengths]
    elif rounding == "floor":
        scale = tf.minimum(scale, long / longest)
        lengths = [tf.floor(side * scale) for side in sides]
    else:
        scale = tf.where(tf.round(reached) > long, long / longest, scale)
        lengths = [tf.round(side * scale) for side in sides]
    resized_height, resized_width = (tf.maximum(1, tf.cast(length, tf.int32)) for length in lengths)
    return resized_height, resized_width


def canvas_padding(side: Tensor, config: InputConfig) -> tuple[Tensor, Tensor]:
    """Pixels (i32, as `side`) before and after an image along one axis of its canvas; see `InputConfig.canvas_size`."""
    wanted = tf.maximum(side, config.square)
    total = wanted + -wanted % config.divisor - side
    before = total // 2 if config.padding == "center" else tf.zeros_like(side)
    return before, total - before


def resize_image(image: Tensor, height: Tensor, width: Tensor, interpolation: Interpolation = "antialias_u8") -> Tensor:
    """`ops.resize.resize_image` for a batch, byte for byte.

    Args:
        image: u8[B, h, w, C].
        height, width: i32[], size of the result.
        interpolation: see `ops.resize.resize_image`.

    Returns:
        u8[B, height, width, C], float32 for "linear".
    """
    if interpolation == "antialias_u8":
        return _resize_axis(_resize_axis(image, width, axis=2), height, axis=1)
    if interpolation == "linear":
        pixels = tf.cast(image, tf.float32)
        for axis, size in ((2, width), (1, height)):
            pixels = _interpolate(pixels, axis, *_linear_taps(tf.shape(image)[axis], size))
        return pixels
    if interpolation == "linear_u8":
        return _resize_linear_bytes(image, height, width)
    return _resize_linear_black(image, height, width)


def _resize_linear_bytes(image: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """`ops.resize._resize_linear_bytes`."""
    rows = _interpolate(tf.cast(image, tf.int32), 2, *_byte_taps(tf.shape(image)[2], width))
    rows = tf.bitwise.right_shift(rows, 4)
    taps, weights = _byte_taps(tf.shape(image)[1], height)
    weights = tf.reshape(weights, [2, 1, -1, 1, 1])
    first, second = (tf.bitwise.right_shift(tf.gather(rows, taps[i], axis=1) * weights[i], 16) for i in (0, 1))
    resized = tf.cast(tf.bitwise.right_shift(first + second + 2, 2), tf.uint8)
    is_same = tf.reduce_all(tf.shape(image)[1:3] == tf.stack([height, width]))
    return tf.cond(is_same, lambda: image, lambda: resized)


def _resize_linear_black(image: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """`ops.resize._resize_linear_black`."""
    sums, slopes = tf.cast(image, tf.float64), tf.cast(image, tf.int32)
    is_wide = tf.shape(image)[2] >= tf.shape(image)[1]
    for axis, size, is_longer in ((2, width, is_wide), (1, height, ~is_wide)):
        taps, weights, slope = _exact_linear_taps(tf.shape(image)[axis], size)
        sums = _interpolate(sums, axis, taps, weights)
        slopes = _interpolate(slopes, axis, taps, tf.where(is_longer, slope, weights))
    sums /= 4.0 * tf.cast(height, tf.float64) * tf.cast(width, tf.float64)
    levels = tf.floor(sums)
    levels -= tf.cast((levels == sums) & (slopes > 0), tf.float64)
    lowest, highest = (of(image, [1, 2, 3], keepdims=True) for of in (tf.reduce_min, tf.reduce_max))
    levels = tf.clip_by_value(levels, tf.cast(lowest, tf.float64), tf.cast(highest, tf.float64))
    return tf.cast(levels, tf.uint8)


def _linear_taps(size: Tensor, new_size: Tensor) -> tuple[Tensor, Tensor]:
    """`ops.resize._linear_taps`: source pixels i32[2, new_size] and weights f32[2, new_size]."""
    scale = tf.cast(size, tf.float32) / tf.cast(new_size, tf.float32)
    position = tf.maximum(scale * (tf.range(tf.cast(new_size, tf.float32), dtype=tf.float32) + 0.5) - 0.5, 0.0)
    fraction = position - tf.floor(position)
    first = tf.cast(tf.floor(position), tf.int32)
    return tf.clip_by_value(tf.stack([first, first + 1]), 0, size - 1), tf.stack([1.0 - fraction, fraction])


def _byte_taps(size: Tensor, new_size: Tensor) -> tuple[Tensor, Tensor]:
    """`ops.resize._byte_taps`: source pixels and weights, each i32[2, new_size]."""
    scale = 1.0 / (tf.cast(new_size, tf.float64) / tf.cast(size, tf.float64))
    position = tf.cast((tf.range(tf.cast(new_size, tf.float64), dtype=tf.float64) + 0.5) * scale - 0.5, tf.float32)
    floor = tf.floor(position)
    first = tf.cast(floor, tf.int32)
    fraction = tf.where((first < 0) | (first >= size - 1), 0.0, position - floor)
    weights = tf.cast(tf.round(tf.stack([1.0 - fraction, fraction]) * float(BYTE_WEIGHT)), tf.int32)
    return tf.clip_by_value(tf.stack([first, first + 1]), 0, size - 1), weights


def _exact_linear_taps(size: Tensor, new_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.resize._exact_linear_taps`: source pixels, weights and slopes, each i64[2, new_size]."""
    old, new = tf.cast(size, tf.int64), tf.cast(new_size, tf.int64)
    numerator = (2 * tf.range(new) + 1) * old - new
    first = numerator // (2 * new)
    remainder = numerator - first * 2 * new
    taps = tf.stack([first, first + 1])
    inside = (taps >= 0) & (taps < old)
    none = tf.zeros([], tf.int64)
    weights = tf.where(inside, tf.stack([2 * new - remainder, remainder]), none)
    slopes = tf.where(inside & (remainder != 0), tf.constant([[-1], [1]], tf.int64), none)
    return tf.clip_by_value(taps, 0, old - 1), weights, slopes


def _interpolate(pixels: Tensor, axis: int, taps: Tensor, weights: Tensor) -> Tensor:
    shape = [2, 1, 1, 1, 1]
    shape[1 + axis] = -1
    weights = tf.cast(tf.reshape(weights, shape), pixels.dtype)
    return tf.gather(pixels, taps[0], axis=axis) * weights[0] + tf.gather(pixels, taps[1], axis=axis) * weights[1]


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
    center = (tf.range(tf.cast(new_size, tf.float64), dtype=tf.float64) + 0.5) * scale
    # Pillow rounds by truncation; the left end is never below -1/2, so that is the floor after clipping at 0
    first = tf.cast(tf.floor(tf.maximum(center - support + 0.5, 0.0)), tf.int32)
    end = tf.minimum(tf.cast(tf.floor(center + support + 0.5), tf.int32), size)
    position = first[:, tf.newaxis] + tf.range(tf.reduce_max(end - first))  # [new, T]
    distance = tf.abs((tf.cast(position, tf.float64) - center[:, tf.newaxis] + 0.5) * (1.0 / support))
    weights = tf.where(position < end[:, tf.newaxis], tf.maximum(1.0 - distance, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return first, tf.cast(tf.floor(weights * (1 << _BITS) + 0.5), tf.int32)
