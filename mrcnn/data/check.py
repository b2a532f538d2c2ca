"""Looking for what makes a data set worse than it looks: beside `data.validation`, what is suspicious but not wrong.

"near-duplicate image"    an image of one split that another split has too, perhaps recompressed or of another size
"near-duplicate in split" the same within one split
"duplicate object"        two objects of one class with the same mask
"tiny object"             less than 4 pixels
"box outside"             a box that reaches out of its image
"mask without a pixel"    an object that covers no pixel
"class names alike"       "Car" and "car ", "hazelnut" and "hazlenut": perhaps one class
"class without objects"   no object of a class, where others have some
"classes differ"          between splits
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.formats.agreement import EMPTY_MASK, has_pixel, iou, mask_box
from mrcnn.data.rasterize import annotation_mask
from mrcnn.structures.records import Annotation

_HASH_SIDE, _THUMB = 8, 32
_NEAR_BITS = 8  # of 64
_NEAR_CORRELATION = 0.97
_FLAT = 3.0  # gray levels; an image with less contrast looks like any other
_TINY = 4.0
_OUTSIDE = 1.0
_SAME_BOX, _SAME_MASK = 0.9, 0.9
_RARE = 0.1
_SHORTEST = 4
_BLOCK = 1024


def check(
    dataset: Dataset, others: Mapping[str, Dataset] | None = None, *, name: str = "", pixels: bool = True
) -> list[DatasetIssue]:
    """See `Dataset.check`."""
    sets = {name: dataset, **(others or {})}
    issues: list[DatasetIssue] = []
    for part in sets.values():
        issues += part.validate()
        issues += suspicions(part)
    first = dataset.class_names
    for key, part in sets.items():
        if part.class_names != first:
            message = f"{key or 'this set'} has {list(part.class_names)}, {name or 'the first'} has {list(first)}"
            issues.append(DatasetIssue("classes differ", message, path=part.path))
    if pixels:
        issues += near_duplicates(sets)
    return issues


def suspicions(dataset: Dataset) -> list[DatasetIssue]:
    """What looks wrong in one data set beyond what `Dataset.validate` lists: its objects, then its classes.

    Images are not decoded; see `near_duplicates` for them.
    """
    return _objects(dataset) + _classes(dataset)


def _objects(dataset: Dataset) -> list[DatasetIssue]:
    issues = []
    for index in range(len(dataset)):
        try:
            annotations, shape = dataset.annotations(index), dataset.image_shape(index)
        except DataError:
            continue  # `validate` names it
        image_id = dataset._records[index].image_id
        for kind, message, annotation_id in _of_image(annotations, *shape):
            issues.append(DatasetIssue(kind, message, image_id, annotation_id, dataset.path))
    return issues


def _of_image(annotations: tuple[Annotation, ...], height: int, width: int) -> list[tuple[str, str, int | str | None]]:
    issues: list[tuple[str, str, int | str | None]] = []
    for annotation in annotations:
        y1, x1, y2, x2 = annotation.box
        out = max(-y1, -x1, y2 - height, x2 - width)
        if out > _OUTSIDE:
            issues.append(("box outside", f"box reaches {out:g} pixels out of its image", annotation.annotation_id))
        area = (y2 - y1) * (x2 - x1)
        if area < _TINY:
            issues.append(("tiny object", f"its box has {max(area, 0):g} pixels", annotation.annotation_id))
        try:
            segmentation = annotation.segmentation
            around = None if segmentation is None else mask_box(segmentation, height, width)
            if segmentation is not None and not has_pixel(annotation, around, height, width):
                issues.append((EMPTY_MASK, EMPTY_MASK, annotation.annotation_id))
        except DataError:
            continue  # `validate` names it
    for i, j in _same_boxes(annotations):
        a, b = annotations[i], annotations[j]
        if _same_mask(a, b, height, width):
            message = f"the same mask as annotation {a.annotation_id}"
            issues.append(("duplicate object", message, b.annotation_id))
    return issues


def _same_boxes(annotations: tuple[Annotation, ...]) -> list[tuple[int, int]]:
    boxes = np.array([a.box for a in annotations], np.float64).reshape(-1, 4)
    if len(boxes) < 2:
        return []
    order = np.argsort(boxes[:, 0], kind="stable")
    pairs = []
    for place, i in enumerate(order):
        height = boxes[i, 2] - boxes[i, 0]
        for j in order[place + 1 :]:
            if boxes[j, 0] - boxes[i, 0] > (1 - _SAME_BOX) * max(height, boxes[j, 2] - boxes[j, 0]):
                break
            a, b = annotations[i], annotations[j]
            if a.class_id == b.class_id and a.is_crowd == b.is_crowd and iou(a.box, b.box) >= _SAME_BOX:
                pairs.append((min(i, j), max(i, j)))
    return sorted(pairs)


def _same_mask(a: Annotation, b: Annotation, height: int, width: int) -> bool:
    try:
        first, second = annotation_mask(a, height, width), annotation_mask(b, height, width)
    except DataError:
        return False
    union = (first | second).sum()
    return bool(union) and (first & second).sum() / union >= _SAME_MASK


def _classes(dataset: Dataset) -> list[DatasetIssue]:
    issues = []
    counts: Counter[int] = Counter()
    for index in range(len(dataset)):
        try:
            counts.update(a.class_id for a in dataset.annotations(index))
        except DataError:
            continue
    names = dataset.class_names
    for k, name in enumerate(names, start=1):
        if counts and not counts[k]:
            message = f"class {name!r} has no object"
            issues.append(DatasetIssue("class without objects", message, path=dataset.path))
    for i, a in enumerate(names):
        for j in range(i):
            b = names[j]
            rare, common = sorted((counts[i + 1], counts[j + 1]))
            if a != b and (_plain(a) == _plain(b) or (_is_typo(a, b) and rare <= _RARE * common)):
                message = f"classes {b!r} ({counts[j + 1]} objects) and {a!r} ({counts[i + 1]}) may be one"
                issues.append(DatasetIssue("class names alike", message, path=dataset.path))
    return issues


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name.casefold())


def _is_typo(a: str, b: str) -> bool:
    """Whether two names differ by one letter: another, one more, or two in the wrong order."""
    a, b = sorted((_plain(a), _plain(b)), key=len)
    if len(a) < _SHORTEST or len(b) - len(a) > 1 or any(c.isdigit() for c in a + b):
        return False
    start = next((i for i, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), len(a))
    if len(a) < len(b):
        return a[start:] == b[start + 1 :]
    swapped = a[start : start + 2] == b[start : start + 2][::-1] and a[start + 2 :] == b[start + 2 :]
    return a[start + 1 :] == b[start + 1 :] or swapped


class _Print(NamedTuple):
    split: str
    dataset: Dataset
    number: int
    bits: np.uint64
    thumb: np.ndarray


def near_duplicates(sets: Mapping[str, Dataset]) -> list[DatasetIssue]:
    """Images that look the same: their difference hashes are near, and small versions of them correlate.

    Args:
        sets: data sets by the names of their splits; images of all are decoded, JPEGs at an eighth of their size.

    Returns:
        an issue for each image that repeats an earlier one. An image that cannot be read is passed over.
    """
    prints = []
    for name, dataset in sets.items():
        for index in range(len(dataset)):
            made = _fingerprint(dataset, index)
            if made is not None:
                prints.append(_Print(name, dataset, index, *made))
    if len(prints) < 2:
        return []
    bits = np.array([p.bits for p in prints], np.uint64)
    issues = []
    for start in range(0, len(prints), _BLOCK):
        distances = np.bitwise_count(bits[start : start + _BLOCK, None] ^ bits[None, :])
        for row, column in np.argwhere(distances <= _NEAR_BITS).tolist():
            later, earlier = start + row, column
            if earlier >= later:
                continue
            a, b = prints[earlier], prints[later]
            if float((a.thumb * b.thumb).mean()) >= _NEAR_CORRELATION and _same_record(a, b) is False:
                issues.append(_duplicate(a, b))
    return _first_of_each(issues)


def _same_record(a: _Print, b: _Print) -> bool:
    return a.dataset is b.dataset and a.number == b.number


def _duplicate(a: _Print, b: _Print) -> DatasetIssue:
    first, second = a.dataset._records[a.number], b.dataset._records[b.number]
    across = a.split != b.split
    of = f" of {a.split!r}" if across and a.split else ""
    message = f"looks like image {first.image_id}{of} ({first.path})"
    kind = "near-duplicate image" if across else "near-duplicate in split"
    return DatasetIssue(kind, message, second.image_id, None, second.path)


def _first_of_each(issues: list[DatasetIssue]) -> list[DatasetIssue]:
    """For each image its pair in another split, else the first."""
    chosen: dict[tuple[object, object], DatasetIssue] = {}
    for issue in issues:
        key = (issue.path, issue.image_id)
        if key not in chosen or (issue.kind == "near-duplicate image" != chosen[key].kind):
            chosen[key] = issue
    return list(chosen.values())


def _fingerprint(dataset: Dataset, index: int) -> tuple[np.uint64, np.ndarray] | None:
    """Difference hash of 64 bits, and a small gray image of mean 0 and variance 1; None: unreadable or flat."""
    try:
        image = dataset._get_image(index, (2 * _THUMB, 2 * _THUMB))
    except DataError:
        return None
    gray = image[..., :3].mean(axis=2).astype(np.float32)
    thumb = cv2.resize(gray, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    contrast = float(thumb.std())
    if contrast < _FLAT:
        return None
    small = cv2.resize(thumb, (_HASH_SIDE + 1, _HASH_SIDE), interpolation=cv2.INTER_AREA)
    ones = (small[:, 1:] > small[:, :-1]).ravel()
    bits = np.packbits(ones).view(np.uint64)[0]
    return bits, (thumb - thumb.mean()) / contrast
