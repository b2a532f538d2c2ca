"""Precision and recall at a score threshold, and the threshold of the best F1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.average_precision import precision_recall
from mrcnn.evaluation.matching import MatchTable


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """Precision, recall and F1 of the detections whose score is at least `threshold`; NaN where there is nothing."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_f1(table: MatchTable, class_ids: Sequence[int] | None = None) -> OperatingPoint:
    """The threshold at which F1 is highest; of equal ones the highest threshold.

    Args:
        table: of `match_images`.
        class_ids: the classes to look at together; None: all.

    Returns:
        thresholds are scores that occur. NaN throughout without objects or without detections.

    Example:
        >>> from mrcnn.evaluation.matching import match_images
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cell = Instances([[0, 0, 4, 4]], [1], (8, 8))
        >>> boxes = [[0, 0, 4, 4], [5, 5, 8, 8]]
        >>> best_f1(match_images([pair_image(1, cell, Instances(boxes, [1, 1], (8, 8), scores=[0.75, 0.5]))]))
        OperatingPoint(threshold=0.75, precision=1.0, recall=1.0, f1=1.0)
    """
    classes = sorted(table.objects) if class_ids is None else class_ids
    mine = np.ones(len(table.scores), bool) if class_ids is None else np.isin(table.class_ids, list(class_ids))
    number = sum(table.num_objects(c) for c in classes)
    if not number or not mine.any():
        return OperatingPoint(*[float("nan")] * 4)
    scores, precision, recall = precision_recall(table.scores[mine], table.correct[mine], number)
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # thresholds cannot part equal scores
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    best = last[f1[last].argmax()]
    return OperatingPoint(*(float(v[best]) for v in (scores, precision, recall, f1)))
