from __future__ import annotations

import numpy as np
import pytest

from mrcnn.results.measure import measure


def slow(bits: np.ndarray) -> tuple[float, float]:
    """Length and width by turning all pixel corners in steps of a hundredth of a degree."""
    rows, columns = np.nonzero(bits)
    corners = np.array([(x + dx, y + dy) for x, y in zip(columns, rows, strict=True) for dx in (0, 1) for dy in (0, 1)])
    best = (np.inf, 0.0, 0.0)
    for angle in np.radians(np.arange(0, 90, 0.01)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        one, other = np.ptp(corners @ turn.T, axis=0)
        best = min(best, (one * other, max(one, other), min(one, other)))
    return best[1], best[2]


def line(angle: float, length: float = 60, width: float = 12) -> np.ndarray:
    """A bar at an angle from the x axis, counterclockwise on the screen."""
    y, x = np.mgrid[:100, :100] + 0.5 - 50
    direction = np.radians(angle)
    along, across = x * np.cos(direction) - y * np.sin(direction), x * np.sin(direction) + y * np.cos(direction)
    return (abs(along) <= length / 2) & (abs(across) <= width / 2)


def test_hand_numbers() -> None:
    bits = np.zeros((6, 9), bool)
    bits[1:3, 2:8] = True
    assert measure(bits, top=10, left=20) == (12, (25.0, 12.0), 6.0, 2.0, 0.0)
    assert measure(bits.T) == (12, (2.0, 5.0), 6.0, 2.0, 90.0)
    assert measure(np.ones((1, 1), bool)) == (1, (0.5, 0.5), 1.0, 1.0, 0.0)
    assert measure(np.zeros((3, 3), bool)) is None and measure(np.zeros((0, 0), bool)) is None
    # Two pixels that touch at a corner: the hull is a hexagon, its rectangle stands on the diagonal.
    values = measure(np.eye(2, dtype=bool))
    assert values is not None
    assert values[2:4] == pytest.approx((2 * 2**0.5, 2**0.5)) and values.orientation == pytest.approx(-45)


@pytest.mark.parametrize("angle", [0, 15, 30, 45, 60, 89, 90, -1, -30, -75])
def test_bars(angle: float) -> None:
    values = measure(line(angle))
    assert values is not None
    assert values.orientation == pytest.approx(angle, abs=2.5)
    assert values.length == pytest.approx(60, abs=2) and values.width == pytest.approx(12, abs=2)
    assert values.area == pytest.approx(720, rel=0.03) and values.centroid == pytest.approx((50, 50), abs=0.1)


def test_against_turning_slowly(rng: np.random.Generator) -> None:
    for _ in range(4):
        bits = np.zeros((14, 18), bool)
        for _ in range(3):
            y, x = rng.integers(0, 10), rng.integers(0, 12)
            bits[y : y + rng.integers(1, 5), x : x + rng.integers(1, 7)] = True
        values = measure(bits)
        assert values is not None and values[2:4] == pytest.approx(slow(bits), abs=0.02)


def test_mirrored_and_turned(rng: np.random.Generator) -> None:
    bits = line(25)
    values, mirrored, turned = measure(bits), measure(bits[:, ::-1]), measure(np.rot90(bits))
    assert values is not None and mirrored is not None and turned is not None
    assert mirrored.orientation == pytest.approx(-values.orientation)
    assert turned.orientation == pytest.approx(values.orientation - 90 + 180 * (values.orientation <= 0))
