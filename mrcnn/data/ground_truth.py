"""Annotations of one image as `Instances`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.data.rasterize import annotation_window
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import WindowMasks
from mrcnn.structures.records import Annotation


def to_instances(annotations: Sequence[Annotation], image_shape: tuple[int, int], num_joints: int = 0) -> Instances:
    """The objects of one image; their masks are held in windows and become pixels when they are read.

    Args:
        annotations: n of them, crowd regions included.
        image_shape: (height, width).
        num_joints: J of the keypoints; 0: none.

    Returns:
        Instances without scores. Empty: no instances.

    Raises:
        DataError: an RLE of another size, or a polygon that is too large to be drawn.
    """
    height, width = image_shape
    if not annotations:
        return dataclasses.replace(Instances.empty((height, width)), scores=None, is_crowd=np.zeros(0, bool))
    windows = tuple(annotation_window(a, height, width) for a in annotations)
    return Instances(
        boxes=np.array([a.box for a in annotations], np.float32),
        class_ids=np.array([a.class_id for a in annotations], np.int32),
        image_shape=(height, width),
        masks=WindowMasks(windows, height, width),
        keypoints=stack_keypoints(annotations, num_joints) if num_joints else None,
        is_crowd=np.array([a.is_crowd for a in annotations], bool),
    )


def stack_keypoints(annotations: Sequence[Annotation], num_joints: int) -> np.ndarray:
    """f32[n, J, 3]; joints that an annotation does not have are (0, 0, 0)."""
    stacked = np.zeros((len(annotations), num_joints, 3), np.float32)
    for row, annotation in zip(stacked, annotations, strict=True):
        if annotation.keypoints is not None:
            count = min(num_joints, len(annotation.keypoints))
            row[:count] = annotation.keypoints[:count]
    return stacked
