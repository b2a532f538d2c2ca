from __future__ import annotations

import numpy as np
import pytest

from mrcnn.labeling.uncertainty import expected_corrections, expected_objects, outline_certainty
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import BoxMasks


def instances(scores, probs=None) -> Instances:
    boxes = np.tile(np.array([[0, 0, 8, 8]], np.float32), (len(scores), 1))
    masks = None if probs is None else BoxMasks(np.asarray(probs, np.float32), boxes, 8, 8)
    return Instances(boxes, np.ones(len(scores), int), (8, 8), scores, masks)


def test_by_hand() -> None:
    probs = [[[1, 1], [0.5, 0.0]], [[0.1, 0.1], [0.1, 0.1]]]
    both = instances([0.75, 0.5], probs)
    assert outline_certainty(both) == pytest.approx([2 / 3, 0])
    assert expected_corrections(both) == pytest.approx(0.25 + 0.5 + 0.75 / 3 + 0.5)
    assert expected_objects(both) == 1.25


def test_without_scores_masks_or_instances() -> None:
    assert expected_corrections(instances([0.75, 0.25])) == 0.5
    assert expected_corrections(Instances.empty((8, 8))) == 0 == expected_objects(Instances.empty((8, 8)))
    labeled = Instances([[0, 0, 4, 4]], [1], (8, 8))
    assert expected_corrections(labeled) == 0 == expected_objects(labeled)
