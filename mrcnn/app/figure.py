"""A view as the image that the page shows, and the way back from a click on it to the image's own pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.app.view import View, corrected, visible
from mrcnn.drawing.colors import assign
from mrcnn.drawing.image import MAX_ENLARGE, draw_array
from mrcnn.drawing.labels import LONG_SIDE

LONGEST = 1600
"""Longer side of what is sent to the browser, pixels."""
SELECTED = np.array((255, 255, 255), np.uint8)
LAYERS = ("masks", "boxes", "labels")
"""What can be drawn of an instance."""


def drawn_side(height: int, width: int) -> int:
    """Longer side of the drawing of an image: its own within what is readable and what is quickly sent."""
    longest = max(height, width)
    return round(min(max(longest, min(LONG_SIDE, longest * MAX_ENLARGE)), LONGEST))


def draw_view(view: View, class_names: Sequence[str], layers: Sequence[str] = LAYERS) -> np.ndarray:
    """The shown instances on their image; the selected one in white.

    An instance keeps its color whatever the threshold.

    Args:
        view: what is shown.
        class_names: of the classes 1..C.
        layers: of `LAYERS`.

    Returns:
        u8[H, W, 3], of `drawn_side`.
    """
    everything, numbers = corrected(view), visible(view)
    colors = assign(everything, "auto", len(class_names) > 1)
    if view.selected is not None:
        colors[view.selected] = SELECTED
    return draw_array(
        view.pixels,
        everything[numbers],
        class_names=class_names,
        colors=colors[numbers],
        long_side=drawn_side(*view.pixels.shape[:2]),
        masks="masks" in layers,
        boxes="boxes" in layers,
        labels="labels" in layers,
    )


def to_image(view: View, x: float, y: float) -> tuple[float, float]:
    """(y, x) in pixels of the image of a click at column x and row y of its drawing, counted from 0."""
    height, width = view.pixels.shape[:2]
    scale = drawn_side(height, width) / max(height, width)
    return (y + 0.5) / scale, (x + 0.5) / scale
