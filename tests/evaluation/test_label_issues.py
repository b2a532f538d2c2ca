from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mrcnn.evaluation.label_issues import find_label_issues
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import ellipses, instances


def kinds(ground_truth, prediction):
    issues = find_label_issues([pair_image(1, ground_truth, prediction)])
    return [(issue.kind, issue.detection, issue.gt) for issue in issues]


def test_each_kind_by_hand():
    boxes = [[0, 0, 20, 20], [30, 30, 50, 50], [60, 60, 80, 80], [0, 90, 20, 110]]
    ground_truth = instances(boxes, [1, 2, 1, 1])
    prediction = instances(
        [[0, 0, 20, 20], [30, 30, 50, 50], [60, 60, 80, 67], [80, 0, 90, 10], [80, 0, 90, 9]],
        [1, 1, 1, 1, 1],
        [0.99, 0.9, 0.8, 0.7, 0.6],
    )
    # One of three objects of class 1 is detected; the fifth detection is the fourth once more.
    assert kinds(ground_truth, prediction) == [
        ("class", 1, 1),
        ("unlabeled", 3, None),
        ("outline", 2, 2),
        ("unfound", None, 3),
    ]
    issues = find_label_issues([pair_image(1, ground_truth, prediction)])
    # One of five detections is right, one of four objects is detected; the outlines overlap by 0.35 of 0.5.
    absence = 0.8 * 0.25 / 3
    expected = [0.9, 0.7 * 0.2, 0.6 * (1 - (1 - 0.8 * 0.2) * (1 - absence)), absence]
    assert [i.suspicion for i in issues] == pytest.approx(expected, abs=1e-6)


def test_images_on_which_model_and_labels_agree_are_trusted():
    boxes = [[y, x, y + 9, x + 9] for y in (0, 20, 40) for x in (0, 20, 40)]
    good = instances(boxes[:8], [1] * 8), instances(boxes, [1] * 9, [0.9] * 9)
    poor = instances(boxes[:2], [1] * 2), instances(boxes, [1] * 9, [0.9] * 9)
    issues = find_label_issues([pair_image(k, *pair) for k, pair in enumerate((poor, good))])
    assert issues[0].image == 1 and issues[0].suspicion == pytest.approx(0.9 * (8 + 2 * 10 / 18) / 11, abs=1e-6)
    assert all(issue.image == 0 for issue in issues[1:])


def test_a_detection_of_the_objects_own_class_speaks_for_the_label():
    ground_truth = instances([[0, 0, 20, 20]], [1])
    prediction = instances([[0, 0, 20, 20]] * 2, [2, 1], [0.9, 0.6])
    assert find_label_issues([pair_image(1, ground_truth, prediction)])[0].suspicion == pytest.approx(0.3, abs=1e-6)
    stacked = instances([[0, 0, 20, 20], [0, 0, 20, 19]], [1, 2])  # both classes are there
    assert kinds(stacked, prediction) == []


def test_crowds_and_nothing():
    crowd = instances([[0, 0, 50, 50]], is_crowd=[True])
    assert kinds(crowd, instances([[0, 0, 9, 9]], scores=[0.9])) == [] and find_label_issues([]) == []


def test_injected_mistakes_come_first(rng):
    """Of 400 objects 5 % get another class, vanish or move; a good model's detections put them in the first tenth."""
    shape, images, injected = (300, 300), [], set()
    for index in range(20):
        y, x = np.divmod(np.arange(20), 5)
        boxes = np.stack([y * 70 + 5, x * 58 + 5, y * 70 + 45, x * 58 + 45], 1).astype(float)
        class_ids = rng.integers(1, 4, 20)
        moved = boxes + rng.normal(0, 1.5, boxes.shape)
        scores = np.clip(rng.normal(0.85, 0.12, 20), 0.05, 1)
        prediction = instances(moved, class_ids, scores, ellipses(moved, shape), shape)
        labels, places, keep = class_ids.copy(), boxes.copy(), np.ones(20, bool)
        wrong = int(rng.integers(20))
        injected.add((index, wrong))
        if index % 3 == 0:
            labels[wrong] = labels[wrong] % 3 + 1
        elif index % 3 == 1:
            keep[wrong] = False
        else:
            places[wrong] += 14
        ground_truth = instances(places, labels, None, ellipses(places, shape), shape)[keep]
        images.append(pair_image(index, ground_truth, prediction))
    issues = find_label_issues(images)
    shown = {issue.image for issue in issues[:40]}
    assert len(shown & {i for i, _ in injected}) >= 0.8 * len(injected)
    assert dataclasses.astuple(issues[0])[1] >= issues[-1].suspicion
