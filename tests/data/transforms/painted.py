"""An image that is its own ground truth: object k is painted in gray level 50 (k + 1).

So boxes and masks can be read off the transformed image, without repeating any formula.
"""

from __future__ import annotations

import numpy as np

from mrcnn.data import transforms as T
from mrcnn.data.rasterize import mask_to_rle, mask_window
from mrcnn.structures.records import Annotation

LEVELS = (50, 100, 150, 75, 125, 175)  # of classes 1 to 6; a sample made here has the first three


def make_sample(height: int = 40, width: int = 60) -> T.Sample:
    """Three objects (an L, a disc, a bar at the edge), each with a joint on its first pixel's center."""
    image = np.zeros((height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    ell = ((y >= 4) & (y < 20) & (x >= 5) & (x < 9)) | ((y >= 16) & (y < 20) & (x >= 5) & (x < 17))
    disc = (y - 24.5) ** 2 + (x - 38.5) ** 2 < 81
    bar = (y >= height - 3) & (x < 25)
    masks, boxes, points = [], [], []
    for mask, level in zip((ell, disc, bar), LEVELS[:3], strict=True):
        image[mask] = level
        window = mask_window(Annotation(1, (0, 0, 1, 1), mask_to_rle(mask)), height, width)
        masks.append(window.bits * np.uint8(255))
        boxes.append(window.window)
        row, column = np.argwhere(mask)[0]
        points.append([[column + 0.5, row + 0.5, 2.0], [0.0, 0.0, 0.0]])
    boxes = np.array(boxes, np.float32)
    return {
        "image": image,
        "boxes": boxes,
        "windows": boxes.copy(),
        "masks": masks,
        "class_ids": np.array([1, 2, 3], np.int32),
        "is_crowd": np.array([False, False, True]),
        "keypoints": np.array(points, np.float32),
    }


def other_sample() -> T.Sample:
    """The same three objects upside down in another image, as classes 4 to 6."""
    sample = T.flip_vertical(make_sample())
    image = sample["image"] + np.where(sample["image"] > 0, 25, 0).astype(np.uint8)
    return sample | {"image": image, "class_ids": sample["class_ids"] + 3, "is_crowd": np.zeros(3, bool)}


def painted(sample: T.Sample, class_id: int) -> np.ndarray:
    return sample["image"][..., 0] == LEVELS[class_id - 1]


def tight_box(mask: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def check_agrees_with_pixels(sample: T.Sample) -> None:
    """Exact for transforms that move pixels without mixing them."""
    n = len(sample["boxes"])
    assert len(sample["masks"]) == len(sample["windows"]) == len(sample["class_ids"]) == len(sample["keypoints"]) == n
    side = 64
    crops = T.crop_masks_to_boxes(sample, side)
    for i, class_id in enumerate(sample["class_ids"]):
        mask = painted(sample, class_id)
        box = tight_box(mask)
        np.testing.assert_array_equal(sample["boxes"][i], box)
        # What the crop says at the center of each pixel inside the box is that pixel's ground truth.
        y1, x1, y2, x2 = box
        rows = ((np.arange(y2 - y1) + 0.5) / (y2 - y1) * side).astype(int)
        columns = ((np.arange(x2 - x1) + 0.5) / (x2 - x1) * side).astype(int)
        np.testing.assert_array_equal(crops[i][np.ix_(rows, columns)], mask[y1:y2, x1:x2])
        x, y, seen = sample["keypoints"][i, 0]
        if seen:
            assert sample["image"][int(y), int(x), 0] == LEVELS[class_id - 1]
        np.testing.assert_array_equal(sample["keypoints"][i, 1], 0)


def same(one: T.Sample, two: T.Sample) -> None:
    for name in ("image", "boxes", "windows", "class_ids", "is_crowd", "keypoints"):
        np.testing.assert_allclose(one[name], two[name], atol=1e-4, err_msg=name)
    for a, b in zip(one["masks"], two["masks"], strict=True):
        np.testing.assert_array_equal(a, b)
