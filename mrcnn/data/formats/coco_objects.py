"""One entry of "annotations" in a COCO file as an `Annotation`, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.agreement import LEFT_OUT, Agreement, Box, has_area, mask_box
from mrcnn.data.formats.fields import as_flag, as_number, as_numbers, short
from mrcnn.data.polygons import MAX_OUTLINE, clip_polygons, outline_length
from mrcnn.data.rle import rle_box
from mrcnn.structures.records import RLE, Annotation, Polygons

# A box may stick out by rounding alone (COCO writes two decimals); that is not worth an issue.
TOLERANCE = 1.0

Report = Callable[..., None]
"""Called with kind, message and `fatal=True` where it is."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What an entry is read against: its image, its class, and how many joints that names."""

    height: int
    width: int
    class_id: int
    num_joints: int | None  # None: keypoints are not read; 0: not named, any number


def read_object(
    entry: dict[str, Any], frame: Frame, annotation_id: int | str, agreement: Agreement, report: Report
) -> Annotation | None:
    """The object of an entry, or None where it is left out.

    Args:
        entry: as the file has it.
        frame: of its image and category.
        annotation_id: its id, or its number where it has none.
        agreement: of the file; the object is added.
        report: for what is corrected, left out or refused.
    """
    height, width = frame.height, frame.width
    is_crowd = as_flag(entry.get("iscrowd"))
    if is_crowd is None:
        report("iscrowd", f'"iscrowd" is {short(entry["iscrowd"])}, expected 0 or 1', fatal=True)
        return None
    value = entry.get("segmentation")
    try:
        segmentation, around = _segmentation(value, height, width, report)
    except DataError as error:
        report("RLE" if isinstance(value, dict) else "segmentation", str(error), fatal=True)
        return None
    except _Unusable:
        return None
    try:
        keypoints = None if frame.num_joints is None else read_keypoints(entry.get("keypoints"), frame.num_joints)
    except DataError as error:
        report("keypoints", str(error), fatal=True)
        return None
    stated = _four_numbers(entry.get("bbox"))
    if entry.get("bbox") is None and segmentation is not None and around is None:
        report(
            "no area", f"its mask has no area inside its image of {height} x {width}, and no box is stated{LEFT_OUT}"
        )
        return None
    box = _box(entry.get("bbox"), stated, around, height, width, report)
    if box is None:
        return None
    area = as_number(entry.get("area"))
    annotation = Annotation(frame.class_id, box, segmentation, keypoints, is_crowd, annotation_id, area)
    issue = agreement.add(annotation, stated, around, height, width)
    if issue is not None:
        report(*issue)
    return annotation


class _Unusable(Exception):
    """The object is left out, which has been reported."""


def _segmentation(value: Any, height: int, width: int, report: Report) -> tuple[Polygons | RLE | None, Box | None]:
    """Polygons, RLE or None; and the box of the mask, see `agreement.mask_box`.

    Raises:
        DataError: an RLE that does not fit, or something that is neither.
        _Unusable: no polygon is left.
    """
    are_arrays = isinstance(value, list) and bool(value) and all(type(p) is np.ndarray for p in value)
    value = value if are_arrays else _unwrapped(value)
    if value is None:
        return None, None
    if isinstance(value, dict):
        return value, rle_box(value, height, width)
    if not isinstance(value, list):
        raise DataError(f"segmentation: expected polygons or RLE, got {short(value)}")
    if not are_arrays and (not isinstance(value[0], list) or all(_is_point(v) for v in value)):
        value = [value]  # one polygon without its outer list, its points flat, in pairs or as objects: one meaning
    polygons, bounds, message = [], [], ""
    for polygon in value:
        points = polygon.astype(np.float64) if are_arrays else _points(polygon)
        if points.size % 2:
            message = f"polygon of {points.size} numbers, expected pairs of x and y"
        elif points.size < 6:
            message = f"polygon of {points.size // 2} points, expected at least three"
        else:
            points = points.reshape(-1, 2)
            bound = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
            if all(map(math.isfinite, bound)):
                polygons.append(points)
                bounds.append(bound)
            else:
                message = "polygon with a coordinate that is not finite"
    if message:
        report("degenerate polygon", f"{message}{LEFT_OUT if not polygons else '; that polygon is left out'}")
        if not polygons:
            raise _Unusable
    x1, y1 = min(b[0] for b in bounds), min(b[1] for b in bounds)
    x2, y2 = max(b[2] for b in bounds), max(b[3] for b in bounds)
    longest = max(x2 - x1, y2 - y1, 0.0) * sum(map(len, polygons))  # no outline is longer
    if longest > MAX_OUTLINE or min(x1, y1, width - x2, height - y2) < 0:
        return _clipped(polygons, (x1, y1, x2, y2), height, width, report)
    return [p.astype(np.float32) for p in polygons], (y1, x1, y2, x2) if has_area((y1, x1, y2, x2)) else None


def _unwrapped(value: Any) -> Any:
    """A segmentation without the lists that some exporters put around it; None where there is nothing in it."""
    while isinstance(value, list) and len(value) == 1:
        inner = value[0]
        is_rle = isinstance(inner, dict) and "counts" in inner
        if not is_rle and not (
            isinstance(inner, list) and inner and all(_is_polygon(v) or _is_wrapped(v) for v in inner)
        ):
            break
        value = inner
    if isinstance(value, list):
        value = [v[0] if _is_wrapped(v) else v for v in value]
    empty = value == "" or (isinstance(value, list) and all(isinstance(v, list) and not v for v in value))
    return None if empty else value


def _is_polygon(value: Any) -> bool:
    """A flat list of at least three pairs of numbers, or a list of at least three points."""
    if not isinstance(value, list) or len(value) < 3:
        return False
    nested = any(isinstance(v, (list, dict)) for v in value)
    return all(map(_is_point, value)) if nested else len(value) >= 6 and len(value) % 2 == 0


def _is_wrapped(polygon: Any) -> bool:
    """A flat list of numbers in a list of its own."""
    return isinstance(polygon, list) and len(polygon) == 1 and _is_polygon(polygon[0])


def _clipped(
    polygons: list[np.ndarray], bound: tuple[float, ...], height: int, width: int, report: Report
) -> tuple[Polygons, Box | None]:
    """`_segmentation` of polygons that reach out of their image, or may be too long to draw."""
    inside = clip_polygons(polygons, height, width)
    length = outline_length(inside)
    if length > MAX_OUTLINE:
        report("polygon too long", f"outline of {length:.3g} pixels, expected at most {MAX_OUTLINE}{LEFT_OUT}")
        raise _Unusable
    if len(inside) < len(polygons) or any(a is not b for a, b in zip(inside, polygons, strict=False)):
        farthest = max(bound, key=abs)
        report("polygon outside", f"a coordinate is {farthest:g}, far outside its image of {height} x {width}; clipped")
        polygons = inside or [p.clip(-width - height, 2 * (width + height)) for p in polygons]
    return [p.astype(np.float32) for p in polygons], mask_box(polygons, height, width)


def _is_point(value: Any) -> bool:
    """[x, y] or {"x": x, "y": y}."""
    if isinstance(value, dict):
        return "x" in value and "y" in value
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(v, (list, dict)) for v in value)


def _points(polygon: Any) -> np.ndarray:
    """f64 of one polygon, flat or [n, 2].

    Raises:
        DataError: it holds something that is not a number.
    """
    if isinstance(polygon, list) and polygon and all(isinstance(p, dict) and _is_point(p) for p in polygon):
        polygon = [[p["x"], p["y"]] for p in polygon]
    if polygon == []:
        return np.zeros(0)
    try:
        points = np.asarray(polygon)
    except ValueError:  # lists of different lengths
        points = np.asarray(None)
    if points.dtype.kind not in "iuf" or points.ndim == 0:
        raise DataError(f"segmentation: a polygon is {short(polygon)}, which holds something that is not a number")
    if points.ndim > 2 or (points.ndim == 2 and points.shape[1] != 2):
        raise DataError(f"segmentation: a polygon of shape {points.shape}, expected numbers or pairs of numbers")
    return np.asarray(points, np.float64)


def _four_numbers(value: Any) -> list[float] | None:
    """A list of four finite numbers, or None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    x, y, w, h = value
    if type(x) is type(y) is type(w) is type(h) is float and math.isfinite(x + y + w + h):
        return value
    numbers = [as_number(v) for v in value]
    return None if None in numbers else numbers  # type: ignore[return-value]


def _box(
    value: Any, stated: list[float] | None, around: Box | None, height: int, width: int, report: Report
) -> Box | None:
    """(y1, x1, y2, x2) clipped to the image: the stated one, or that of the mask where none is stated; or None."""
    if value is None:
        if around is None:
            report("missing key", '"bbox" is missing', fatal=True)
        return around
    if stated is None:
        return _instead(
            "not finite box", f"bbox {short(value)}, expected four finite numbers [x, y, width, height]", around, report
        )
    x, y, w, h = stated
    if w <= 0 or h <= 0:
        return _instead("zero area box", f"bbox {value} has no area", around, report)
    y1, x1, y2, x2 = max(y, 0.0), max(x, 0.0), min(y + h, float(height)), min(x + w, float(width))
    if y2 <= y1 or x2 <= x1:
        report("box outside", f"bbox {value} lies outside its image of {height} x {width}{LEFT_OUT}")
        return None
    if not has_area((y1, x1, y2, x2)):
        return _instead("zero area box", f"bbox {value} has no area", around, report)
    if max(y1 - y, x1 - x, y + h - y2, x + w - x2) > TOLERANCE:
        report("box outside", f"bbox {value} reaches outside its image of {height} x {width}; clipped")
    return y1, x1, y2, x2


def _instead(kind: str, message: str, around: Box | None, report: Report) -> Box | None:
    report(kind, f"{message}{LEFT_OUT if around is None else '; taken from its mask'}")
    return around


def read_keypoints(value: Any, num_joints: int) -> np.ndarray | None:
    """f32[J, 3], or None.

    Raises:
        DataError: not finite triples of numbers, or another number of them than joints.
    """
    if value is None or value == []:
        return None
    if not isinstance(value, list) or any(isinstance(v, (str, bool)) for v in value):
        raise DataError(f"keypoints: expected a list of numbers, got {short(value)}")
    try:
        array = as_numbers(value)
    except DataError as error:
        raise DataError(f"keypoints: {error}") from error
    if num_joints and array.size != 3 * num_joints:
        raise DataError(f"keypoints: {array.size} numbers, expected 3 x {num_joints}, as its category names them")
    if array.size % 3 or not (np.abs(array) < _FLOAT32_MAX).all():
        raise DataError("keypoints: expected finite triples of x, y and visibility")
    return array.astype(np.float32).reshape(-1, 3)


_FLOAT32_MAX = float(np.finfo(np.float32).max)


def keypoint_names(categories: Sequence[dict[str, Any]], annotations: Sequence[Any]) -> tuple[str, ...]:
    """The names of the category that has most; "0", "1", ... where joints are annotated but not named."""
    named = max((joint_names(category) for category in categories), key=len, default=())
    if named:
        return named
    lists = (entry.get("keypoints") for entry in annotations if isinstance(entry, dict))
    joints = max((len(points) // 3 for points in lists if isinstance(points, list)), default=0)
    return tuple(map(str, range(joints)))


def joint_names(category: dict[str, Any]) -> tuple[str, ...]:
    """The names of a category's joints; none where the field is no list."""
    names = category.get("keypoints")
    return tuple(map(str, names)) if isinstance(names, list) else ()
