"""An image at another size, mirrored, turned or cut, and its objects with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from mrcnn.data.transforms.sample import Sample, select
from mrcnn.ops.resize import Interpolation, resize_image


def resize(sample: Sample, height: int, width: int, interpolation: Interpolation = "antialias_u8") -> Sample:
    """The image at another size; its objects scale along, each axis by its own factor.

    Args:
        sample: see `transforms.sample`.
        height, width: of the result, pixels.
        interpolation: see `ops.resize.resize_image`; "linear" makes the image float32.
    """
    image = resize_image(sample["image"], (height, width), interpolation)
    return follow(sample, image, sample["image"].shape[:2])


def follow(sample: Sample, image: np.ndarray, shape: tuple[int, int]) -> Sample:
    """The sample with another version of its image, of another size; its objects scale along.

    Args:
        sample: see `transforms.sample`; its boxes, windows and joints are in an image of the given shape.
        image: u8 or f32[h, w, c].
        shape: (height, width).
    """
    fy, fx = np.float32(image.shape[0] / shape[0]), np.float32(image.shape[1] / shape[1])
    factors = np.array([fy, fx, fy, fx], np.float32)
    result = sample | {"image": image, "boxes": sample["boxes"] * factors, "windows": sample["windows"] * factors}
    if "keypoints" in sample:
        result["keypoints"] = sample["keypoints"] * np.array([fx, fy, 1.0], np.float32)
    if "semantic" in sample and sample["semantic"].shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        # The value under the center of each pixel; OpenCV's plain INTER_NEAREST takes that under its corner.
        result["semantic"] = cv2.resize(sample["semantic"], size, interpolation=cv2.INTER_NEAREST_EXACT)
    return result


def _with_map(sample: Sample, result: Sample, change: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """The result with the semantic map changed as the image was, where there is one."""
    if "semantic" in sample:
        result["semantic"] = change(sample["semantic"])
    return result


def _xy(x: float, y: float, seen: float) -> np.ndarray:
    """f32[3], what every joint (x, y, visibility) is multiplied by or moved by."""
    return np.array([x, y, seen], np.float32)


def _swap_joints(sample: Sample, joint_order: Sequence[int] | None) -> Sample:
    """A mirrored left hand is a right hand."""
    if "keypoints" in sample and joint_order is not None:
        sample["keypoints"] = sample["keypoints"][:, np.asarray(joint_order, np.intp)]
    return sample


def _mirror_x(boxes: np.ndarray, width: int) -> np.ndarray:
    return np.stack([boxes[:, 0], width - boxes[:, 3], boxes[:, 2], width - boxes[:, 1]], axis=1)


def _mirror_y(boxes: np.ndarray, height: int) -> np.ndarray:
    return np.stack([height - boxes[:, 2], boxes[:, 1], height - boxes[:, 0], boxes[:, 3]], axis=1)


def _unlabeled_stay_zero(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """COCO writes (0, 0, 0) for an unlabeled joint; moving it would make it look like a place."""
    return np.where(before[..., 2:] > 0, after, 0).astype(np.float32)


def flip_horizontal(sample: Sample, joint_order: Sequence[int] | None = None) -> Sample:
    """The mirror image, left and right exchanged.

    Args:
        sample: see `transforms.sample`.
        joint_order: the joint each joint becomes in a mirror, see `mirrored_joints`; None: joints keep their names.
    """
    width = sample["image"].shape[1]
    result = sample | {
        "image": cv2.flip(sample["image"], 1),  # as a reversed view it would cost twenty times more to copy
        "boxes": _mirror_x(sample["boxes"], width),
        "windows": _mirror_x(sample["windows"], width),
        "masks": [bits[:, ::-1] for bits in sample["masks"]],
    }
    if "keypoints" in sample:
        moved = sample["keypoints"] * _xy(-1, 1, 1) + _xy(width, 0, 0)
        result["keypoints"] = _unlabeled_stay_zero(sample["keypoints"], moved)
    result = _with_map(sample, result, lambda semantic: cv2.flip(semantic, 1))
    return _swap_joints(result, joint_order)


def flip_vertical(sample: Sample, joint_order: Sequence[int] | None = None) -> Sample:
    """The mirror image, top and bottom exchanged; arguments as for `flip_horizontal`."""
    height = sample["image"].shape[0]
    result = sample | {
        "image": cv2.flip(sample["image"], 0),
        "boxes": _mirror_y(sample["boxes"], height),
        "windows": _mirror_y(sample["windows"], height),
        "masks": [bits[::-1] for bits in sample["masks"]],
    }
    if "keypoints" in sample:
        moved = sample["keypoints"] * _xy(1, -1, 1) + _xy(0, height, 0)
        result["keypoints"] = _unlabeled_stay_zero(sample["keypoints"], moved)
    result = _with_map(sample, result, lambda semantic: cv2.flip(semantic, 0))
    return _swap_joints(result, joint_order)


def rotate90(sample: Sample, turns: int) -> Sample:
    """Quarter turns counter-clockwise, as `np.rot90`."""
    turns %= 4
    for _ in range(turns):
        width = sample["image"].shape[1]

        def turn(boxes: np.ndarray, width: int = width) -> np.ndarray:
            # (y, x) goes to (width - x, y).
            return np.stack([width - boxes[:, 3], boxes[:, 0], width - boxes[:, 1], boxes[:, 2]], axis=1)

        result = sample | {
            "image": cv2.rotate(sample["image"], cv2.ROTATE_90_COUNTERCLOCKWISE),
            "boxes": turn(sample["boxes"]),
            "windows": turn(sample["windows"]),
            "masks": [bits.T[::-1] for bits in sample["masks"]],
        }
        if "keypoints" in sample:
            x, y, seen = np.moveaxis(sample["keypoints"], -1, 0)
            result["keypoints"] = _unlabeled_stay_zero(sample["keypoints"], np.stack([y, width - x, seen], axis=-1))
        sample = _with_map(sample, result, lambda semantic: cv2.rotate(semantic, cv2.ROTATE_90_COUNTERCLOCKWISE))
    return sample


def crop(sample: Sample, y: int, x: int, height: int, width: int, min_visible: float = 0.0) -> Sample:
    """A window of the image.

    The box of an object that the window cuts becomes the bounding box of what is left of its mask; an object of which
    nothing is left, or less than the fraction `min_visible` of its mask, is dropped. Joints outside become unlabeled.

    Args:
        sample: see `transforms.sample`.
        y, x: upper left corner of the window, whole pixels.
        height, width: of the window, which lies inside the image.
        min_visible: smallest fraction of a mask at which an object is kept, 0 to 1.
    """
    shift = np.array([y, x, y, x], np.float32)
    boxes, windows = sample["boxes"] - shift, sample["windows"] - shift
    result = sample | {"image": sample["image"][y : y + height, x : x + width], "windows": windows}
    limit = np.array([height, width, height, width], np.float32)
    clipped = np.clip(boxes, 0, limit)
    keep = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
    for i in np.flatnonzero(keep & (clipped != boxes).any(axis=1)):
        part, visible = _visible(sample["masks"][i], windows[i], limit)
        if part is None or visible < min_visible:
            keep[i] = False
            continue
        clipped[i, :2] = np.maximum(clipped[i, :2], part[:2])
        clipped[i, 2:] = np.minimum(clipped[i, 2:], part[2:])
        keep[i] = (clipped[i, 2:] > clipped[i, :2]).all()
    result["boxes"] = clipped
    if "keypoints" in sample:
        points = sample["keypoints"] - _xy(x, y, 0)
        inside = (points[..., 0] >= 0) & (points[..., 0] < width) & (points[..., 1] >= 0) & (points[..., 1] < height)
        result["keypoints"] = np.where((inside & (points[..., 2] > 0))[..., None], points, 0).astype(np.float32)
    result = _with_map(sample, result, lambda semantic: semantic[y : y + height, x : x + width])
    return result if keep.all() else select(result, np.flatnonzero(keep))


def _visible(bits: np.ndarray, window: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray | None, float]:
    """Box around the part of a mask inside [0, limit], or None, and the share of the mask that part is."""
    rows, columns = bits.shape
    cell = np.array([(window[2] - window[0]) / rows, (window[3] - window[1]) / columns])
    if not (cell > 0).all():
        return None, 0.0
    # A cell counts as visible if its center is.
    top, left = (max(0, math.ceil(-window[i] / cell[i] - 0.5)) for i in (0, 1))
    bottom = min(rows, math.ceil((limit[0] - window[0]) / cell[0] - 0.5))
    right = min(columns, math.ceil((limit[1] - window[1]) / cell[1] - 0.5))
    part = bits[top:bottom, left:right] if bottom > top and right > left else bits[:0]
    used_rows, used_columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    if not used_rows.size:
        return None, 0.0
    first = np.array([top + used_rows[0], left + used_columns[0]]) * cell + window[:2]
    last = np.array([top + used_rows[-1] + 1, left + used_columns[-1] + 1]) * cell + window[:2]
    share = int(np.count_nonzero(part)) / max(1, int(np.count_nonzero(bits)))
    return np.concatenate([first, last]).astype(np.float32), share


def mirrored_joints(names: Sequence[str]) -> tuple[int, ...]:
    """For each joint the index of the one it becomes in a mirror: names that differ only in left and right pair up."""
    places = {name: i for i, name in enumerate(names)}
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    order = []
    for i, name in enumerate(names):
        other = next((name.replace(a, b) for a, b in swap.items() if a in name), name)
        order.append(places.get(other, i))
    return tuple(order)
