"""Instances as the objects of other libraries, and back; a library is imported only when it is asked for.

Neither has classes of background: class k here is class_id k - 1 in supervision, and a label in FiftyOne.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.errors import DependencyError, InputError
from mrcnn.structures.masks import WindowMasks

if TYPE_CHECKING:
    from mrcnn.structures.instances import Instances


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise DependencyError(f"{name} is not installed; pip install {name}") from error


def _name(class_names: Sequence[str] | None, class_id: int) -> str:
    if class_names is None:
        return f"class_{class_id}"
    if not 1 <= class_id <= len(class_names):
        raise InputError(f"class id {class_id}, expected 1..{len(class_names)}, for so many names are given")
    return str(class_names[class_id - 1])


def to_supervision(instances: Instances, class_names: Sequence[str] | None = None) -> Any:
    """See `Instances.to_supervision`."""
    data = {}
    if class_names is not None:
        names = [_name(class_names, class_id) for class_id in instances.class_ids.tolist()]
        data["class_name"] = np.array(names, dtype=str)
    return _library("supervision").Detections(
        xyxy=instances.boxes[:, [1, 0, 3, 2]],
        mask=instances.masks,
        confidence=instances.scores,
        class_id=instances.class_ids.astype(int) - 1,
        data=data,
    )


def from_supervision(detections: Any, image_shape: tuple[int, int] | None = None) -> dict[str, Any]:
    """The fields of instances; see `Instances.from_supervision`."""
    masks = None if detections.mask is None else np.asarray(detections.mask, bool)
    if masks is not None and image_shape is None:
        image_shape = (masks.shape[1], masks.shape[2])
    if image_shape is None:
        raise InputError("from_supervision: detections without masks do not state the size of their image; pass it")
    boxes = np.asarray(detections.xyxy, np.float32).reshape(-1, 4)
    class_ids = detections.class_id
    return {
        "boxes": boxes[:, [1, 0, 3, 2]],
        "class_ids": np.ones(len(boxes), int) if class_ids is None else np.asarray(class_ids, int) + 1,
        "image_shape": image_shape,
        "scores": detections.confidence,
        "masks": masks,
    }


def to_fiftyone(instances: Instances, class_names: Sequence[str] | None = None) -> Any:
    """See `Instances.to_fiftyone`."""
    library = _library("fiftyone")
    height, width = instances.image_shape
    windows = list(instances.mask_windows()) if instances.has_masks else [None] * len(instances)
    detections = []
    for i, (box, window) in enumerate(zip(instances.boxes.tolist(), windows, strict=True)):
        y1, x1, y2, x2 = box
        fields: dict[str, Any] = {
            "label": _name(class_names, int(instances.class_ids[i])),
            "bounding_box": [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height],
        }
        if instances.scores is not None:
            fields["confidence"] = float(instances.scores[i])
        if window is not None:
            fields["mask"] = _cropped(window, box)
        detections.append(library.Detection(**fields))
    return library.Detections(detections=detections)


def _cropped(window: tuple[int, int, np.ndarray], box: Sequence[float]) -> np.ndarray:
    """bool[h, w], a mask in a box whose corners are rounded to whole pixels, at least one."""
    top, left, bits = window
    y1, x1, y2, x2 = (round(v) for v in box)
    crop = np.zeros((max(y2 - y1, 1), max(x2 - x1, 1)), bool)
    rows = slice(max(top - y1, 0), max(top - y1 + bits.shape[0], 0))
    columns = slice(max(left - x1, 0), max(left - x1 + bits.shape[1], 0))
    target = crop[rows, columns]
    row, column = max(y1 - top, 0), max(x1 - left, 0)
    target[...] = bits[row : row + target.shape[0], column : column + target.shape[1]]
    return crop


def from_fiftyone(detections: Any, image_shape: tuple[int, int], class_names: Sequence[str]) -> dict[str, Any]:
    """The fields of instances; see `Instances.from_fiftyone`."""
    height, width = image_shape
    held = list(detections.detections)
    numbers = {str(name): k for k, name in enumerate(class_names, start=1)}
    unknown = sorted({str(d.label) for d in held} - set(numbers))
    if unknown:
        raise InputError(f"from_fiftyone: label {unknown[0]!r} is not among class_names {list(numbers)}")
    boxes, windows, scores = [], [], []
    for detection in held:
        x, y, w, h = (float(v) for v in detection.bounding_box)
        boxes.append((y * height, x * width, (y + h) * height, (x + w) * width))
        mask = getattr(detection, "mask", None)
        if mask is not None:
            top, left = round(boxes[-1][0]), round(boxes[-1][1])
            first_row, first_column = max(-top, 0), max(-left, 0)
            bits = np.asarray(mask).astype(bool)[first_row : max(height - top, 0), first_column : max(width - left, 0)]
            windows.append((max(top, 0), max(left, 0), bits))
        scores.append(getattr(detection, "confidence", None))
    if windows and len(windows) < len(held):
        raise InputError(f"from_fiftyone: {len(held) - len(windows)} of {len(held)} detections have no mask")
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "class_ids": np.array([numbers[str(d.label)] for d in held], np.int32),
        "image_shape": image_shape,
        "scores": None if None in scores else np.array(scores, np.float32),
        "masks": WindowMasks(tuple(windows), height, width) if windows else None,
    }
