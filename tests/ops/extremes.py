"""Boxes to the ends of float32, for every operator on RoIs."""

from __future__ import annotations

import numpy as np

LARGEST = float(np.finfo(np.float32).max)
ENDS = np.float32([-LARGEST, -1e30, -1.9e19, -1, 0, 1e-30, 1e-3, 56, 224, 1e5, 1.8e19, 1.9e19, 1e30, LARGEST])


def extreme_boxes() -> np.ndarray:
    """f32[R, 4]: areas that are infinite, that vanish, zero times infinity; around the map, beside it, inverted."""
    ends = np.float32([-LARGEST, -1.9e19, -2, 0, 3, 20, 1.9e19, LARGEST])
    pairs = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1, 2)  # [64, 2]
    widths = np.float32([[-LARGEST, LARGEST], [0, 12], [4, 4], [5, LARGEST]])
    y, x = np.repeat(pairs, len(widths), axis=0), np.tile(widths, (len(pairs), 1))
    return np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=-1)
