"""Augmentations: pure functions on a sample, every field updated together; random choice apart from application.

A sample is a dict: `image` u8[h, w, 3]; `boxes` f32[n, 4]; `class_ids` i32[n]; `masks`, a list of n `MaskWindow`
(the object's bits and the rectangle they cover, so that no transform touches full-picture masks); `keypoints`
f32[n, J, 3] (x, y, visibility); `is_crowd` bool[n].
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.data.rasterize import MaskWindow
from mrcnn.ops.resize import resize_image

Sample = dict[str, Any]


def resize(sample: Sample, height: int, width: int) -> Sample:
    """Picture, boxes, masks and keypoints at a new size."""
    h, w = sample["image"].shape[:2]
    sy, sx = height / h, width / w
    scale = np.array([sy, sx, sy, sx], np.float32)
    image = sample["image"] if (h, w) == (height, width) else resize_image(sample["image"], (height, width))
    masks = [MaskWindow(bits, tuple(np.multiply(window, scale))) for bits, window in sample["masks"]]
    keypoints = sample["keypoints"] * np.array([sx, sy, 1], np.float32)
    return {**sample, "image": image, "boxes": sample["boxes"] * scale, "masks": masks, "keypoints": keypoints}


def flip_horizontal(sample: Sample, joint_pairs: tuple[tuple[int, int], ...] = ()) -> Sample:
    """Mirror left and right; `joint_pairs` are joints that swap names (left eye, right eye)."""
    w = sample["image"].shape[1]
    boxes = sample["boxes"].copy()
    boxes[:, [1, 3]] = w - boxes[:, [3, 1]]
    masks = [MaskWindow(bits[:, ::-1], (y1, w - x2, y2, w - x1)) for bits, (y1, x1, y2, x2) in sample["masks"]]
    keypoints = sample["keypoints"].copy()
    keypoints[..., 0] = np.where(keypoints[..., 2] > 0, w - keypoints[..., 0], keypoints[..., 0])
    for a, b in joint_pairs:
        keypoints[:, [a, b]] = keypoints[:, [b, a]]
    return {**sample, "image": sample["image"][:, ::-1], "boxes": boxes, "masks": masks, "keypoints": keypoints}


def flip_vertical(sample: Sample) -> Sample:
    """Mirror top and bottom."""
    h = sample["image"].shape[0]
    boxes = sample["boxes"].copy()
    boxes[:, [0, 2]] = h - boxes[:, [2, 0]]
    masks = [MaskWindow(bits[::-1], (h - y2, x1, h - y1, x2)) for bits, (y1, x1, y2, x2) in sample["masks"]]
    keypoints = sample["keypoints"].copy()
    keypoints[..., 1] = np.where(keypoints[..., 2] > 0, h - keypoints[..., 1], keypoints[..., 1])
    return {**sample, "image": sample["image"][::-1], "boxes": boxes, "masks": masks, "keypoints": keypoints}


def rotate90(sample: Sample, turns: int) -> Sample:
    """Turn counter-clockwise by 90 degrees, `turns` times."""
    for _ in range(turns % 4):
        w = sample["image"].shape[1]
        y1, x1, y2, x2 = sample["boxes"].T
        masks = [MaskWindow(np.rot90(bits), (w - d, a, w - b, c)) for bits, (a, b, c, d) in sample["masks"]]
        x, y, v = np.moveaxis(sample["keypoints"], -1, 0)
        turned = np.stack([np.where(v > 0, y, x), np.where(v > 0, w - x, y), v], axis=-1)
        sample = {
            **sample,
            "image": np.rot90(sample["image"]),
            "boxes": np.stack([w - x2, y1, w - x1, y2], axis=-1),
            "masks": masks,
            "keypoints": turned,
        }
    return sample


def crop(sample: Sample, top: int, left: int, height: int, width: int, min_visible: float = 0.1) -> Sample:
    """A rectangle of the picture; boxes of objects that are cut are taken anew from the visible part of the mask.

    Objects of which less than `min_visible` of the mask remains are left out. The rectangle is clipped to the picture.
    """
    image = sample["image"][top : top + height, left : left + width]
    height, width = image.shape[:2]
    origin = np.array([top, left, top, left], np.float32)
    boxes, masks, kept = [], [], []
    for i, (bits, window) in enumerate(sample["masks"]):
        y1, x1, y2, x2 = np.subtract(window, origin)
        if y2 <= 0 or x2 <= 0 or y1 >= height or x1 >= width:
            continue
        box = sample["boxes"][i] - origin
        moved = MaskWindow(bits, (y1, x1, y2, x2))
        if y1 < 0 or x1 < 0 or y2 > height or x2 > width:
            visible = _visible_box(moved, height, width)
            if visible is None or visible[1] < min_visible:
                continue
            box = visible[0]
        boxes.append(np.clip(box, 0, [height, width, height, width]))
        masks.append(moved)
        kept.append(i)
    keypoints = sample["keypoints"][kept] - np.array([left, top, 0], np.float32)
    outside = (keypoints[..., :2] < 0).any(-1) | (keypoints[..., 0] >= width) | (keypoints[..., 1] >= height)
    keypoints[outside] = 0.0
    return {
        **sample,
        "image": image,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "class_ids": sample["class_ids"][kept],
        "is_crowd": sample["is_crowd"][kept],
        "masks": masks,
        "keypoints": keypoints,
    }


def _visible_box(mask: MaskWindow, height: int, width: int) -> tuple[np.ndarray, float] | None:
    """Tight box of the part inside the picture, and that part's share of the mask; None if nothing is inside."""
    bits, (y1, x1, y2, x2) = mask
    cell_y, cell_x = (y2 - y1) / bits.shape[0], (x2 - x1) / bits.shape[1]
    first_row, last_row = (int(np.clip(np.rint((v - y1) / cell_y), 0, bits.shape[0])) for v in (0, height))
    first_col, last_col = (int(np.clip(np.rint((v - x1) / cell_x), 0, bits.shape[1])) for v in (0, width))
    part = bits[first_row:last_row, first_col:last_col]
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    if not rows.size:
        return None
    top, bottom = first_row + rows[0], first_row + rows[-1] + 1
    left, right = first_col + columns[0], first_col + columns[-1] + 1
    box = np.array([y1 + top * cell_y, x1 + left * cell_x, y1 + bottom * cell_y, x1 + right * cell_x], np.float32)
    box = np.clip(box, 0, [height, width, height, width])
    if box[2] <= box[0] or box[3] <= box[1]:
        return None
    return box, float(part.sum()) / max(float(bits.sum()), 1.0)


def adjust_colour(sample: Sample, brightness: float = 0.0, contrast: float = 1.0, saturation: float = 1.0) -> Sample:
    """Brightness (added, as a share of 255), contrast (about the mean) and saturation (1 leaves it) of the picture."""
    image = sample["image"]
    if saturation != 1.0:
        grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
        mixed = grey[..., None] + saturation * (image - grey[..., None])
        image = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    if brightness != 0.0 or contrast != 1.0:
        mean = float(image.mean()) if image.size else 0.0
        table = (np.arange(256) - mean) * contrast + mean + 255 * brightness
        image = np.clip(table + 0.5, 0, 255).astype(np.uint8)[image]
    return {**sample, "image": image}
