"""Whether a score means what it seems to: the chance to be correct, or the quality of the mask.

A detector is calibrated if, of its detections of score s, the share s is correct. For masks the analogous question is
whether a detection of score s overlaps its object by s.

Ref: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2 (reliability diagram, expected
calibration error); Huang et al., "Mask Scoring R-CNN", CVPR 2019, section 1 (score against mask IoU).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.matching import match_images
from mrcnn.evaluation.pairs import ImagePairs

NUM_BINS = 10


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Scores in bins of equal width, against what they should equal.

    Attributes:
        edges: f64[B + 1], of the bins in [0, 1]; a score on an edge is in the upper one.
        counts: i64[B], detections.
        mean_scores, means: f64[B], of the score and of the value it stands for; NaN in an empty bin.
        error: the expected calibration error, the mean of |mean - mean score| over detections; NaN without any.
        correlation: Pearson's, of score and value; NaN where either does not vary.
    """

    edges: np.ndarray
    counts: np.ndarray
    mean_scores: np.ndarray
    means: np.ndarray
    error: float
    correlation: float


def calibrate(scores: np.ndarray, values: np.ndarray, num_bins: int = NUM_BINS) -> Calibration:
    """Scores f[N] in [0, 1] against the values f[N] that they should equal on average.

    Example:
        >>> table = calibrate(np.array([0.75, 0.75, 0.75, 0.75]), np.array([1, 1, 0, 1]))
        >>> table.error, int(table.counts[7])
        (0.0, 4)
    """
    scores, values = np.asarray(scores, np.float64), np.asarray(values, np.float64)
    places = np.clip((scores * num_bins).astype(int), 0, num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    sums = [np.bincount(places, weights=v, minlength=num_bins) for v in (scores, values)]
    mean_scores, means = (np.divide(total, counts, out=np.full(num_bins, np.nan), where=counts > 0) for total in sums)
    error = float(np.abs(sums[1] - sums[0]).sum() / len(scores)) if len(scores) else float("nan")
    varies = len(scores) > 1 and np.ptp(scores) > 0 and np.ptp(values) > 0
    correlation = float(np.corrcoef(scores, values)[0, 1]) if varies else float("nan")
    return Calibration(np.linspace(0, 1, num_bins + 1), counts, mean_scores, means, error, correlation)


def score_calibration(
    images: Sequence[ImagePairs], iou_threshold: float = 0.5, num_bins: int = NUM_BINS
) -> Calibration:
    """Scores against correctness: whether COCO's matching credits a detection with an object at the threshold."""
    table = match_images(images, iou_threshold)
    return calibrate(table.scores, table.correct, num_bins)


def quality_calibration(images: Sequence[ImagePairs], num_bins: int = NUM_BINS) -> Calibration:
    """Scores against quality: the IoU with the object of the same class that a detection overlaps most.

    Of masks where there are any, else of boxes. Detections that overlap no object of their class are left out; what
    these mean for the score is in `score_calibration`.
    """
    scores, values = overlap_by_score(images)
    return calibrate(scores, values, num_bins)


def overlap_by_score(images: Sequence[ImagePairs]) -> tuple[np.ndarray, np.ndarray]:
    """(f64[N], f64[N]): score, and IoU with the object of its class, of each detection that overlaps one."""
    scores: list[np.ndarray] = [np.zeros(0)]
    overlaps: list[np.ndarray] = [np.zeros(0)]
    for image in images:
        _, best = image.best_overlaps(same_class=True)
        scores.append(image.scores[best > 0])
        overlaps.append(best[best > 0])
    return np.concatenate(scores), np.concatenate(overlaps)
