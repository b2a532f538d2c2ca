from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.image_quality import image_quality
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances


def test_by_hand():
    ground_truth = instances([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]], [1, 2, 1])
    prediction = instances([[0, 0, 10, 8], [20, 20, 40, 40], [60, 60, 70, 70]], [1, 1, 1], [0.9, 0.8, 0.3])
    quality = image_quality(pair_image(1, ground_truth, prediction), 0.5)
    assert (quality.correct, quality.false, quality.missed) == (1, 1, 2)
    assert quality.quality == pytest.approx(0.8 / 2.5) and quality.mean_iou == pytest.approx(0.8)
    assert image_quality(pair_image(1, ground_truth, prediction), 0.2).correct == 2


def test_nothing_is_perfect_and_crowds_do_not_count():
    nothing = instances([], scores=[])
    assert image_quality(pair_image(1, instances([]), nothing), 0.5).quality == 1
    some = instances([[0, 0, 9, 9]], scores=[0.9])
    assert image_quality(pair_image(1, instances([[0, 0, 50, 50]], is_crowd=[True]), some), 0.5).quality == 1
    alone = image_quality(pair_image(1, instances([]), some), 0.5)
    assert alone.quality == 0 and alone.false == 1 and np.isnan(alone.mean_iou)
