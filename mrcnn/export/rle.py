"""Masks as the strings of COCO's run lengths, made in the graph: what pycocotools writes, byte for byte.

Ref: cocodataset/cocoapi, common/maskApi.c, rleEncode and rleToString.
"""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

from mrcnn.export.paste import paste_window
from mrcnn.structures.masks import Paste

Tensor: TypeAlias = tf.Tensor

_GROUPS = 7  # of five bits each: more than any count of an int32 has


def paste_rle(
    masks: Tensor, boxes: Tensor, valid: Tensor, shape: Tensor, threshold: float = 0.5, convention: Paste = "exact"
) -> Tensor:
    """`export.paste.paste_masks` with run lengths in place of pixels; one window at a time.

    Args:
        masks: f32[n, M, M], probabilities inside the box.
        boxes: f32[n, 4], (y1, x1, y2, x2) in pixels of the image.
        valid: bool[n]; what is not gives an empty string.
        shape: i32[n, 2], height and width of the image of each.
        threshold, convention: see `structures.masks.paste_masks`.

    Returns:
        string[n], `counts` of {"size": [height, width], "counts": ...}. Empty: n = 0 gives no strings.
    """

    def encode(detection: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        mask, box, there, size = detection

        def counts() -> Tensor:
            top, left, window = paste_window(mask, box, size[0], size[1], threshold, convention)
            return rle_string(run_lengths(window, top, left, size[0], size[1]))

        return tf.cond(there & tf.reduce_all(tf.math.is_finite(box)), counts, lambda: tf.constant(""))

    return tf.map_fn(encode, (masks, boxes, valid, shape), fn_output_signature=tf.TensorSpec([], tf.string))


def run_lengths(window: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Lengths of the runs of zeros and ones in turn, down one column after the other, beginning with zeros.

    Args:
        window: bool[h, w], all that is one of a mask.
        top, left: i32[], its first row and column.
        height, width: i32[], of the mask.

    Returns:
        i64[k], k > 0; their sum is height * width.

    Example:
        >>> run_lengths(tf.constant([[True, True]]), 1, 0, 2, 3).numpy().tolist()
        [1, 1, 1, 1, 2]
    """
    rows = tf.pad(tf.cast(window, tf.int32), [[top, height - top - tf.shape(window)[0]], [0, 0]])
    bits = tf.reshape(tf.transpose(rows), [-1])
    changes = tf.where(tf.not_equal(tf.pad(bits, [[1, 0]]), tf.pad(bits, [[0, 1]])))[:, 0]
    height, width, left = (tf.cast(x, tf.int64) for x in (height, width, left))
    places = tf.concat([[tf.constant(0, tf.int64)], changes + left * height, [height * width]], axis=0)
    lengths = places[1:] - places[:-1]
    ends_in_one = tf.equal(lengths[-1], 0) & (tf.shape(lengths)[0] > 1)
    return lengths[: tf.shape(lengths)[0] - tf.cast(ends_in_one, tf.int32)]


def rle_string(lengths: Tensor) -> Tensor:
    """The string of run lengths i64[k]: from the fourth on as the difference to the one before the last.

    Each number is written in groups of five bits, the lowest first, in characters from "0" on; the sixth bit says that
    another follows.

    Example:
        >>> rle_string(tf.constant([1, 1, 1, 1, 2], tf.int64)).numpy()
        b'11101'
    """
    numbers = lengths - tf.concat([tf.zeros([3], tf.int64), lengths[1:-2]], axis=0)[: tf.shape(lengths)[0]]
    codes, used = [], []
    follows = tf.ones_like(numbers, tf.bool)
    for _ in range(_GROUPS):
        used.append(follows)
        group, numbers = tf.math.floormod(numbers, 32), tf.math.floordiv(numbers, 32)
        done = tf.where(group >= 16, tf.equal(numbers, -1), tf.equal(numbers, 0))
        codes.append(48 + group + tf.where(done, tf.constant(0, tf.int64), tf.constant(32, tf.int64)))
        follows &= ~done
    characters = tf.boolean_mask(tf.stack(codes, axis=1), tf.stack(used, axis=1))
    return tf.strings.unicode_encode(tf.cast(characters, tf.int32), "UTF-8")
