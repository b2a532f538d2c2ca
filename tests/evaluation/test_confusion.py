from __future__ import annotations

import numpy as np

from mrcnn.evaluation.confusion import confusion_matrix
from mrcnn.evaluation.pairs import pair_image
from tests.evaluation.scene import instances, random_pair


def test_by_hand():
    ground_truth = instances([[0, 0, 10, 10], [20, 20, 40, 40], [60, 60, 70, 70]], [1, 2, 2])
    boxes = [[0, 0, 10, 10], [20, 20, 40, 38], [20, 20, 40, 40], [80, 80, 90, 90], [60, 60, 70, 70]]
    prediction = instances(boxes, [1, 1, 2, 2, 1], [0.9, 0.9, 0.8, 0.7, 0.3])
    image = pair_image(1, ground_truth, prediction)
    # The object is that of the better overlap, not of the better score; the last detection is below the threshold.
    assert confusion_matrix([image], 2).tolist() == [[0, 1, 1], [0, 1, 0], [1, 0, 1]]
    assert confusion_matrix([image], 2, score_threshold=0.0).tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 1]]


def test_sums_are_the_numbers_of_objects_and_detections(rng):
    images = [pair_image(i, *random_pair(rng)) for i in range(4)]
    matrix = confusion_matrix(images, 3, 0.4)
    objects = np.concatenate([image.gt_class_ids for image in images])
    detections = np.concatenate([image.class_ids[image.scores >= 0.4] for image in images])
    assert matrix[1:].sum(1).tolist() == np.bincount(objects, minlength=4)[1:].tolist()
    assert matrix[:, 1:].sum(0).tolist() == np.bincount(detections, minlength=4)[1:].tolist()


def test_detections_in_crowds_are_left_out_and_nothing_is_nothing():
    crowd = instances([[0, 0, 50, 50]], is_crowd=[True])
    image = pair_image(1, crowd, instances([[0, 0, 9, 9]], scores=[0.9]))
    assert not confusion_matrix([image], 1).any() and not confusion_matrix([], 1).any()
