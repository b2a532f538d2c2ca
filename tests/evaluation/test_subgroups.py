from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.pairs import pair_image
from mrcnn.evaluation.subgroups import (
    SIZES,
    border_groups,
    crowding_groups,
    group_precision,
    size_groups,
)
from tests.evaluation.scene import instances, random_pair


def test_sizes_are_those_of_pycocotools(rng):
    images = [random_pair(rng, (150, 170), crowds=0.1) for _ in range(5)]
    images += [random_pair(rng, (600, 700), number=3) for _ in range(2)]
    large = instances([[10, 10, 210, 210]], [1], [0.6], np.ones((1, 220, 220)), (220, 220))
    images.append((large, large))
    metric = CocoMetric(["a", "b", "c"])
    for number, pair in enumerate(images):
        metric.update(number, *pair)
    pairs = [pair_image(number, *pair) for number, pair in enumerate(images)]
    for group, name in enumerate(SIZES):
        ap, ap50, number = group_precision(pairs, size_groups, group)
        assert ap == pytest.approx(metric.compute()[f"mask/AP{name[0]}"], abs=1e-12) and number and ap50 >= ap


def test_crowding_and_border_by_hand():
    boxes = [[0, 0, 10, 10], [30, 30, 50, 50], [30, 45, 50, 65], [30, 48, 50, 66], [80, 80, 99.5, 90]]
    image = pair_image(1, instances(boxes), instances([[31, 30, 50, 51], [70, 5, 75, 9]], scores=[0.9, 0.8]))
    assert [g.tolist() for g in crowding_groups(image)] == [[0, 2, 2, 2, 0], [2, 0]]
    assert [g.tolist() for g in border_groups(image)] == [[1, 0, 0, 0, 1], [0, 0]]
    nothing = instances([], scores=[])
    touching = pair_image(1, instances([[0, 0, 20, 20], [19, 0, 40, 20]]), nothing)
    assert crowding_groups(touching)[0].tolist() == [1, 1]
    assert [g.tolist() for g in crowding_groups(pair_image(1, instances([]), nothing))] == [[], []]


def test_other_groups_count_neither_for_nor_against():
    ground_truth = instances([[0, 0, 20, 20], [50, 50, 70, 70]])
    prediction = instances(
        [[50, 50, 70, 70], [0, 0, 20, 20], [0, 60, 9, 70], [40, 20, 45, 25]], scores=[0.9, 0.8, 0.7, 1]
    )
    image = pair_image(1, ground_truth, prediction)
    assert group_precision([image], border_groups, 1) == (1.0, 1.0, 1)
    ap, ap50, number = group_precision([image], border_groups, 0)
    assert (ap, ap50, number) == (0.5, 0.5, 1)  # after a false positive of its own group


def test_nothing():
    ap, ap50, number = group_precision([], size_groups, 0)
    assert np.isnan([ap, ap50]).all() and number == 0
