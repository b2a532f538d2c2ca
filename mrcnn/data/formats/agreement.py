"""Whether boxes and masks of a file agree, and whether a fault is that of single objects or of the whole file."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mrcnn.data.errors import DatasetIssue
from mrcnn.data.polygons import clip_polygons, finite_polygons
from mrcnn.data.rasterize import annotation_window
from mrcnn.data.rle import rle_box
from mrcnn.structures.records import RLE, Annotation, Polygons

Box = tuple[float, float, float, float]

EMPTY_MASK = "mask without a pixel"
OTHER_BOX = "box is not that of its mask"
LEAST_IOU = 0.5
"""A stated box that overlaps the box of its mask less than this is an issue."""

LEFT_OUT = "; left out"
"""How the message of an issue ends whose object is left out."""

_FLOAT32_STEP, _FLOAT32_LEAST = 2.0**-23, 2.0**-126
_CLEARLY, _NEAR = 0.01, 1e5  # a side in pixels that float32 holds up to such coordinates
THIN = 2.0  # pixels; whether a polygon at most so wide covers a pixel depends on where it lies
_FITS = 0.95


def has_area(box: Sequence[float]) -> bool:
    """Whether (y1, x1, y2, x2) has an area in float32, the type of boxes everywhere else."""
    y1, x1, y2, x2 = box
    if y2 - y1 > _CLEARLY and x2 - x1 > _CLEARLY and y1 > -_NEAR and y2 < _NEAR and x1 > -_NEAR and x2 < _NEAR:
        return True  # nearly all boxes, and there are millions
    return y2 - y1 > _least_side(y1, y2) and x2 - x1 > _least_side(x1, x2)


def clearly_have_area(boxes: np.ndarray) -> np.ndarray:
    """bool[n] of (y1, x1, y2, x2) f64[4, n]: false also where only `has_area` can tell."""
    y1, x1, y2, x2 = boxes
    low, high = np.minimum(y1, x1), np.maximum(y2, x2)
    return (np.minimum(y2 - y1, x2 - x1) > _CLEARLY) & (low > -_NEAR) & (high < _NEAR)


def _least_side(low: float, high: float) -> float:
    return max(_FLOAT32_STEP * max(abs(low), abs(high)), _FLOAT32_LEAST)


def mask_box(segmentation: Polygons | RLE, height: int, width: int) -> Box | None:
    """(y1, x1, y2, x2) around a mask, clipped to its image; None where nothing of it lies inside.

    Raises:
        DataError: an RLE that does not fit the image.
    """
    if isinstance(segmentation, dict):
        return rle_box(segmentation, height, width)
    polygons = clip_polygons(finite_polygons(segmentation), height, width)
    if not polygons:
        return None
    points = np.concatenate(polygons)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    box = max(y1, 0.0), max(x1, 0.0), min(y2, float(height)), min(x2, float(width))
    return box if has_area(box) else None


def has_pixel(annotation: Annotation, around: Box | None, height: int, width: int) -> bool:
    """Whether a mask covers a pixel; only thin polygons are drawn to find out.

    Args:
        annotation: with a segmentation.
        around: its `mask_box`.
        height, width: of the image.
    """
    if isinstance(annotation.segmentation, dict):
        return around is not None
    if around is not None and min(around[2] - around[0], around[3] - around[1]) >= THIN:
        return True
    return bool(annotation_window(annotation, height, width)[2].any())


def iou(a: Box, b: Box) -> float:
    """Of two boxes. One by one this takes a tenth of the time that `ious` does."""
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def ious(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f64[n]: `iou` of boxes f64[4, n], pair by pair, to the last bit.

    Example:
        >>> ious(np.array([[0.0], [0.0], [2.0], [2.0]]), np.array([[0.0], [1.0], [2.0], [3.0]])).round(3).tolist()
        [0.333]
    """
    rows = np.maximum(0.0, np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]))
    common = rows * np.maximum(0.0, np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


@dataclasses.dataclass
class Agreement:
    """What the boxes and masks of a file say of each other, object by object and together."""

    num_masks: int = 0
    num_empty: int = 0
    num_unit: int = 0  # empty masks whose coordinates lie within 0 and 1
    ious: list[float] = dataclasses.field(default_factory=list)
    corner_ious: list[float] = dataclasses.field(default_factory=list)  # of boxes read as x1, y1, x2, y2

    def add(
        self, annotation: Annotation, stated: Sequence[float] | None, around: Box | None, height: int, width: int
    ) -> tuple[str, str] | None:
        """Look at one object; crowd regions and objects without a segmentation are passed over.

        Args:
            annotation: the object.
            stated: the four numbers of its box, [x, y, width, height]; None where the box was taken from the mask.
            around: the box of its mask, see `mask_box`.
            height, width: of the image.

        Returns:
            kind and message of an issue, or None.
        """
        segmentation = annotation.segmentation
        if segmentation is None or annotation.is_crowd:
            return None
        self.num_masks += 1
        if not has_pixel(annotation, around, height, width):
            self.num_empty += 1
            unit = not isinstance(segmentation, dict) and all(p.min() >= 0 and p.max() <= 1 for p in segmentation)
            self.num_unit += unit
            where = "; its coordinates lie within 0 and 1" if unit else ""
            return EMPTY_MASK, f"{EMPTY_MASK}{where}"
        if stated is None or around is None:
            return None
        overlap = iou(annotation.box, around)
        x1, y1, x2, y2 = stated
        self.ious.append(overlap)
        self.corner_ious.append(iou((y1, x1, y2, x2), around) if x2 > x1 and y2 > y1 else 0.0)
        if overlap >= LEAST_IOU:
            return None
        return OTHER_BOX, f"{OTHER_BOX} (IoU {overlap:.2f})"

    def extend(self, ious: np.ndarray, corner_ious: np.ndarray) -> None:
        """Count f64[n] overlaps of objects that agree, each with a mask that covers a pixel; see `add`."""
        self.num_masks += len(ious)
        self.ious.extend(ious.tolist())
        self.corner_ious.extend(corner_ious.tolist())

    def file_issue(self, path: str) -> tuple[DatasetIssue, str] | None:
        """One issue in place of those of all objects, where all share a fault, and the kind it replaces."""
        if self.num_masks > 1 and self.num_empty == self.num_masks:
            hint = "; their coordinates lie within 0 and 1: multiply them by the width and height of the image"
            message = f"all {self.num_masks} objects: {EMPTY_MASK}{hint if self.num_unit == self.num_masks else ''}"
            return DatasetIssue(EMPTY_MASK, message, path=path), EMPTY_MASK
        number = len(self.ious)
        if number < 2 or np.mean(self.ious) >= _FITS:
            return None
        better = np.mean(self.corner_ious) >= _FITS and np.greater(self.corner_ious, self.ious).mean() > 0.5
        if not better and max(self.ious) >= LEAST_IOU:
            return None
        hint = "; read as x1, y1, x2, y2 they are, but COCO's are x, y, width, height" if better else ""
        message = f"all {number} objects: {OTHER_BOX} (IoU {np.mean(self.ious):.2f} in the mean){hint}"
        return DatasetIssue(OTHER_BOX, message, path=path), OTHER_BOX


def merge_file_issues(issues: list[DatasetIssue], agreement: Agreement, num_objects: int, path: str) -> None:
    """Replace the issues that all objects of a file share by one, in place.

    Where every object was left out for one reason, the fault is the file's, and that issue is fatal.

    Args:
        issues: of the reader.
        agreement: of the objects that were kept.
        num_objects: entries of objects in the file.
        path: of the file.
    """
    shared = agreement.file_issue(path)
    if shared is not None:
        issue, kind = shared
        issues[:] = [other for other in issues if other.kind != kind]
        issues.append(issue)
    left_out = [i for i in issues if i.annotation_id is not None and i.message.endswith(LEFT_OUT)]
    kinds = Counter(issue.kind for issue in left_out)
    if num_objects and len(kinds) == 1 and len({(i.image_id, i.annotation_id) for i in left_out}) == num_objects:
        first = left_out[0]
        what = f"all {num_objects} objects are" if num_objects > 1 else "the only object is"
        example = f"{first.message.removesuffix(LEFT_OUT)} (annotation {first.annotation_id})"
        message = f"{what} left out for one fault: {example}"
        issues[:] = [issue for issue in issues if issue not in left_out]
        issues.append(DatasetIssue(first.kind, message, path=path, fatal=True))
