"""Keypoints by plain loops: the cell of a keypoint in a box's grid, and decoding of a heatmap over a box."""

from __future__ import annotations

import math

import numpy as np


def cell(x, y, box, side):
    """(row, column) of the cell of a side x side grid over the box (y1, x1, y2, x2), or None outside."""
    y1, x1, y2, x2 = box
    if y2 <= y1 or x2 <= x1:
        return None
    row = side - 1 if y == y2 else math.floor((y - y1) / (y2 - y1) * side)
    column = side - 1 if x == x2 else math.floor((x - x1) / (x2 - x1) * side)
    return (row, column) if 0 <= row < side and 0 <= column < side else None


def _cubic(distance, a=-0.75):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def enlarge(values, num_out):
    """One axis: `num_out` values from `values`, bicubic, half-pixel centers, border values repeated."""
    n = len(values)
    result = np.zeros(num_out)
    for i in range(num_out):
        u = (i + 0.5) * n / num_out - 0.5
        first = math.floor(u) - 1
        for tap in range(first, first + 4):
            result[i] += _cubic(u - tap) * values[min(max(tap, 0), n - 1)]
    return result


def decode(heatmap, box):
    """(x, y, logit, prob) of the highest pixel of a heatmap [N, N] of logits enlarged to its box."""
    y1, x1, y2, x2 = box
    height, width = max(y2 - y1, 1.0), max(x2 - x1, 1.0)
    rows, columns = math.ceil(height), math.ceil(width)
    tall = np.stack([enlarge(column, rows) for column in heatmap.T], axis=1)
    full = np.stack([enlarge(row, columns) for row in tall])
    row, column = np.unravel_index(np.argmax(full), full.shape)
    logit = full[row, column]
    x = (column + 0.5) * width / columns + x1
    y = (row + 0.5) * height / rows + y1
    return x, y, logit, 1.0 / np.exp(heatmap - logit).sum()


def transposed_convolution(x, kernel, stride, padding):
    """x [h, w, in], kernel [k, k, in, out]: every input cell paints its kernel, then `padding` cells are cut off."""
    h, w, _ = x.shape
    k = kernel.shape[0]
    full = np.zeros(((h - 1) * stride + k, (w - 1) * stride + k, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            full[i * stride : i * stride + k, j * stride : j * stride + k] += np.einsum("c,abco->abo", x[i, j], kernel)
    return full[padding : full.shape[0] - padding, padding : full.shape[1] - padding]


def double(x):
    """x [h, w, c] at twice the size, bilinear, half-pixel centers, border values repeated."""
    for axis in (0, 1):
        n = x.shape[axis]
        u = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
        low = np.floor(u).astype(int)
        t = (u - low).reshape([-1 if a == axis else 1 for a in range(3)])
        x = np.take(x, low, axis) * (1 - t) + np.take(x, np.minimum(low + 1, n - 1), axis) * t
    return x
