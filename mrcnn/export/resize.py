"""The image resize of training and inference as graph operations.

A SavedModel cannot call Pillow, and another resize would show the model other pixels: half a gray level moves scores by
more than exported and Python results may differ. So this follows Pillow's integer arithmetic step by step and gives
the same bytes as `ops.resize.resize_image`.

The other interpolations of `ops.resize` are followed as exactly.

Ref: Pillow, src/libImaging/Resample.c (8 bits per channel): two passes, columns first, weights of 22 bits.
"""

from __future__ import annotations

import tensorflow as tf

from mrcnn.ops.resize import SCIKIT_IMAGE_ERRORS, Interpolation, Rounding

_BITS = 22  # fraction bits of a weight; 255 times the sum of the weights still fits 31 bits

Tensor = tf.Tensor


def resized_shape(
    height: Tensor,
    width: Tensor,
    short_side: int,
    long_side: int,
    rounding: Rounding = "half_up",
    never_shrink_for_short: bool = False,
) -> tuple[Tensor, Tensor]:
    """`ops.resize.resized_shape` for i32[] height and width: the same rule in the same precision."""
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


def resize_image(image: Tensor, height: Tensor, width: Tensor, interpolation: Interpolation = "antialias_u8") -> Tensor:
    """`ops.resize.resize_image` for a batch, byte for byte.

    Args:
        image: u8[B, h, w, C].
        height, width: i32[], wanted.
        interpolation: see `ops.resize.resize_image`.

    Returns:
        u8[B, height, width, C], float32 for "linear".
    """
    if interpolation == "antialias_u8":
        return _resize_axis(_resize_axis(image, width, axis=2), height, axis=1)
    black = interpolation == "linear_black_u8"
    pixels = tf.cast(image, tf.float64 if black else tf.float32)
    shapes = tf.stack([*tf.unstack(tf.shape(image)[1:3]), height, width])
    pixels = _resize_axis_linear(pixels, width, 2, black, shapes)
    pixels = _resize_axis_linear(pixels, height, 1, black, shapes)
    if not black:
        return pixels
    lowest, highest = (of(image, [1, 2, 3], keepdims=True) for of in (tf.reduce_min, tf.reduce_max))
    pixels = tf.clip_by_value(pixels, tf.cast(lowest, tf.float64), tf.cast(highest, tf.float64))
    return tf.cast(pixels, tf.uint8)  # cuts off


def _resize_axis_linear(pixels: Tensor, size: Tensor, axis: int, black: bool, shapes: Tensor) -> Tensor:
    """Bilinear weights of two taps along one axis, as `ops.resize` lays them; shapes i32[4], of both images."""
    old = tf.shape(pixels)[axis]
    if black:
        scale = tf.cast(old, tf.float64) / tf.cast(size, tf.float64)
        start = 0.5 * scale - 0.5
        for known, errors in SCIKIT_IMAGE_ERRORS.items():
            error = tf.where(tf.reduce_all(shapes == known), tf.constant(errors[axis - 1], tf.float64), 0.0)
            scale, start = scale + error[0], start + error[1]
        place = scale * tf.range(tf.cast(size, tf.float64), dtype=tf.float64) + start
    else:  # placed in float32, as PyTorch does
        scale = tf.cast(old, tf.float32) / tf.cast(size, tf.float32)
        place = tf.maximum(scale * (tf.range(tf.cast(size, tf.float32), dtype=tf.float32) + 0.5) - 0.5, 0.0)
    first = tf.cast(tf.floor(place), tf.int32)
    share = place - tf.floor(place)
    total = tf.constant(0, pixels.dtype)
    for tap, weight in ((first, 1.0 - share), (first + 1, share)):
        if black:
            weight = tf.where((tap >= 0) & (tap < old), weight, tf.constant(0, weight.dtype))
        spread = [1, 1, 1, 1]
        spread[axis] = -1
        taken = tf.gather(pixels, tf.clip_by_value(tap, 0, old - 1), axis=axis)
        total += taken * tf.reshape(tf.cast(weight, pixels.dtype), spread)
    return total


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
    place = first[:, tf.newaxis] + tf.range(tf.reduce_max(end - first))  # [new, T]
    distance = tf.abs((tf.cast(place, tf.float64) - center[:, tf.newaxis] + 0.5) * (1.0 / support))
    weights = tf.where(place < end[:, tf.newaxis], tf.maximum(1.0 - distance, 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return first, tf.cast(tf.floor(weights * (1 << _BITS) + 0.5), tf.int32)
