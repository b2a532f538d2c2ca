"""Batches with ground truth, as `structures.batch_spec` states them, from plain lists of objects."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mrcnn.structures.tensors import batch_spec

MASK_SIDE = 14


def ground_truth(objects, entries=4, seed=(3, 5)):
    """The gt_* keys and the seed of one image.

    Args:
        objects: dicts with box (y1, x1, y2, x2) and, if not 1, filled and False, class_id, mask u8[K, K], crowd.
        entries: G; entries beyond the objects hold values that nobody may use.
        seed: of the image.
    """
    gt = {
        "gt_boxes": np.tile(np.array([1, 1, 30, 30], np.float32), (entries, 1)),
        "gt_class_ids": np.ones(entries, np.int32),
        "gt_masks": np.ones((entries, MASK_SIDE, MASK_SIDE), np.uint8),
        "gt_crowd": np.zeros(entries, bool),
        "gt_valid": np.arange(entries) < len(objects),
        "seed": np.array(seed, np.int32),
    }
    for i, item in enumerate(objects):
        gt["gt_boxes"][i] = item["box"]
        gt["gt_class_ids"][i] = item.get("class_id", 1)
        gt["gt_masks"][i] = item.get("mask", 1)
        gt["gt_crowd"][i] = item.get("crowd", False)
    return gt


def stack(samples):
    """One batch of tensors from dicts of arrays."""
    return {key: tf.constant(np.stack([sample[key] for sample in samples])) for key in samples[0]}


def batch_of(images, objects, canvas=(96, 128), entries=4, with_ground_truth=True):
    """A whole batch; image i has objects[i] and the seed (i, 7).

    Args:
        images: u8[h, w, 3] each, at most as large as the canvas.
        objects: per image, see `ground_truth`.
        canvas: height and width of the padded image.
    """
    samples = []
    for i, (image, items) in enumerate(zip(images, objects, strict=True)):
        canvas_image = np.zeros((*canvas, 3), np.uint8)
        canvas_image[: image.shape[0], : image.shape[1]] = image
        shape = np.array(image.shape[:2], np.int32)
        sample = {"image": canvas_image, "image_id": np.int64(i), "original_shape": shape, "content_shape": shape}
        samples.append(sample | (ground_truth(items, entries, (i, 7)) if with_ground_truth else {}))
    batch = stack(samples)
    spec = batch_spec(len(images), *canvas, entries, MASK_SIDE, with_ground_truth=with_ground_truth)
    assert set(batch) == set(spec)
    assert all(spec[key].is_compatible_with(value) for key, value in batch.items())
    return batch
