"""How well a recipe's anchors fit the boxes of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POOR_FIT = 0.5
"""An object whose best anchor overlaps it less than this, with the same center, has only weak positive anchors."""


def best_anchor_iou(extents: np.ndarray, sizes: Sequence[Sequence[float]], ratios: Sequence[float]) -> np.ndarray:
    """IoU of each box with the anchor that fits it best, centers together.

    Args:
        extents: f[n, 2], (height, width) of boxes.
        sizes: anchor sizes of each level, sqrt(area).
        ratios: height / width of anchors.

    Returns:
        f32[n]. Empty: n = 0.

    Example:
        >>> best_anchor_iou(np.array([[32, 32], [16, 32]]), [[32]], [1.0]).tolist()
        [1.0, 0.5]
    """
    shapes = np.array([[s * r**0.5, s / r**0.5] for level in sizes for s in level for r in ratios])
    common = np.minimum(extents[:, None, :], shapes[None]).prod(axis=2)  # [n, anchors]
    union = extents.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common
    return (common / union).max(axis=1).astype(np.float32)
