"""Instances as paths of SVG, in a frame whose longer side is `FRAME` units."""

from __future__ import annotations

import cv2
import numpy as np

from mrcnn.structures.instances import Instances

FRAME = 1000
_TOLERANCE = 0.6  # pixels, but at least a unit: steps between pixels become lines
_FINE = 1000  # images up to this long a side are traced at twice their resolution: outlines run between pixels


def frame_size(image_shape: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the frame of an image.

    Example:
        >>> frame_size((50, 100))
        (1000, 500)
    """
    scale = FRAME / max(*image_shape, 1)
    return max(1, round(image_shape[1] * scale)), max(1, round(image_shape[0] * scale))


def outline_paths(instances: Instances, part: tuple[int, int, int, int] | None = None) -> list[str]:
    """The outline of each instance, of its mask or else of its box, as the "d" of a path. Empty: [].

    An instance whose mask has no pixel has its box.

    Args:
        instances: of one image.
        part: (y1, x1, y2, x2) of the image that the frame shows; None: all of it.

    Example:
        >>> outline_paths(Instances([[10, 20, 30, 60]], [1], (100, 100)))
        ['M200 100H600V300H200Z']
    """
    top_edge, left_edge, bottom, right = part or (0, 0, *instances.image_shape)
    scale = FRAME / max(bottom - top_edge, right - left_edge, 1)
    windows = list(instances.mask_windows()) if instances.has_masks else []
    enlarge = 2 if max(bottom - top_edge, right - left_edge) <= _FINE else 1
    paths = []
    for i, box in enumerate(instances.boxes.astype(np.float64)):
        top, left, bits = windows[i] if windows else (0, 0, np.zeros((0, 0), bool))
        path = _trace(top - top_edge, left - left_edge, bits, scale, enlarge)
        if not path:
            corners = np.nan_to_num(box, posinf=0, neginf=0) - (top_edge, left_edge, top_edge, left_edge)
            y1, x1, y2, x2 = (round(v * scale) for v in corners.tolist())
            path = f"M{x1} {y1}H{x2}V{y2}H{x1}Z"
        paths.append(path)
    return paths


def _trace(top: int, left: int, bits: np.ndarray, scale: float, enlarge: int) -> str:
    if not bits.any():
        return ""
    fine = np.repeat(np.repeat(bits.astype(np.uint8), enlarge, 0), enlarge, 1)
    loops, _ = cv2.findContours(np.pad(fine, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parts = []
    for loop in loops:
        points = (loop[:, 0, :] - 0.5) / enlarge + (left, top)
        short = cv2.approxPolyDP((points * scale).astype(np.float32)[:, None], max(1.0, _TOLERANCE * scale), True)[:, 0]
        if len(short) > 2 or len(loops) == 1:
            pairs = [f"{round(float(x))} {round(float(y))}" for x, y in short]
            parts.append(f"M{'L'.join(pairs)}Z")
    return "".join(parts)
