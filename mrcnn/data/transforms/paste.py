"""Objects of one image pasted into another."""

from __future__ import annotations

import numpy as np

from mrcnn.data.transforms.geometry import crop
from mrcnn.data.transforms.mask_grids import on_pixels, pixels_of
from mrcnn.data.transforms.sample import Sample, select


def draw_subset(rng: np.random.Generator, candidates: np.ndarray) -> np.ndarray:
    """Some of the candidates i64[n], at least one: a number drawn uniformly, then which. Empty: none."""
    number = int(rng.integers(1, len(candidates) + 1)) if len(candidates) else 0
    return np.sort(rng.choice(candidates, number, replace=False)) if number else candidates


def paste(sample: Sample, source: Sample, min_visible: float = 0.0) -> Sample:
    """The objects of another image pasted on top, each at the position it has in its own image.

    What they hide is cut out of the masks below, whose boxes become the bounding boxes of what is left; an object of
    which nothing is left, or less than the fraction `min_visible` of its mask, is dropped. Hidden joints become labeled
    but not visible. Edges are not blended: the paper found no gain in it.

    Args:
        sample: see `transforms.sample`.
        source: the same, for the other image; objects beyond the edges of `sample` are cut there.
        min_visible: smallest fraction of a mask at which an object is kept, 0 to 1.

    Ref: Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation, arXiv 2012.07177, section 3.
    """
    height, width = sample["image"].shape[:2]
    if source["image"].shape[0] > height or source["image"].shape[1] > width:
        source = crop(source, 0, 0, *np.minimum(source["image"].shape[:2], (height, width)).tolist())
    covered = np.zeros((height, width), bool)
    seen = np.zeros(len(source["masks"]), bool)  # those with a pixel in this image
    for i, (bits, window) in enumerate(zip(source["masks"], source["windows"], strict=True)):
        y1, x1, y2, x2 = pixels_of(window, *source["image"].shape[:2])
        mask = on_pixels(bits, window, y1, x1, y2, x2)
        covered[y1:y2, x1:x2] |= mask
        seen[i] = mask.any()
    source = select(source, np.flatnonzero(seen))
    if not len(source["masks"]):
        return sample
    result = _hide(sample, covered, min_visible)
    image = sample["image"].copy()
    rows, columns = np.nonzero(covered)
    image[rows, columns] = source["image"][rows, columns]
    for name in ("boxes", "class_ids", "is_crowd", "windows", "keypoints"):
        if name in sample:
            result[name] = np.concatenate([result[name], source[name]])
    if "semantic" in sample:
        result["semantic"] = np.where(covered, np.uint8(0), sample["semantic"])  # they are things
    return result | {"image": image, "masks": [*result["masks"], *source["masks"]]}


def _hide(sample: Sample, covered: np.ndarray, min_visible: float) -> Sample:
    """The objects without the pixels covered, bool[h, w]."""
    boxes, windows, masks = sample["boxes"].copy(), sample["windows"].copy(), list(sample["masks"])
    keep = np.ones(len(masks), bool)
    for i, (bits, window) in enumerate(zip(masks, sample["windows"], strict=True)):
        y1, x1, y2, x2 = pixels_of(window, *covered.shape)
        if not covered[y1:y2, x1:x2].any():
            continue
        mask = on_pixels(bits, window, y1, x1, y2, x2)
        left = mask & ~covered[y1:y2, x1:x2]
        remaining = np.count_nonzero(left)
        if remaining == np.count_nonzero(mask):
            continue
        if not remaining or remaining < min_visible * np.count_nonzero(mask):
            keep[i] = False
            continue
        rows, columns = left.any(axis=1).nonzero()[0], left.any(axis=0).nonzero()[0]
        part = np.array([y1 + rows[0], x1 + columns[0], y1 + rows[-1] + 1, x1 + columns[-1] + 1], np.float32)
        boxes[i] = np.concatenate([np.maximum(boxes[i, :2], part[:2]), np.minimum(boxes[i, 2:], part[2:])])
        windows[i], masks[i] = (y1, x1, y2, x2), left * np.uint8(255)
        keep[i] = (boxes[i, 2:] > boxes[i, :2]).all()
    result = sample | {"boxes": boxes, "windows": windows, "masks": masks}
    if "keypoints" in sample:
        points = sample["keypoints"].copy()
        at = np.clip(points[..., 1::-1].astype(np.intp), 0, np.array(covered.shape) - 1)
        points[..., 2] = np.where((points[..., 2] > 1) & covered[at[..., 0], at[..., 1]], 1, points[..., 2])
        result["keypoints"] = points
    return select(result, np.flatnonzero(keep))
