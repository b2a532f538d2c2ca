from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.average_precision import RECALLS, average_precision, interpolate_precision, precision_recall


def slow(scores, correct, number):
    """By the definition: at each recall level the best precision of any cut that reaches it."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    points = []
    for k in range(1, len(order) + 1):
        right = sum(bool(correct[i]) for i in order[:k])
        points.append((right / number, right / k))
    return float(np.mean([max([p for r, p in points if r >= level], default=0.0) for level in RECALLS]))


def test_equals_the_definition(rng):
    for _ in range(20):
        n = rng.integers(0, 12)
        scores, correct = rng.permutation(n) / 12, rng.uniform(size=n) < 0.6
        assert average_precision(scores, correct, 13) == pytest.approx(slow(scores, correct, 13), abs=1e-12)


def test_weights_count_a_detection_several_times(rng):
    scores, correct, weights = rng.permutation(9) / 9, rng.uniform(size=9) < 0.6, rng.integers(0, 4, 9)
    repeated = [np.repeat(v, weights) for v in (scores, correct)]
    # Precision in the middle of equal scores is seen only where they are apart, so wrong ones must not come first.
    expected = average_precision(repeated[0], repeated[1], 20)
    assert average_precision(scores, correct, 20, weights) == pytest.approx(expected, abs=0.02)
    assert average_precision(scores, correct, 20, np.ones(9)) == average_precision(scores, correct, 20)


def test_nothing():
    assert np.isnan(average_precision(np.array([0.5]), np.array([False]), 0))
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0
    assert precision_recall(np.zeros(0), np.zeros(0, bool), 3)[1].shape == (0,)
    assert (interpolate_precision(np.zeros(0), np.zeros(0)) == 0).all()
