"""Masks, which are grids that lie over windows of their image, sampled on pixels of the image or on cells of a box."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mrcnn.data.transforms.sample import Sample


def full_frame_masks(sample: Sample) -> np.ndarray:
    """Each object's mask in the image.

    Returns:
        u8[n, height, width], 0 or 1: the mask's grid sampled at the centers of the pixels. Empty: u8[0, height, width].
    """
    height, width = sample["image"].shape[:2]
    result = np.zeros((len(sample["masks"]), height, width), np.uint8)
    for i, (bits, window) in enumerate(zip(sample["masks"], sample["windows"], strict=True)):
        y1, x1, y2, x2 = pixels_of(window, height, width)
        result[i, y1:y2, x1:x2] = on_pixels(bits, window, y1, x1, y2, x2)
    return result


def pixels_of(window: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """(y1, x1, y2, x2), whole pixels: the part of an image in which a window has the center of a pixel, or more."""
    y1, x1, y2, x2 = window.tolist()
    top, left = max(0, math.floor(y1)), max(0, math.floor(x1))
    return top, left, max(top, min(height, math.ceil(y2))), max(left, min(width, math.ceil(x2)))


def on_pixels(bits: np.ndarray, window: np.ndarray, y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    """bool[y2 - y1, x2 - x1]: the mask whose grid lies over `window`, at the centers of these pixels of the image."""
    top, left, bottom, right = window.astype(np.float64) - (y1, x1, y1, x1)
    if not (bottom > top and right > left and y2 > y1 and x2 > x1):
        return np.zeros((y2 - y1, x2 - x1), bool)
    per_y, per_x = bits.shape[0] / (bottom - top), bits.shape[1] / (right - left)
    # The center of pixel j lies at j + 0.5, that of cell k of the grid at (k + 0.5) / per_pixel from its edge.
    to_grid = np.array([[per_x, 0, (0.5 - left) * per_x - 0.5], [0, per_y, (0.5 - top) * per_y - 0.5]])
    # As in `crop_masks_to_boxes`: up to the grid's edge its outermost cells count in full.
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    bits = np.ascontiguousarray(bits)
    mask = cv2.warpAffine(bits, to_grid, (x2 - x1, y2 - y1), flags=flags, borderMode=border) >= 128
    rows, columns = np.arange(y2 - y1) + 0.5, np.arange(x2 - x1) + 0.5
    mask[(rows < top) | (rows > bottom)] = False
    mask[:, (columns < left) | (columns > right)] = False
    return mask


def crop_masks_to_boxes(sample: Sample, side: int) -> np.ndarray:
    """Each object's mask as seen through its box.

    The grid of the mask is sampled at the centers of the box's cells, linearly in between; where a cell holds more
    than two of the grid's, the grid is averaged first. So thin objects do not fall between the samples.

    Returns:
        u8[n, side, side], 0 or 1. Empty: u8[0, side, side].
    """
    result = np.zeros((len(sample["boxes"]), side, side), np.uint8)
    boxes, windows = sample["boxes"].astype(np.float64), sample["windows"].astype(np.float64)
    sizes = np.array([bits.shape for bits in sample["masks"]], np.float64).reshape(-1, 2)
    extent = windows[:, 2:] - windows[:, :2]
    good = ((extent > 0) & (boxes[:, 2:] > boxes[:, :2])).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_pixel = sizes / extent  # [n, 2], grid cells a pixel
        step = (boxes[:, 2:] - boxes[:, :2]) / side * per_pixel  # [n, 2], grid cells a cell of the result
        origin = (boxes[:, :2] - windows[:, :2]) * per_pixel  # [n, 2], the box's corner in grid cells
    reaches_out = (boxes[:, :2] < windows[:, :2]).any(axis=1) | (boxes[:, 2:] > windows[:, 2:]).any(axis=1)
    cells = np.arange(side)
    for i in np.flatnonzero(good):
        bits, (step_y, step_x), (y, x) = sample["masks"][i], step[i], origin[i]
        if step_y > 2 or step_x > 2:
            rows, columns = bits.shape
            less_y = max(1, round(rows / step_y)) if step_y > 2 else rows
            less_x = max(1, round(columns / step_x)) if step_x > 2 else columns
            bits = cv2.resize(np.ascontiguousarray(bits), (less_x, less_y), interpolation=cv2.INTER_AREA)
            step_y, y = step_y * less_y / rows, y * less_y / rows
            step_x, x = step_x * less_x / columns, x * less_x / columns
        elif not bits.flags.c_contiguous:
            bits = np.ascontiguousarray(bits)
        # Center j of the result lies at x + (j + 0.5) * step, and center k of the grid at k + 0.5.
        to_grid = np.array([[step_x, 0, x + 0.5 * step_x - 0.5], [0, step_y, y + 0.5 * step_y - 0.5]])
        # Up to the grid's edge its outermost cells count in full; what lies beyond is empty.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        result[i] = cv2.warpAffine(bits, to_grid, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        if reaches_out[i]:
            rows, columns = bits.shape
            at_y, at_x = y + (cells + 0.5) * step_y, x + (cells + 0.5) * step_x
            result[i][(at_y < 0) | (at_y > rows)] = 0
            result[i][:, (at_x < 0) | (at_x > columns)] = 0
    return (result >= 128).view(np.uint8)
