from __future__ import annotations

import math

import numpy as np

from mrcnn.data.formats.shapes import ellipse, rectangle


def area(points: np.ndarray) -> float:
    x, y = points.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_outlines() -> None:
    assert area(rectangle(1, 2, 5, 4)) == 8
    np.testing.assert_allclose(rectangle(0, 0, 4, 2, 90), [(3, -1), (3, 3), (1, 3), (1, -1)], atol=1e-12)
    np.testing.assert_allclose(rectangle(0, 0, 4, 2, 90, corner=True), [(0, 0), (0, 4), (-2, 4), (-2, 0)], atol=1e-12)
    points = ellipse(10, 20, 4, 2, 90)
    np.testing.assert_allclose([points.min(axis=0), points.max(axis=0)], [(8, 16), (12, 24)])
    assert abs(area(points) / (math.pi * 8) - 1) < 0.002
