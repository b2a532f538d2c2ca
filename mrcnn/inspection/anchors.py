"""How well a recipe's anchors fit the boxes of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.ops.rotated_iou import pairwise_rotated_iou

POOR_FIT = 0.5
"""An object whose best anchor overlaps it less than this, with the same center, has only weak positive anchors."""
_BLOCK = 4096  # rotated boxes at a time


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


def best_rotated_anchor_iou(boxes: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Rotated IoU of each rotated box with the rotated anchor that fits it best, centers together.

    Args:
        boxes: f[n, 3], (h, w, angle), pixels and degrees, see `ops.rotated_boxes`.
        cells: f[A, 3], the same of the anchors.

    Returns:
        f32[n]. Empty: n = 0.

    Example:
        >>> best_rotated_anchor_iou(np.array([[8, 32, 90]]), np.array([[8, 32, 0], [32, 8, 0]])).round(3).tolist()
        [1.0]
    """
    centered, anchors = (np.pad(np.asarray(part, np.float32), ((0, 0), (2, 0))) for part in (boxes, cells))
    blocks = [
        pairwise_rotated_iou(centered[start : start + _BLOCK], anchors).numpy().max(axis=1)
        for start in range(0, len(centered), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, np.float32), *blocks])
