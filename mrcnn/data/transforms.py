"""Changes of an image and its objects: pure functions from sample to sample, all fields updated together.

A `Sample` is a dict of one image, nothing padded:
    image        u8[h, w, c], RGB; f32, 0 to 255, once it has been resized without rounding
    boxes        f32[n, 4], (y1, x1, y2, x2), pixels of this image
    class_ids    i32[n]; is_crowd bool[n]
    masks        n grids u8[rows, columns], 0 or 255, each covering its row of
    windows      f32[n, 4], where that grid lies, pixels of this image; it may reach beyond the image
    keypoints    f32[n, J, 3] (x, y, visibility), absent where the set has none
    joint_order  the joint each joint becomes in a mirror, see `mirrored_joints`; absent where the set has none
    source       `ImageRecord.source`; may be absent

Masks are never resampled on the way: a resize or a crop moves their windows, a flip or a turn makes another view of
the same bytes. They are sampled once, at the end, by `crop_masks_to_boxes`.

Every random choice is made by a function `draw_...` from a generator, apart from its application. An augmentation that
a recipe can name is a component of `data.augmentations` that calls these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mrcnn.ops.resize import Interpolation, resize_image

Sample = dict[str, Any]

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma


def resize(sample: Sample, height: int, width: int, interpolation: Interpolation = "antialias_u8") -> Sample:
    """The image at another size; its objects scale along, each axis by its own factor.

    Args:
        sample: see the module head.
        height, width: of the result, pixels.
        interpolation: see `ops.resize.resize_image`; "linear" makes the image float32.
    """
    image = resize_image(sample["image"], (height, width), interpolation)
    return follow(sample, image, sample["image"].shape[:2])


def follow(sample: Sample, image: np.ndarray, shape: tuple[int, int]) -> Sample:
    """The sample with another version of its image, of another size; its objects scale along.

    Args:
        sample: see the module head; its boxes, windows and joints are in an image of the given shape.
        image: u8 or f32[h, w, c].
        shape: (height, width).
    """
    fy, fx = np.float32(image.shape[0] / shape[0]), np.float32(image.shape[1] / shape[1])
    factors = np.array([fy, fx, fy, fx], np.float32)
    result = sample | {"image": image, "boxes": sample["boxes"] * factors, "windows": sample["windows"] * factors}
    if "keypoints" in sample:
        result["keypoints"] = sample["keypoints"] * np.array([fx, fy, 1.0], np.float32)
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
        sample: see the module head.
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
        sample = result
    return sample


def crop(sample: Sample, y: int, x: int, height: int, width: int, min_visible: float = 0.0) -> Sample:
    """A window of the image.

    The box of an object that the window cuts becomes the bounding box of what is left of its mask; an object of which
    nothing is left, or less than the fraction `min_visible` of its mask, is dropped. Joints outside become unlabeled.

    Args:
        sample: see the module head.
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


def select(sample: Sample, index: np.ndarray) -> Sample:
    """The objects at `index` (integers), in that order, every field together."""
    result = dict(sample)
    for name in ("boxes", "class_ids", "is_crowd", "windows", "keypoints"):
        if name in sample:
            result[name] = sample[name][index]
    result["masks"] = [sample["masks"][i] for i in index]
    return result


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
        sample: see the module head; its image has 3 channels.
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


def mirrored_joints(names: Sequence[str]) -> tuple[int, ...]:
    """For each joint the index of the one it becomes in a mirror: names that differ only in left and right pair up."""
    places = {name: i for i, name in enumerate(names)}
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    order = []
    for i, name in enumerate(names):
        other = next((name.replace(a, b) for a, b in swap.items() if a in name), name)
        order.append(places.get(other, i))
    return tuple(order)


def full_frame_masks(sample: Sample) -> np.ndarray:
    """Each object's mask in the image.

    Returns:
        u8[n, height, width], 0 or 1: the mask's grid sampled at the centers of the pixels. Empty: u8[0, height, width].
    """
    height, width = sample["image"].shape[:2]
    result = np.zeros((len(sample["masks"]), height, width), np.uint8)
    for i, (bits, window) in enumerate(zip(sample["masks"], sample["windows"], strict=True)):
        y1, x1, y2, x2 = _pixels_of(window, height, width)
        result[i, y1:y2, x1:x2] = _on_pixels(bits, window, y1, x1, y2, x2)
    return result


def _pixels_of(window: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """(y1, x1, y2, x2), whole pixels: the part of an image in which a window has the center of a pixel, or more."""
    y1, x1, y2, x2 = window.tolist()
    top, left = max(0, math.floor(y1)), max(0, math.floor(x1))
    return top, left, max(top, min(height, math.ceil(y2))), max(left, min(width, math.ceil(x2)))


def _on_pixels(bits: np.ndarray, window: np.ndarray, y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    """bool[y2 - y1, x2 - x1]: the mask whose grid lies over `window`, at the centers of these pixels of the image."""
    top, left, bottom, right = window.astype(np.float64) - (y1, x1, y1, x1)
    if not (bottom > top and right > left and y2 > y1 and x2 > x1):
        return np.zeros((y2 - y1, x2 - x1), bool)
    per_y, per_x = bits.shape[0] / (bottom - top), bits.shape[1] / (right - left)
    # The center of pixel j lies at j + 0.5, that of cell k of the grid at (k + 0.5) / per_pixel from its edge.
    to_grid = np.array([[per_x, 0, (0.5 - left) * per_x - 0.5], [0, per_y, (0.5 - top) * per_y - 0.5]])
    # As in `crop_masks_to_boxes`: up to the grid's edge its outermost cells count in full.
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    bits = np.ascontiguousarray(bits)
    mask = cv2.warpAffine(bits, to_grid, (x2 - x1, y2 - y1), flags=flags, borderMode=border) >= 128
    rows, columns = np.arange(y2 - y1) + 0.5, np.arange(x2 - x1) + 0.5
    mask[(rows < top) | (rows > bottom)] = False
    mask[:, (columns < left) | (columns > right)] = False
    return mask


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
        sample: see the module head.
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
        y1, x1, y2, x2 = _pixels_of(window, *source["image"].shape[:2])
        mask = _on_pixels(bits, window, y1, x1, y2, x2)
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
    return result | {"image": image, "masks": [*result["masks"], *source["masks"]]}


def _hide(sample: Sample, covered: np.ndarray, min_visible: float) -> Sample:
    """The objects without the pixels covered, bool[h, w]."""
    boxes, windows, masks = sample["boxes"].copy(), sample["windows"].copy(), list(sample["masks"])
    keep = np.ones(len(masks), bool)
    for i, (bits, window) in enumerate(zip(masks, sample["windows"], strict=True)):
        y1, x1, y2, x2 = _pixels_of(window, *covered.shape)
        if not covered[y1:y2, x1:x2].any():
            continue
        mask = _on_pixels(bits, window, y1, x1, y2, x2)
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


def crop_masks_to_boxes(sample: Sample, side: int) -> np.ndarray:
    """Each object's mask as seen through its box.

    The grid of the mask is sampled at the centers of the box's cells, linearly in between; where a cell holds more
    than two of the grid's, the grid is averaged first. So thin objects do not fall between the samples.

    Returns:
        u8[n, side, side], 0 or 1. Empty: u8[0, side, side].
    """
    result = np.zeros((len(sample["boxes"]), side, side), np.uint8)
    boxes, windows = sample["boxes"].astype(np.float64), sample["windows"].astype(np.float64)
    sizes = np.array([bits.shape for bits in sample["masks"]], np.float64).reshape(-1, 2)
    extent = windows[:, 2:] - windows[:, :2]
    good = ((extent > 0) & (boxes[:, 2:] > boxes[:, :2])).all(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_pixel = sizes / extent  # [n, 2], grid cells a pixel
        step = (boxes[:, 2:] - boxes[:, :2]) / side * per_pixel  # [n, 2], grid cells a cell of the result
        origin = (boxes[:, :2] - windows[:, :2]) * per_pixel  # [n, 2], the box's corner in grid cells
    reaches_out = (boxes[:, :2] < windows[:, :2]).any(axis=1) | (boxes[:, 2:] > windows[:, 2:]).any(axis=1)
    cells = np.arange(side)
    for i in np.flatnonzero(good):
        bits, (step_y, step_x), (y, x) = sample["masks"][i], step[i], origin[i]
        if step_y > 2 or step_x > 2:
            rows, columns = bits.shape
            less_y = max(1, round(rows / step_y)) if step_y > 2 else rows
            less_x = max(1, round(columns / step_x)) if step_x > 2 else columns
            bits = cv2.resize(np.ascontiguousarray(bits), (less_x, less_y), interpolation=cv2.INTER_AREA)
            step_y, y = step_y * less_y / rows, y * less_y / rows
            step_x, x = step_x * less_x / columns, x * less_x / columns
        elif not bits.flags.c_contiguous:
            bits = np.ascontiguousarray(bits)
        # Center j of the result lies at x + (j + 0.5) * step, and center k of the grid at k + 0.5.
        to_grid = np.array([[step_x, 0, x + 0.5 * step_x - 0.5], [0, step_y, y + 0.5 * step_y - 0.5]])
        # Up to the grid's edge its outermost cells count in full; what lies beyond is empty.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        result[i] = cv2.warpAffine(bits, to_grid, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        if reaches_out[i]:
            rows, columns = bits.shape
            at_y, at_x = y + (cells + 0.5) * step_y, x + (cells + 0.5) * step_x
            result[i][(at_y < 0) | (at_y > rows)] = 0
            result[i][:, (at_x < 0) | (at_x > columns)] = 0
    return (result >= 128).view(np.uint8)
