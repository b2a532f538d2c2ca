"""A PNG of 16 bits for each image: 0 is background, k the k-th instance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mrcnn.errors import InputError
from mrcnn.structures.result_format import ImageResult, ResultFormat

_MOST = 65535


class InstancePng(ResultFormat):
    """Instance numbers as pixels; where instances overlap, the one with the higher score has the pixel."""

    name, suffix = "png", ".png"
    holds = "a 16-bit map of instance numbers, 0 for background"

    def encode(self, result: ImageResult, path: Path) -> np.ndarray:
        """u16[h, w].

        Raises:
            InputError: instances without masks, or more than 65535.
        """
        instances = result.instances
        if not instances.has_masks and len(instances):
            raise InputError(f"{result.name}: a map of instances needs masks, these instances have none")
        if len(instances) > _MOST:
            raise InputError(f"{result.name}: {len(instances)} instances, a map of 16 bits holds {_MOST}")
        result.without(scores=True, keypoints=True, crowd=True, classes=True)
        values = np.zeros(instances.image_shape, np.uint16)
        sizes = np.zeros(len(instances), int)
        scores = np.arange(len(instances)) if instances.scores is None else instances.scores
        windows = list(instances.mask_windows())
        for i in np.argsort(scores, kind="stable").tolist():
            top, left, bits = windows[i]
            sizes[i] = bits.sum()
            values[top : top + bits.shape[0], left : left + bits.shape[1]][bits] = i + 1
        kept = np.bincount(values.ravel(), minlength=len(instances) + 1)[1:]
        for i, (size, left_over) in enumerate(zip(sizes.tolist(), kept.tolist(), strict=True)):
            if not size:
                result.lost("empty", "a mask without a pixel, not written", i)
            elif left_over < size:
                result.lost("overlap", f"{size - left_over} of its {size} pixels are another instance's", i)
        return values

    def write(self, parts: Sequence[np.ndarray], path: Path) -> None:
        """The file."""
        Image.fromarray(parts[0]).save(path, "PNG")
