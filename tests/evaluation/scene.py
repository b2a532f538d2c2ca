"""Instances made up for the tests of this folder."""

from __future__ import annotations

import numpy as np

from mrcnn.structures.instances import Instances


def instances(boxes, class_ids=None, scores=None, masks=None, shape=(100, 120), **fields):
    n = len(boxes)
    return Instances(
        np.array(boxes, np.float32).reshape(n, 4),
        np.ones(n) if class_ids is None else class_ids,
        shape,
        scores=scores,
        masks=masks,
        **fields,
    )


def ellipses(boxes, shape):
    """bool[n, h, w], the ellipse inside each box."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    masks = np.zeros((len(boxes), *shape), bool)
    for mask, (y1, x1, y2, x2) in zip(masks, boxes, strict=True):
        ry, rx = max(y2 - y1, 1e-6) / 2, max(x2 - x1, 1e-6) / 2
        mask[:] = ((y - y1 - ry) / ry) ** 2 + ((x - x1 - rx) / rx) ** 2 <= 1
    return masks


def random_pair(rng, shape=(100, 120), classes=3, number=8, crowds=0.0, masks=True):
    """Ground truth and a prediction with every kind of error: shifted, of another class, twice, of nothing, missing."""
    height, width = shape
    low = rng.uniform(0, [height - 20, width - 20], (number, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(8, 45, (number, 2)), shape)], axis=1)
    class_ids = rng.integers(1, classes + 1, number)
    is_crowd = rng.uniform(size=number) < crowds
    ground_truth = instances(
        boxes, class_ids, None, ellipses(boxes, shape) if masks else None, shape, is_crowd=is_crowd
    )
    source = rng.integers(0, number, 2 * number)
    moved = boxes[source] + rng.normal(0, rng.choice([0.5, 3.0, 9.0], (2 * number, 1)), (2 * number, 4))
    moved = np.sort(np.clip(moved.reshape(-1, 2, 2), 0, shape), axis=1).reshape(-1, 4)
    detected = np.where(rng.uniform(size=2 * number) < 0.7, class_ids[source], rng.integers(1, classes + 1, 2 * number))
    scores = rng.permutation(2 * number) / (2 * number) * 0.8 + rng.uniform(0.01, 0.2)
    prediction = instances(moved, detected, scores, ellipses(moved, shape) if masks else None, shape)
    return ground_truth, prediction
