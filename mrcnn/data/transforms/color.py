"""Other colors of an image; its objects stay."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mrcnn.data.transforms.sample import Sample

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


def draw_color(
    rng: np.random.Generator, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[float, float, float, float]:
    """Factors for `adjust_color`: each within 1 ± its amount, log-uniform; hue within ± that part of a full turn."""
    draws = rng.uniform(-1, 1, 4)
    factors = [math.exp(d * math.log1p(a)) for d, a in zip(draws[:3], (brightness, contrast, saturation), strict=True)]
    return factors[0], factors[1], factors[2], float(draws[3]) * hue


def adjust_color(
    sample: Sample, brightness: float, contrast: float, saturation: float = 1.0, hue: float = 0.0
) -> Sample:
    """Other colors; objects are unchanged.

    Args:
        sample: see `transforms.sample`; its image has 3 channels.
        brightness: factor of every value.
        contrast: factor of the distance to the image's mean luma.
        saturation: factor of the distance to gray.
        hue: turn of the colors around the gray axis, as part of a full turn.
    """
    image = sample["image"]
    if saturation != 1.0 or hue != 0.0:
        image = cv2.transform(np.ascontiguousarray(image), _color_matrix(saturation, hue))
    if brightness != 1.0 or contrast != 1.0:
        # Every 4th pixel: the mean of an image does not need them all.
        mean = float(image[::4, ::4].reshape(-1, 3).mean(axis=0) @ _GRAY)
        if image.dtype == np.uint8:
            levels = np.arange(256, dtype=np.float32)
            table = brightness * (mean + contrast * (levels - mean))
            image = cv2.LUT(np.ascontiguousarray(image), np.clip(table + 0.5, 0, 255).astype(np.uint8))
        else:
            image = brightness * contrast * image + np.float32(brightness * (1 - contrast) * mean)
    if image.dtype != np.uint8:
        image = np.clip(image, 0, 255)
    return sample | {"image": image}


def _color_matrix(saturation: float, hue: float) -> np.ndarray:
    angle = 2 * math.pi * hue
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * axis + math.sin(angle) * cross  # Rodrigues
    gray = np.tile(_GRAY, (3, 1))
    return ((gray + saturation * (np.eye(3) - gray)) @ turn).astype(np.float32)
