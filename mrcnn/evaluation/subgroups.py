"""Average precision of parts of the objects: by size, by how crowded they stand, by whether the image cuts them.

As COCO does for sizes: objects of other groups count neither for nor against, and so does a detection that matches none
of the group and is not of the group itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mrcnn.evaluation.average_precision import IOU_THRESHOLDS, average_precision
from mrcnn.evaluation.matching import match_detections
from mrcnn.evaluation.overlap import box_iou
from mrcnn.evaluation.pairs import ImagePairs

Groups = Callable[[ImagePairs], tuple[np.ndarray, np.ndarray]]
"""An image -> i64[G], i64[D]: the group of each object and of each detection."""
SIZES = ("small", "medium", "large")
CROWDING = ("apart", "touching", "crowded")
BORDER = ("inside", "at the border")
CROWDED_IOU = 0.1


def size_groups(image: ImagePairs) -> tuple[np.ndarray, np.ndarray]:
    """`SIZES` by area: up to 32², up to 96², and larger, in square pixels; COCO's."""
    edges = [32**2, 96**2]
    return np.searchsorted(edges, image.gt_areas), np.searchsorted(edges, image.areas)


def crowding_groups(image: ImagePairs) -> tuple[np.ndarray, np.ndarray]:
    """`CROWDING` by the highest IoU of an object's box with that of another object: 0, up to `CROWDED_IOU`, above.

    A detection is in the group of the object whose box it overlaps most; one that overlaps none stands apart.
    """
    between = box_iou(image.gt_boxes, image.gt_boxes)
    np.fill_diagonal(between, 0.0)
    closest = between.max(1, initial=0.0)
    groups = (closest > 0).astype(int) + (closest > CROWDED_IOU)
    to_objects = box_iou(image.boxes, image.gt_boxes)
    if not to_objects.size:
        return groups, np.zeros(len(image.boxes), int)
    return groups, np.where(to_objects.max(1) > 0, groups[to_objects.argmax(1)], 0)


def border_groups(image: ImagePairs) -> tuple[np.ndarray, np.ndarray]:
    """`BORDER`: whether a box comes within a pixel of the image's border."""
    height, width = image.image_shape

    def touches(boxes: np.ndarray) -> np.ndarray:
        near = (boxes[:, :2] <= 1).any(1) | (boxes[:, 2] >= height - 1) | (boxes[:, 3] >= width - 1)
        return near.astype(int)

    return touches(image.gt_boxes), touches(image.boxes)


def group_precision(images: Sequence[ImagePairs], groups: Groups, group: int) -> tuple[float, float, int]:
    """(AP, AP50, number of objects) of one group, over ten IoU thresholds and the classes that have such objects.

    Args:
        images: of `pair_image`.
        groups: `size_groups`, `crowding_groups`, `border_groups` or another of the kind.
        group: a place in it.

    Returns:
        NaN without such objects.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cell = Instances([[0, 0, 4, 4]], [1], (8, 8), scores=[0.9])
        >>> group_precision([pair_image(1, cell, cell)], size_groups, 0)
        (1.0, 1.0, 1)
    """
    sides = [groups(image) for image in images]
    outside = [of_objects != group for of_objects, _ in sides]
    objects: dict[int, int] = {}
    for image, others in zip(images, outside, strict=True):
        for class_id in image.gt_class_ids[~others & ~image.gt_crowd].tolist():
            objects[class_id] = objects.get(class_id, 0) + 1
    if not objects:
        return float("nan"), float("nan"), 0
    by_threshold = []
    for threshold in IOU_THRESHOLDS:
        rows = []
        for image, others, (_, of_detections) in zip(images, outside, sides, strict=True):
            matched, ignored = match_detections(image, threshold, others)
            keep = ~ignored & ((matched >= 0) | (of_detections == group))
            rows.append((image.class_ids[keep], image.scores[keep], matched[keep] >= 0))
        class_ids, scores, correct = (np.concatenate(column) for column in zip(*rows, strict=True))
        of_classes = [
            average_precision(scores[class_ids == c], correct[class_ids == c], number) for c, number in objects.items()
        ]
        by_threshold.append(float(np.mean(of_classes)))
    return float(np.mean(by_threshold)), by_threshold[0], sum(objects.values())
