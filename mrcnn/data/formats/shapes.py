"""Outlines of the shapes that annotation tools draw, as polygons of (x, y) in pixels."""

from __future__ import annotations

import math

import numpy as np

ELLIPSE_POINTS = 72
"""An ellipse of that many corners has 0.13 % less area."""


def rectangle(x1: float, y1: float, x2: float, y2: float, degrees: float = 0.0, *, corner: bool = False) -> np.ndarray:
    """f64[4, 2] of a rectangle.

    Args:
        x1, y1, x2, y2: of two opposite corners, before it is turned.
        degrees: clockwise on the screen.
        corner: turn it about (x1, y1), not about its center.
    """
    points = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    return turned(points, (x1, y1) if corner else ((x1 + x2) / 2, (y1 + y2) / 2), degrees)


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0.0) -> np.ndarray:
    """f64[72, 2] of an ellipse, turned clockwise on the screen."""
    angle = np.arange(ELLIPSE_POINTS) * (2 * math.pi / ELLIPSE_POINTS)
    points = np.stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle)], axis=1)
    return turned(points, (cx, cy), degrees)


def turned(points: np.ndarray, about: tuple[float, float], degrees: float) -> np.ndarray:
    """Points turned clockwise on the screen.

    Example:
        >>> turned(np.array([[2.0, 1.0]]), (1.0, 1.0), 90).round(6).tolist()
        [[1.0, 2.0]]
    """
    if not degrees:
        return points
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - about) @ np.array([(c, s), (-s, c)]) + about
