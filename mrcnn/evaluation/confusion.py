"""Which class is taken for which: a confusion matrix with background as a class of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.pairs import ImagePairs


def confusion_matrix(
    images: Sequence[ImagePairs], num_classes: int, score_threshold: float = 0.5, iou_threshold: float = 0.5
) -> np.ndarray:
    """Counts of (class of the object, class of the detection); 0 is background.

    Detections are matched to objects of any class, pairs of the highest overlap first, each detection and each object
    once. An object without a partner counts in column 0, a detection without one in row 0. Detections that have no
    partner and lie in a crowd region are left out.

    Args:
        images: of `pair_image`.
        num_classes: C.
        score_threshold: detections of a lower score are left out.
        iou_threshold: lowest overlap of a pair.

    Returns:
        i64[C + 1, C + 1]. Empty: zeros.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cat = Instances([[0, 0, 4, 4]], [1], (8, 8))
        >>> dogs = Instances([[0, 0, 4, 4], [5, 5, 8, 8]], [2, 2], (8, 8), scores=[0.9, 0.8])
        >>> confusion_matrix([pair_image(1, cat, dogs)], 2).tolist()
        [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for image in images:
        shown = image.scores >= score_threshold
        iou = image.iou[shown]
        class_ids = image.class_ids[shown]
        partner = _pair_by_overlap(np.where(image.gt_crowd[None], 0.0, iou), iou_threshold)
        in_crowd = np.any(iou[:, image.gt_crowd] >= iou_threshold, axis=1)
        for d, gt in enumerate(partner.tolist()):
            if gt >= 0:
                matrix[image.gt_class_ids[gt], class_ids[d]] += 1
            elif not in_crowd[d]:
                matrix[0, class_ids[d]] += 1
        alone = ~image.gt_crowd
        alone[partner[partner >= 0]] = False
        np.add.at(matrix[:, 0], image.gt_class_ids[alone], 1)
    return matrix


def _pair_by_overlap(iou: np.ndarray, threshold: float) -> np.ndarray:
    """i64[D], the object of each detection or -1: one to one, highest overlap first, then the better score."""
    partner = np.full(iou.shape[0], -1)
    detections, objects = np.nonzero(iou >= threshold)
    order = np.lexsort((detections, -iou[detections, objects]))
    taken: set[int] = set()
    for d, g in zip(detections[order].tolist(), objects[order].tolist(), strict=True):
        if partner[d] < 0 and g not in taken:
            partner[d] = g
            taken.add(g)
    return partner
