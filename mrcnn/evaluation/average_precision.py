"""Precision, recall and average precision of ranked detections, as COCO defines them.

Ref: `COCOeval.accumulate` of pycocotools.
"""

from __future__ import annotations

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def precision_recall(
    scores: np.ndarray, correct: np.ndarray, num_objects: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall of the best k detections, for every k; equal scores keep their order.

    Args:
        scores: f[N], in any order.
        correct: bool[N], whether each was credited with an object.
        num_objects: that there are to be detected.
        weights: f[N], how often each detection counts; default once.

    Returns:
        f64[N] each: scores, best first, precision and recall. Without objects recall is 0.

    Example:
        >>> scores, precision, recall = precision_recall(np.array([0.2, 0.8]), np.array([True, False]), 2)
        >>> precision.tolist(), recall.tolist()
        ([0.0, 0.5], [0.0, 0.5])
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    right = np.cumsum(weight * np.asarray(correct, bool)[order])
    every = np.cumsum(weight)
    precision = np.divide(right, every, out=np.zeros_like(right), where=every > 0)
    return (
        np.asarray(scores, np.float64)[order],
        precision,
        right / num_objects if num_objects else np.zeros_like(right),
    )


def interpolate_precision(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """f64[101], the best precision at each level of `RECALLS` or beyond; 0 where that recall is not reached."""
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return envelope[np.searchsorted(recall, RECALLS, side="left")]


def average_precision(
    scores: np.ndarray, correct: np.ndarray, num_objects: float, weights: np.ndarray | None = None
) -> float:
    """The mean of the interpolated precision over the 101 recall levels; NaN without objects. Arguments: see above.

    Example:
        >>> average_precision(np.array([0.9, 0.8]), np.array([True, True]), 2)
        1.0
    """
    if not num_objects:
        return float("nan")
    _, precision, recall = precision_recall(scores, correct, num_objects, weights)
    return float(interpolate_precision(precision, recall).mean())
