from __future__ import annotations

import numpy as np
import pytest

from mrcnn.evaluation.average_precision import IOU_THRESHOLDS, average_precision
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.matching import count_objects, match_detections, match_images
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances, random_pair


@pytest.mark.parametrize("masks", [True, False])
def test_average_precision_of_the_table_is_that_of_pycocotools(rng, masks):
    images = [random_pair(rng, crowds=0.2, masks=masks) for _ in range(5)]
    metric = CocoMetric(["a", "b", "c"])
    for number, pair in enumerate(images):
        metric.update(number, *pair)
    pairs = [pair_image(number, *pair) for number, pair in enumerate(images)]
    tables = [match_images(pairs, threshold) for threshold in IOU_THRESHOLDS]
    for class_id, row in enumerate(metric.result().per_class.values(), start=1):
        values = [
            average_precision(t.scores[t.class_ids == class_id], t.correct[t.class_ids == class_id], row["objects"])
            for t in tables
        ]
        kind = "mask" if masks else "box"
        assert np.mean(values) == pytest.approx(row[f"{kind}/AP"], abs=1e-12)
        assert values[0] == pytest.approx(row[f"{kind}/AP50"], abs=1e-12) and tables[0].num_objects(class_id) > 0


def test_each_object_once_and_crowds_any_number_of_times():
    boxes = [[0, 0, 10, 10], [50, 50, 80, 80]]
    ground_truth = instances(boxes, is_crowd=[False, True])
    inside = [[50, 50, 60, 60], [60, 60, 70, 70]]
    prediction = instances([boxes[0], boxes[0], *inside], scores=[0.9, 0.8, 0.7, 0.6])
    matched, ignored = match_detections(pair_image(1, ground_truth, prediction))
    assert matched.tolist() == [0, -1, 1, 1] and ignored.tolist() == [False, False, True, True]
    table = match_images([pair_image(1, ground_truth, prediction)])
    assert table.correct.tolist() == [True, False] and table.objects[1].tolist() == [1]


def test_an_ignored_object_is_taken_only_if_no_other_is_left():
    ground_truth = instances([[0, 0, 10, 10], [0, 0, 10, 9]])
    prediction = instances([[0, 0, 10, 10]] * 2, scores=[0.9, 0.8])
    matched, ignored = match_detections(pair_image(1, ground_truth, prediction), 0.5, np.array([True, False]))
    assert matched.tolist() == [1, 0] and ignored.tolist() == [False, True]


def test_no_images_and_no_objects():
    table = match_images([])
    assert table.scores.shape == (0,) and table.num_objects(1) == 0 and count_objects([]) == {}
    alone = pair_image(1, instances([]), instances([[0, 0, 5, 5]], scores=[0.5]))
    assert match_images([alone]).correct.tolist() == [False]
