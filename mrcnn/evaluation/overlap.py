"""Overlap of the instances of one image, pair by pair."""

from __future__ import annotations

import numpy as np

from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.structures.boxes import box_iou as box_iou
from mrcnn.structures.instances import Instances


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
