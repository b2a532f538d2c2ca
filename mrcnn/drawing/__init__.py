"""Instances drawn on their image, as an array, a file or a matplotlib figure.

Importing this package does not import matplotlib; `draw` does when it returns a figure.
"""

from __future__ import annotations

from mrcnn.drawing.figure import draw
from mrcnn.drawing.image import draw_array, save_image
from mrcnn.drawing.panoptic import draw_panoptic
from mrcnn.drawing.stages import draw_boxes, draw_grid

__all__ = ["draw", "draw_array", "draw_boxes", "draw_grid", "draw_panoptic", "save_image"]
