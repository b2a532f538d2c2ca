"""Differences of AP between runs on the same images, and how sure they are: the bootstrap over images.

The images are drawn again, with replacement, as often as there are; every run is measured on the same draw, so what an
image adds to both cancels. AP is computed from stored matches, of one image each, which no draw changes.

Ref: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13 (the percentile interval).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.average_precision import IOU_THRESHOLDS, RECALLS

NUM_SAMPLES = 1000
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class ImageMatches:
    """Of one image: objects by class, and its detections, best first.

    Attributes:
        objects: class -> number, crowd regions left out.
        class_ids: i[D]. scores: f[D].
        correct, ignored: i[D], bit t of each stands for the IoU threshold 0.50 + 0.05 t.
    """

    objects: dict[int, int]
    class_ids: np.ndarray
    scores: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value on all images, and where `CONFIDENCE` of its bootstrap samples lie; NaN where there is no object."""

    value: float
    low: float
    high: float


class WeightedAP:
    """COCO's AP of one run for any weights of its images: what is sorted once serves every draw.

    Args:
        images: of one run.

    Example:
        >>> image = ImageMatches({1: 1}, np.array([1]), np.array([0.9]), np.array([0b11]), np.array([0]))
        >>> WeightedAP([image])(np.ones(1)).round(2).tolist()  # AP, AP50, AP75
        [0.2, 1.0, 0.0]
    """

    def __init__(self, images: Sequence[ImageMatches]) -> None:
        place = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
        columns = [[getattr(i, name) for i in images] for name in ("class_ids", "scores", "correct", "ignored")]
        class_ids, scores, correct, ignored = (np.concatenate([[], *c]) for c in columns)
        bits = 1 << np.arange(len(IOU_THRESHOLDS))
        self._classes = []
        for class_id in sorted({c for image in images for c in image.objects}):
            mine = np.flatnonzero(class_ids == class_id)
            mine = mine[np.argsort(-scores[mine], kind="stable")]
            right, out = ((v[mine].astype(np.int64)[:, None] & bits) > 0 for v in (correct, ignored))
            objects = np.array([image.objects.get(class_id, 0) for image in images], np.float64)
            self._classes.append((objects, place[mine], right, ~out))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """f64[3], AP, AP50 and AP75 where each image counts `weights` f[I] times; NaN without objects."""
        values = []
        for objects, place, right, counts in self._classes:
            number = float(objects @ weights)
            if number:
                values.append(
                    [self._ap(weights[place], right[:, t], counts[:, t], number) for t in range(right.shape[1])]
                )
        if not values:
            return np.full(3, np.nan)
        by_threshold = np.mean(values, axis=0)
        return np.array([by_threshold.mean(), by_threshold[0], by_threshold[5]])

    @staticmethod
    def _ap(weights: np.ndarray, right: np.ndarray, counts: np.ndarray, number: float) -> float:
        drawn = np.flatnonzero((weights > 0) & counts)
        if not len(drawn):
            return 0.0
        true = np.cumsum(weights[drawn] * right[drawn])
        precision = true / np.cumsum(weights[drawn])
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return float(envelope[np.searchsorted(true / number, RECALLS, side="left")].mean())


def compare_runs(
    runs: Sequence[Sequence[ImageMatches]], num_samples: int = NUM_SAMPLES, seed: int = 0
) -> list[dict[str, tuple[Interval, Interval]]]:
    """AP, AP50 and AP75 of each run, and each run's difference from the first one, with intervals.

    Args:
        runs: the same images in the same order in each.
        num_samples: draws of images.
        seed: of the draws; the same gives the same intervals.

    Returns:
        for each run, name -> (its value, its value less that of the first run).

    Example:
        >>> good = [ImageMatches({1: 1}, np.array([1]), np.array([0.9]), np.array([0b1]), np.array([0]))] * 3
        >>> none = [ImageMatches({1: 1}, np.array([1]), np.array([0.9]), np.array([0]), np.array([0]))] * 3
        >>> compare_runs([none, good], 20)[1]["AP50"][1]
        Interval(value=1.0, low=1.0, high=1.0)
    """
    measures = [WeightedAP(run) for run in runs]
    number = len(runs[0]) if runs else 0
    whole = np.array([measure(np.ones(number)) for measure in measures])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(number, np.full(number, 1 / number), num_samples) if number else np.zeros((0, 0))
    samples = np.array([[measure(draw.astype(np.float64)) for measure in measures] for draw in draws])
    rows = []
    for place in range(len(runs)):
        row = {}
        for column, name in enumerate(("AP", "AP50", "AP75")):
            own = _interval(whole[place, column], samples[:, place, column] if number else np.zeros(0))
            difference = samples[:, place, column] - samples[:, 0, column] if number else np.zeros(0)
            row[name] = own, _interval(whole[place, column] - whole[0, column], difference)
        rows.append(row)
    return rows


def _interval(value: float, samples: np.ndarray) -> Interval:
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return Interval(float(value), float("nan"), float("nan"))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))
