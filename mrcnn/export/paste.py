"""Masks on the pixels of their image as graph operations; the same rules as `structures.masks.paste_masks`."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from mrcnn.structures.masks import Paste

Tensor: TypeAlias = tf.Tensor

_FIRST_BIT = (128, 64, 32, 16, 8, 4, 2, 1)


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    valid: Tensor,
    height: Tensor,
    width: Tensor,
    threshold: float = 0.5,
    convention: Paste = "exact",
    packed: bool = False,
) -> Tensor:
    """`structures.masks.paste_masks` for padded detections; one window at a time, so memory is that of the result.

    Args:
        masks: f32[n, M, M], probabilities inside the box.
        boxes: f32[n, 4], (y1, x1, y2, x2) in pixels of the image.
        valid: bool[n]; what is not gives zeros.
        height, width: i32[], of the result.
        threshold, convention: see `structures.masks.paste_masks`.
        packed: eight pixels of a row in a byte, the first in its highest bit, rows filled up with zeros;
            `numpy.unpackbits(masks, axis=-1, count=width)` unpacks.

    Returns:
        u8[n, height, width], 0 or 1; packed: u8[n, height, ceil(width / 8)]. Empty: n = 0 gives no rows.
    """
    row = tf.stack([height, (width + 7) // 8 if packed else width])

    def paste(detection: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        mask, box, there = detection

        def pixels() -> Tensor:
            top, left, window = paste_window(mask, box, height, width, threshold, convention)
            size = tf.shape(window)
            padding = [[top, height - top - size[0]], [left, width - left - size[1]]]
            pasted = tf.pad(tf.cast(window, tf.uint8), padding)
            return _pack(pasted) if packed else pasted

        usable = there & tf.reduce_all(tf.math.is_finite(box))
        return tf.cond(usable, pixels, lambda: tf.zeros(row, tf.uint8))

    # A list without elements cannot be stacked to rows of a size known only when it runs: there is always one.
    num = tf.shape(masks)[0]
    extra = tf.cast(tf.equal(num, 0), tf.int32)
    masks, boxes = tf.pad(masks, [[0, extra], [0, 0], [0, 0]]), tf.pad(boxes, [[0, extra], [0, 0]])
    valid = tf.pad(valid, [[0, extra]])
    spec = tf.TensorSpec([None, None], tf.uint8)
    return tf.map_fn(paste, (masks, boxes, valid), fn_output_signature=spec)[:num]


def paste_window(
    mask: Tensor, box: Tensor, height: Tensor, width: Tensor, threshold: float, convention: Paste
) -> tuple[Tensor, Tensor, Tensor]:
    """One mask f32[M, M] in its box f32[4]: i32[] first row and column of the window that it reaches, bool[h, w]."""
    one = {"exact": _exact, "padded_integer": _padded_integer, "integer_resize": _integer_resize}[convention]
    return one(mask, box, height, width, threshold)


def _pack(pixels: Tensor) -> Tensor:
    """u8[h, ceil(w / 8)] of u8[h, w] in {0, 1}."""
    height, width = tf.unstack(tf.shape(pixels))
    pixels = tf.pad(pixels, [[0, 0], [0, -width % 8]])
    bits = tf.reshape(pixels, [height, (width + 7) // 8, 8])
    return tf.cast(tf.reduce_sum(tf.cast(bits, tf.int32) * tf.constant(_FIRST_BIT), axis=-1), tf.uint8)


def _exact(mask: Tensor, box: Tensor, height: Tensor, width: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """First row and column (i32[]) of the window that the box reaches, and the window, bool[h, w]."""
    box = tf.cast(box, tf.float64)

    def axis(low: Tensor, high: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        side = mask.shape[0]
        cell = (high - low) / side
        limit = tf.cast(size, tf.float64)
        first = tf.clip_by_value(tf.floor(low - 0.5 * cell - 0.5), 0.0, limit)
        last = tf.clip_by_value(tf.math.ceil(high + 0.5 * cell + 0.5), first, limit)
        last = tf.where(high > low, last, first)  # an empty box covers nothing
        u = (tf.range(first, last) + 0.5 - low) / cell - 0.5
        return tf.cast(first, tf.int32), _tent(u, side)

    top, rows = axis(box[0], box[2], height)
    left, columns = axis(box[1], box[3], width)
    return top, left, _product(rows, mask, columns) >= threshold


def _padded_integer(
    mask: Tensor, box: Tensor, height: Tensor, width: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    side = mask.shape[0]
    center, half = (box[2:] + box[:2]) * 0.5, (box[2:] - box[:2]) * 0.5
    half *= (side + 2) / side
    low, high = tf.cast(center - half, tf.int32), tf.cast(center + half, tf.int32)  # cut off, as the cast does
    length = tf.maximum(high - low + 1, 1)
    top, rows = _stretch(low[0], length[0], side + 2, height, edge=True)
    left, columns = _stretch(low[1], length[1], side + 2, width, edge=True)
    return top, left, _product(rows, tf.pad(mask, [[1, 1], [1, 1]]), columns) > threshold


def _integer_resize(
    mask: Tensor, box: Tensor, height: Tensor, width: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    corner = tf.cast(tf.round(box), tf.int32)
    length = tf.maximum(corner[2:] - corner[:2], 0)
    length *= tf.cast(tf.reduce_all(length > 0), tf.int32)  # an empty box covers nothing
    top, rows = _stretch(corner[0], length[0], mask.shape[0], height, edge=False)
    left, columns = _stretch(corner[1], length[1], mask.shape[1], width, edge=False)
    window = _product(rows, mask, columns)
    return top, left, tf.clip_by_value(window, tf.reduce_min(mask), tf.reduce_max(mask)) >= threshold


def _stretch(start: Tensor, length: Tensor, side: int, size: Tensor, edge: bool) -> tuple[Tensor, Tensor]:
    """As `structures.masks` has it: first pixel reached, and bilinear weights f32[pixels, side]."""
    first, end = (tf.clip_by_value(place, 0, size) for place in (start, start + length))
    place = tf.cast(tf.range(first, end) - start, tf.float64) + 0.5
    u = place * (side / tf.cast(tf.maximum(length, 1), tf.float64)) - 0.5
    return first, _tent(tf.clip_by_value(u, 0.0, side - 1.0) if edge else u, side)


def _tent(u: Tensor, side: int) -> Tensor:
    """f32[pixels, side]: how much each cell counts at place u."""
    distance = tf.abs(u[:, tf.newaxis] - tf.range(side, dtype=tf.float64))
    return tf.cast(tf.maximum(1.0 - distance, 0.0), tf.float32)


def _product(rows: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
    return tf.matmul(tf.matmul(rows, mask), columns, transpose_b=True)
