from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.calibration import calibrate, overlap_by_score, quality_calibration, score_calibration
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances


def test_by_hand():
    table = calibrate(np.array([0.95, 0.85, 0.2, 1.0]), np.array([1, 0, 0, 0]))
    assert table.counts.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 1, 2]
    assert table.mean_scores[9] == pytest.approx(0.975) and table.means[9] == 0.5
    assert table.error == pytest.approx((0.2 + 0.85 + 2 * 0.475) / 4)
    assert np.isnan(table.means[0])


def test_equals_loops(rng):
    scores, values = rng.uniform(size=300), rng.uniform(size=300)
    table = calibrate(scores, values, 7)
    expected = 0.0
    for k in range(7):
        mine = (scores >= k / 7) & (scores < (k + 1) / 7)
        expected += mine.mean() * abs(values[mine].mean() - scores[mine].mean())
    assert table.error == pytest.approx(expected)
    assert table.correlation == pytest.approx(np.corrcoef(scores, values)[0, 1])


def test_scores_that_are_probabilities_have_no_error(rng):
    scores = rng.uniform(size=40_000)
    assert calibrate(scores, rng.uniform(size=40_000) < scores).error < 0.02
    assert (calibrate(scores, scores).error, calibrate(scores, scores).correlation) == pytest.approx((0, 1))


def test_of_images():
    ground_truth = instances([[0, 0, 10, 10], [20, 20, 40, 40]])
    prediction = instances([[0, 0, 10, 8], [20, 20, 40, 26], [60, 60, 70, 70]], scores=[0.8, 0.6, 0.4])
    images = [pair_image(1, ground_truth, prediction)]
    assert score_calibration(images).error == pytest.approx((0.2 + 0.6 + 0.4) / 3)
    assert [v.round(6).tolist() for v in overlap_by_score(images)] == [[0.8, 0.6], [0.8, 0.3]]
    assert quality_calibration(images).error == pytest.approx(0.15)


def test_nothing():
    table = score_calibration([])
    assert np.isnan(table.error) and np.isnan(table.correlation) and not table.counts.any()
    assert np.isnan(quality_calibration([]).error)
