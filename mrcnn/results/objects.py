"""Instances as the objects that the writers of data sets take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mrcnn.data.outlines import has_holes, trace
from mrcnn.data.rle import window_to_rle
from mrcnn.structures.records import RLE, Annotation
from mrcnn.structures.result_format import ImageResult


def objects(result: ImageResult) -> Iterator[tuple[int, Annotation]]:
    """(number from 0, object) of each instance: outlines of its parts, RLE where it has holes, else its box.

    A mask without a pixel is noted as lost and left out.
    """
    instances = result.instances
    windows = list(instances.mask_windows()) if instances.has_masks else [None] * len(instances)
    crowd = np.zeros(len(instances), bool) if instances.is_crowd is None else instances.is_crowd
    for i, (class_id, box, window) in enumerate(
        zip(instances.class_ids.tolist(), instances.boxes.tolist(), windows, strict=True)
    ):
        segmentation: list[np.ndarray] | RLE | None = None
        if window is not None:
            top, left, bits = _trimmed(*window)
            loops = trace(bits, top, left)
            if not loops:
                result.lost("empty", "a mask without a pixel, not written", i)
                continue
            segmentation = window_to_rle(top, left, bits, *instances.image_shape) if has_holes(loops) else loops
        yield i, Annotation(class_id, (box[0], box[1], box[2], box[3]), segmentation, None, bool(crowd[i]), i + 1)


def _trimmed(top: int, left: int, bits: np.ndarray) -> tuple[int, int, np.ndarray]:
    """A window without empty rows and columns at its edges."""
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if not rows.size:
        return top, left, bits[:0, :0]
    y, x = int(rows[0]), int(columns[0])
    return top + y, left + x, bits[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1]


def score_of(result: ImageResult, index: int) -> float | None:
    """To 1e-6; None: the instances have none."""
    scores = result.instances.scores
    return None if scores is None else round(float(scores[index]), 6)
