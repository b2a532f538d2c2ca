from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.average_precision import IOU_THRESHOLDS
from mrcnn.evaluation.bootstrap import ImageMatches, WeightedAP, compare_runs
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.matching import match_detections
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import random_pair


def matches(image):
    correct, ignored = np.zeros((2, len(image.scores)), int)
    for bit, threshold in enumerate(IOU_THRESHOLDS):
        matched, out = match_detections(image, threshold)
        correct |= ((matched >= 0) & ~out).astype(int) << bit
        ignored |= out.astype(int) << bit
    objects = {c: int((image.gt_class_ids[~image.gt_crowd] == c).sum()) for c in (1, 2, 3)}
    return ImageMatches({c: n for c, n in objects.items() if n}, image.class_ids, image.scores, correct, ignored)


def scene(rng, number):
    return [random_pair(rng, crowds=0.1) for _ in range(number)]


def test_is_cocos_ap_of_the_images_that_count(rng):
    pairs = scene(rng, 4)
    measure = WeightedAP([matches(pair_image(i, *pair)) for i, pair in enumerate(pairs)])
    for weights in ([1, 1, 1, 1], [1, 0, 1, 1]):
        metric = CocoMetric(["a", "b", "c"])
        for i, (pair, weight) in enumerate(zip(pairs, weights, strict=True)):
            if weight:
                metric.update(i, *pair)
        numbers = metric.compute()
        expected = [numbers[f"mask/{name}"] for name in ("AP", "AP50", "AP75")]
        assert measure(np.array(weights, float)).tolist() == pytest.approx(expected, abs=1e-9)
    assert measure(np.full(4, 3.0)).tolist() == pytest.approx(measure(np.ones(4)).tolist(), abs=1e-12)


def test_intervals_hold_the_value_and_repeat(rng):
    run = [matches(pair_image(i, *pair)) for i, pair in enumerate(scene(rng, 12))]
    worse = [ImageMatches(m.objects, m.class_ids, m.scores, m.correct & 0b11111, m.ignored) for m in run]
    first, second = compare_runs([run, worse], 100)
    value, difference = second["AP"]
    assert value.low < value.value < value.high and difference.high < 0
    assert difference.high - difference.low < value.high - value.low  # what both share cancels
    assert first["AP"][1].value == first["AP"][1].low == 0 and second["AP50"][1].value == 0
    assert compare_runs([run, worse], 100) == [first, second]


def test_the_interval_of_a_share_is_that_of_theory(rng):
    """Images of one object each: AP50 by the bootstrap varies as its images do."""
    hit = rng.uniform(size=200) < 0.7
    images = [ImageMatches({1: 1}, np.array([1]), np.array([0.5]), np.array([int(h)]), np.array([0])) for h in hit]
    [row] = compare_runs([images], 300)
    interval = row["AP50"][0]
    assert 0.05 < interval.high - interval.low < 0.35 and interval.low < interval.value < interval.high


def test_nothing():
    [row] = compare_runs([[]], 5)
    assert np.isnan(row["AP"][0].value)
    empty = ImageMatches({}, np.zeros(0, int), np.zeros(0), np.zeros(0, int), np.zeros(0, int))
    assert np.isnan(compare_runs([[empty]], 5)[0]["AP"][0].value)
