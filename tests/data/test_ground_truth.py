from __future__ import annotations

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.structures.records import Annotation

EMPTY_POLYGON = [np.array([[5.1, 5.1], [5.2, 5.1], [5.2, 5.2]])]


def test_ground_truth_is_held_in_windows() -> None:
    dataset = Dataset()
    dataset.add_class("mine", 1, "thing")
    square = [np.array([[2, 3], [6, 3], [6, 8], [2, 8]])]
    objects = [
        Annotation(1, (3, 2, 8, 6), square),
        Annotation(1, (0, 0, 2, 3)),
        Annotation(1, (0, 0, 5, 5), EMPTY_POLYGON),
    ]
    dataset.add_image("mine", 0, None, height=14_000, width=14_000, annotations=objects * 40)  # 23 GB as full masks
    ground_truth = dataset.instances(0)
    windows = list(ground_truth.mask_windows())[:3]
    assert [(top, left, bits.shape, int(bits.sum())) for top, left, bits in windows] == [
        (3, 2, (5, 4), 20), (0, 0, (2, 3), 6), (0, 0, (0, 0), 0),
    ]  # fmt: skip
