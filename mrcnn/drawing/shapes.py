"""Masks, boxes and keypoints drawn on a canvas."""

from __future__ import annotations

import cv2
import numpy as np

from mrcnn.structures.masks import Window

COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

COORDINATES = (-1e4, 1e5)
"""The least and the largest coordinate that is drawn, pixels of the canvas; OpenCV takes no others."""


def draw_mask(
    canvas: np.ndarray, window: Window, color: np.ndarray, scale: float, thickness: int, strength: float
) -> None:
    """Fill a mask and draw its outline.

    Args:
        canvas: u8[H, W, 3], changed in place.
        window: first row, first column and bool[h, w] of the mask in the image.
        color: u8[3].
        scale: pixels of the canvas per pixel of the image.
        thickness: of the outline, pixels of the canvas.
        strength: of the filling, from 0 (none) to 1.
    """
    first_row, first_column, mask = window
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    y, x = int(rows[0]) + first_row, int(columns[0]) + first_column
    bits = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    # The object's window on the canvas, a pixel wider than the object so that its outline closes.
    top, left = max(0, int(y * scale) - 1), max(0, int(x * scale) - 1)
    bottom = min(canvas.shape[0], int(np.ceil((y + bits.shape[0]) * scale)) + 1)
    right = min(canvas.shape[1], int(np.ceil((x + bits.shape[1]) * scale)) + 1)
    step = 1 / scale
    to_mask = np.array([[step, 0, (left + 0.5) * step - 0.5 - x], [0, step, (top + 0.5) * step - 0.5 - y]], np.float32)
    sampled = cv2.warpAffine(bits, to_mask, (right - left, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside = sampled >= min(0.5, float(sampled.max()))
    target = canvas[top:bottom, left:right]
    target[inside] = (target[inside] * (1 - strength) + color * strength).astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, color.tolist(), thickness, cv2.LINE_AA, offset=(left, top))


def corners(box: np.ndarray) -> tuple[int, int, int, int]:
    """(y1, x1, y2, x2): first and last row and column of a box on the canvas, within what OpenCV draws."""
    y1, x1, y2, x2 = np.round(np.clip(box, *COORDINATES)).astype(int).tolist()
    return y1, x1, max(y1, y2 - 1), max(x1, x2 - 1)


def draw_box(canvas: np.ndarray, box: np.ndarray, color: np.ndarray, thickness: int) -> None:
    """Draw (y1, x1, y2, x2), pixels of the canvas; a box that is not finite is left out."""
    if not np.isfinite(box).all():
        return
    y1, x1, y2, x2 = corners(box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), color.tolist(), thickness)


def draw_rotated_box(canvas: np.ndarray, box: np.ndarray, color: np.ndarray, thickness: int) -> None:
    """Draw (cy, cx, h, w, angle), pixels of the canvas and degrees counter-clockwise; not one that is not finite."""
    if np.isfinite(box).all():
        cv2.polylines(canvas, [rotated_corners(box)], True, color.tolist(), thickness, cv2.LINE_AA)


def rotated_corners(box: np.ndarray) -> np.ndarray:
    """i32[4, 2], the corners (x, y) of (cy, cx, h, w, angle) one after the other, within what OpenCV draws."""
    center_y, center_x, height, width, angle = box.tolist()
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    down, right = 0.5 * height * np.array([-1, -1, 1, 1]), 0.5 * width * np.array([-1, 1, 1, -1])
    x, y = center_x + sine * down + cosine * right, center_y + cosine * down - sine * right
    # The center of pixel i lies at i + 0.5.
    points = np.clip(np.stack([x, y], axis=1) - 0.5, *COORDINATES)
    return np.round(points).astype(np.int32)


def draw_keypoints(canvas: np.ndarray, points: np.ndarray, color: np.ndarray, scale: float, thickness: int) -> None:
    """Draw the joints of one object that are labeled, and the limbs of COCO's skeleton between 17 of them.

    Args:
        canvas: u8[H, W, 3], changed in place.
        points: f[J, 3], (x, y, visibility or score) in pixels of the image; what is not finite is left out.
        color: u8[3].
        scale: pixels of the canvas per pixel of the image.
        thickness: of limbs, pixels of the canvas.
    """
    seen = (points[:, 2] > 0) & np.isfinite(points).all(axis=1)
    places = np.nan_to_num(points[:, :2].astype(np.float64) * scale)
    places = np.round(np.clip(places, *COORDINATES)).astype(int)
    if len(points) == 1 + max(max(edge) for edge in COCO_SKELETON):
        for a, b in COCO_SKELETON:
            if seen[a] and seen[b]:
                cv2.line(canvas, places[a].tolist(), places[b].tolist(), color.tolist(), thickness, cv2.LINE_AA)
    for place in places[seen].tolist():
        cv2.circle(canvas, place, thickness + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(canvas, place, thickness + 1, color.tolist(), -1, cv2.LINE_AA)
