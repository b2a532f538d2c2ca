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
