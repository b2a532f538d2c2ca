"""Taking off the padded entries of a batch before work that grows with their number, and putting them back."""

from __future__ import annotations

from typing import TypeVar

import tensorflow as tf

from mrcnn.structures.tensors import SEMANTIC_KEY, Batch, Detections, Proposals, RoiSample

Padded = TypeVar("Padded", Proposals, Detections)


def count_used(valid: tf.Tensor) -> tf.Tensor:
    """i32[], entries of bool[B, N] up to the last that is valid in any image, at least 1."""
    entries = tf.range(1, tf.shape(valid)[1] + 1)
    return tf.reduce_max(tf.where(valid, entries, 1))


def trim_ground_truth(batch: Batch) -> Batch:
    """The batch without ground-truth entries that are padding in every image: matching costs anchors times entries.

    A semantic map has pixels, not entries, and stays.
    """
    used = count_used(batch["gt_valid"])
    return {k: v[:, :used] if k.startswith("gt_") and k != SEMANTIC_KEY else v for k, v in batch.items()}


def trim_padding(padded: Padded) -> Padded:
    """Proposals or detections without the entries at the end that are padding in every image; at least one is kept."""
    used = count_used(padded.valid)
    if isinstance(padded, Detections):
        return padded.map(lambda field: field[:, :used])
    return type(padded)(*(field[:, :used] for field in padded))


def trim_rois(rois: RoiSample, multiple: int = 8) -> RoiSample:
    """The RoIs without the entries at the end that are padding in every image: a mask head would compute them too.

    Their number is a multiple of `multiple`, so that not every step has a shape of its own.
    """
    used = (count_used(rois.valid) + multiple - 1) // multiple * multiple
    return RoiSample(*(field[:, :used] for field in rois))


def pad_to(detections: Detections, padded: Detections) -> Detections:
    """Detections padded with zeros to the entries of `padded`, whose fields are taken where it has them."""

    def pad(field: tf.Tensor) -> tf.Tensor:
        missing = tf.shape(padded.valid)[1] - tf.shape(field)[1]
        filled = tf.pad(field, [[0, 0], [0, missing], *[[0, 0]] * (len(field.shape) - 2)])
        return tf.ensure_shape(filled, [*padded.valid.shape, *field.shape[2:]])

    there, added = padded.to_dict(), detections.to_dict()
    return padded.with_outputs({name: pad(value) for name, value in added.items() if name not in there})
