"""COCO run-length encoding, decoded one character and one pixel at a time (after maskApi.c of the COCO API)."""

from __future__ import annotations

import numpy as np


def decode_string(text: str) -> list[int]:
    """Run lengths from the compressed string."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, group, more = 0, 0, True
        while more:
            code = ord(text[place]) - 48
            value |= (code & 31) << (5 * group)
            more = bool(code & 32)
            place += 1
            group += 1
            if not more and code & 16:
                value |= -1 << (5 * group)
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts


def decode_runs(counts: list[int], height: int, width: int) -> np.ndarray:
    """bool[height, width]; runs go down the columns, beginning with 0."""
    mask = np.zeros((height, width), bool)
    pixel, value = 0, False
    for run in counts:
        for _ in range(run):
            mask[pixel % height, pixel // height] = value
            pixel += 1
        value = not value
    return mask
