"""Overlap of the instances of one image, pair by pair."""

from __future__ import annotations

import numpy as np

from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f64[n, m], intersection over union of boxes f[n, 4] and f[m, 4], (y1, x1, y2, x2). Empty boxes: 0.

    Example:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 4], [5, 5, 6, 6]])).tolist()
        [[0.5, 0.0]]
    """
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def mask_iou(a: Instances, b: Instances) -> np.ndarray:
    """f64[n, m], intersection over union of the masks of two sets of instances of one image.

    Computed on run lengths, so no mask is pasted whole. Masks without a pixel: 0.

    Raises:
        InputError: instances without masks, or of images of different shapes.
    """
    from pycocotools import mask as coco_mask

    if not (a.has_masks and b.has_masks) or a.image_shape != b.image_shape:
        raise InputError(f"mask_iou: expected masks in images of one shape, got {a!r} and {b!r}")
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    return np.nan_to_num(np.asarray(coco_mask.iou(encode_masks(a), encode_masks(b), [0] * len(b)), np.float64))
