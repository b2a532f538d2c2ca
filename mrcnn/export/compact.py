"""Detections as few bytes: those that a request asks for, their masks as strings of run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

from mrcnn.export.rle import paste_rle
from mrcnn.structures.outputs import HeadOutput

Tensor: TypeAlias = tf.Tensor


def keep_best(detections: dict[str, Tensor], score_threshold: Tensor, max_detections: Tensor) -> dict[str, Tensor]:
    """The detections of each image that are scored high enough, and no more of them than it may have.

    Args:
        detections: [B, N, ...] each, best first; `valid` bool[B, N].
        score_threshold: f32[B].
        max_detections: i32[B].

    Returns:
        The same, N the largest number that an image keeps; what is left out is zero, or an empty string, and not
        `valid`.
    """
    rank = tf.range(tf.shape(detections["valid"])[1])
    kept = detections["valid"] & (detections["scores"] >= score_threshold[:, tf.newaxis])
    kept &= rank < max_detections[:, tf.newaxis]
    most = tf.reduce_max(tf.reduce_sum(tf.cast(kept, tf.int32), axis=1))
    kept = kept[:, :most]

    def trimmed(value: Tensor) -> Tensor:
        there = tf.reshape(kept, tf.concat([tf.shape(kept), tf.ones(len(value.shape) - 2, tf.int32)], axis=0))
        return tf.where(there, value[:, :most], tf.zeros([], value.dtype))

    return {name: trimmed(value) for name, value in detections.items()}


def compact(
    detections: dict[str, Tensor], shape: Tensor, pasted: Sequence[HeadOutput], mask_threshold: float
) -> dict[str, Tensor]:
    """Outputs that are pasted become strings of run lengths; the boxes they are stretched over go.

    Args:
        detections: of `keep_best`.
        shape: i32[B, 2], height and width of each image.
        pasted: the outputs of heads that are masks.
        mask_threshold: lowest probability that belongs to the object.

    Returns:
        Without `valid`; `num_detections` i32[B] and `size` i32[B, 2], that of the run lengths.
    """
    result = dict(detections)
    valid = result.pop("valid")
    sizes = tf.repeat(shape, tf.shape(valid)[1], axis=0)
    for output in pasted:
        assert output.paste is not None  # which makes it one of `pasted`
        masks, boxes = result[output.name], result.pop(output.boxes_name)
        strings = paste_rle(
            tf.reshape(masks, [-1, *masks.shape[2:]]),
            tf.reshape(boxes, [-1, 4]),
            tf.reshape(valid, [-1]),
            sizes,
            mask_threshold,
            output.paste.convention,
        )
        result[output.name] = tf.reshape(strings, tf.shape(valid))
    return {**result, "num_detections": tf.reduce_sum(tf.cast(valid, tf.int32), axis=1), "size": shape}
