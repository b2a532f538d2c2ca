"""The model of a page: one image at a time, at a score so low that any threshold can be chosen afterwards."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal, get_args

import numpy as np

from mrcnn.inference import detect, detect_augmented, detect_tiled
from mrcnn.structures.instances import Instances

Mode = Literal["once", "tiles", "augmented"]
"""How an image is looked at: as a whole, in overlapping tiles, or at several sizes and mirrored."""
MODES: tuple[Mode, ...] = get_args(Mode)
LOWEST = 0.05
"""Instances scored below are not kept."""


class Detector:
    """A model that browsers take turns with: two at once would each take twice as long and twice the memory.

    Args:
        model: see `mrcnn.detect`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._turn = threading.Lock()

    def __call__(self, pixels: np.ndarray, mode: Mode = "once") -> tuple[Instances, float]:
        """The instances of an image u8[h, w, 3] from a score of `LOWEST` on, and the seconds that they took.

        Raises:
            InputError: tiles or augmentation of a model of rotated boxes.
        """
        with self._turn:
            begin = time.perf_counter()
            if mode == "tiles":
                side = self.model.config.input.short_side
                instances = detect_tiled(self.model, pixels, side, side // 4, score_threshold=LOWEST)
            elif mode == "augmented":
                instances = detect_augmented(self.model, pixels, score_threshold=LOWEST)
            else:
                [instances] = detect(self.model, pixels, score_threshold=LOWEST)
            return instances, time.perf_counter() - begin

    def warm_up(self) -> float:
        """Run a gray image, so that the graph is traced before the first person waits for it; the seconds it took."""
        side = self.model.config.input.short_side
        return self(np.full((side, side, 3), 127, np.uint8))[1]
