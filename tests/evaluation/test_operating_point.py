from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.matching import match_images
from mrcnn.evaluation.operating_point import best_f1
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances, random_pair


def test_equals_trying_every_threshold(rng):
    table = match_images([pair_image(i, *random_pair(rng)) for i in range(4)])
    for classes in (None, [1], [2, 3]):
        mine = np.isin(table.class_ids, classes or [1, 2, 3])
        number = sum(table.num_objects(c) for c in classes or [1, 2, 3])
        points = []
        for threshold in np.unique(table.scores[mine]):
            shown = mine & (table.scores >= threshold)
            precision, recall = table.correct[shown].mean(), table.correct[shown].sum() / number
            f1 = 2 * precision * recall / (precision + recall) if precision else 0.0
            points.append((f1, threshold, precision, recall))
        f1, threshold, precision, recall = max(points)
        point = best_f1(table, classes)
        assert (point.threshold, point.precision, point.recall) == pytest.approx((threshold, precision, recall))
        assert point.f1 == pytest.approx(f1)


def test_equal_scores_are_not_parted():
    ground_truth = instances([[0, 0, 10, 10]])
    boxes = [[0, 0, 10, 10], [50, 50, 60, 60]]
    point = best_f1(match_images([pair_image(1, ground_truth, instances(boxes, scores=[0.5, 0.5]))]))
    assert (point.precision, point.recall) == (0.5, 1.0)


def test_nothing():
    assert np.isnan(best_f1(match_images([])).f1)
    assert np.isnan(best_f1(match_images([pair_image(1, instances([]), instances([[0, 0, 5, 5]], scores=[0.5]))])).f1)
