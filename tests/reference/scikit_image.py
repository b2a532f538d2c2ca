"""scikit-image's bilinear resize of bytes (0.15 to 0.18, order 1, black beyond the image), rounding errors included.

It solves for its affine transform in float64. The errors of scale and offset, about 1e-13 pixel, depend on the linear
algebra library and on the sizes; where a value is a whole gray level they decide whether the cast to bytes takes it one
level down. An implementation that is exact cannot know them, so a test that needs the very bytes another program was
given states them.
"""

from __future__ import annotations

import numpy as np

Errors = tuple[tuple[float, float], tuple[float, float]]


def resize(image: np.ndarray, shape: tuple[int, int], errors: Errors = ((0.0, 0.0), (0.0, 0.0))) -> np.ndarray:
    """u8[h, w, c] at another size.

    Args:
        image: u8[h, w, c].
        shape: (height, width) wanted.
        errors: per axis, those of the scale and of the position of the first pixel.
    """
    pixels = image.astype(np.float64)
    for axis in (1, 0):
        size, new_size, (of_scale, of_start) = image.shape[axis], shape[axis], errors[axis]
        position = (size / new_size + of_scale) * np.arange(new_size) + (0.5 * size / new_size - 0.5 + of_start)
        result = 0.0
        for near in (np.floor(position), np.floor(position) + 1):
            weight = np.where((near >= 0) & (near < size), 1 - np.abs(position - near), 0.0)
            taken = np.take(pixels, np.clip(near, 0, size - 1).astype(int), axis)
            result = result + taken * weight.reshape([-1 if i == axis else 1 for i in range(3)])
        pixels = result
    return np.clip(pixels, image.min(), image.max()).astype(np.uint8)
