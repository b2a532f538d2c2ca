"""The objects of one image while its label is read: each is checked, and kept or reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.data.formats.agreement import LEFT_OUT
from mrcnn.data.formats.coco_objects import Frame, read_object
from mrcnn.data.formats.fields import short
from mrcnn.data.rasterize import polygons_to_mask
from mrcnn.data.rle import window_to_rle
from mrcnn.structures.records import RLE, Annotation, StuffMap

if TYPE_CHECKING:
    from mrcnn.data.formats.collector import Collector

Record = int | str


class ImageObjects:
    """The objects of one image while its label is read; coordinates are pixels of the image, x before y."""

    def __init__(
        self,
        collector: Collector,
        image_id: Record,
        file: Path | None,
        shape: tuple[int, int],
        label: Path,
        extra: dict[str, Any],
    ) -> None:
        self.collector, self.image_id, self.file, self.label, self.extra = collector, image_id, file, label, extra
        self.height, self.width = shape
        self.annotations: list[Annotation] = []
        self.stuff: StuffMap | None = None
        self._number = 0

    def report(self, kind: str, message: str, record: Record | None = None) -> None:
        """Keep an issue of this image."""
        self.collector.report(kind, message, self.image_id, record, self.label)

    def leave_out(self, kind: str, message: str, record: Record | None = None) -> None:
        """Keep an issue for an object that is left out."""
        self.collector.num_objects += 1
        record = self._next() if record is None else record
        self.report(kind, f"{message}{LEFT_OUT}", record)

    def discard(self, kind: str, message: str) -> None:
        """Keep an issue for this image, which is left out: without its objects it would be background."""
        self.report(kind, f"{message}; its image is left out")
        self.collector.drop(self)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def add(
        self,
        class_name: str | None,
        *,
        polygons: Sequence[Any] | None = None,
        rle: RLE | None = None,
        box: Sequence[float] | None = None,
        keypoints: np.ndarray | None = None,
        is_crowd: bool = False,
        record: Record | None = None,
    ) -> Annotation | None:
        """Add an object; None where it is left out, which is reported.

        Args:
            class_name: empty or None, or not in the class table where that is closed: left out.
            polygons: its outlines, each of points (x, y).
            rle: or its mask.
            box: (x1, y1, x2, y2); without polygons and rle it is the mask.
            keypoints: f[J, 3] of (x, y, visibility).
            is_crowd: a region of many.
            record: its line or id in the label, for messages; default: its number.
        """
        collector = self.collector
        collector.num_objects += 1
        record = self._next() if record is None else record
        name = None if class_name is None else class_name.strip() or None
        known_id = collector.classes.find(name) if name is not None else 0
        if name is None or (not known_id and not collector.classes.is_open):
            known = ", ".join(map(repr, collector.class_names[:10]))
            wrong = f"class {short(name)}, expected one of {known}" if name else "no class is named"
            self.report("unknown class", f"{wrong}{LEFT_OUT}", record)
            return None
        entry: dict[str, Any] = {"iscrowd": int(is_crowd)}
        if rle is not None:
            entry["segmentation"] = rle
        elif polygons is not None:
            entry["segmentation"] = list(polygons)
            if not any(map(len, polygons)):
                self.report("degenerate polygon", f"polygon of 0 points, expected at least three{LEFT_OUT}", record)
                return None
        if box is not None:
            x1, y1, x2, y2 = (float(v) for v in box)
            entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        if keypoints is not None:
            entry["keypoints"] = np.asarray(keypoints, float).ravel().tolist()
        joints = len(collector.dataset.keypoint_names)
        frame = Frame(self.height, self.width, known_id, joints or None)

        def report(kind: str, message: str, fatal: bool = False) -> None:
            left_out = LEFT_OUT if fatal and not message.endswith(LEFT_OUT) else ""
            self.report(kind, f"{message}{left_out}", record)

        annotation = read_object(entry, frame, record, collector.agreement, report)
        if annotation is None:
            return None
        if not known_id:  # not before: a class of which no object can be used is none
            annotation = dataclasses.replace(annotation, class_id=collector.add_class(name))
        self.annotations.append(annotation)
        return annotation

    def add_parts(
        self,
        class_name: str | None,
        polygons: Sequence[np.ndarray],
        masks: Sequence[tuple[np.ndarray, int, int]],
        *,
        record: Record | None = None,
    ) -> None:
        """Add an object that is drawn in several parts, as polygons, as masks (bits, top, left), or both."""
        if not masks:
            self.add(class_name, polygons=list(polygons), record=record)
        elif len(masks) == 1 and not polygons:
            self.add_mask(class_name, *masks[0], record=record)
        else:
            whole = polygons_to_mask(list(polygons), self.height, self.width)
            for bits, top, left in masks:
                y, x = max(top, 0), max(left, 0)
                part = np.asarray(bits, bool)[y - top :, x - left :][
                    : max(self.height - y, 0), : max(self.width - x, 0)
                ]
                whole[y : y + part.shape[0], x : x + part.shape[1]] |= part
            self.add_mask(class_name, whole, record=record)

    def add_mask(
        self,
        class_name: str | None,
        bits: np.ndarray,
        top: int = 0,
        left: int = 0,
        *,
        is_crowd: bool = False,
        keypoints: np.ndarray | None = None,
        record: Record | None = None,
    ) -> Annotation | None:
        """Add an object by its mask bool[h, w] in a window of the image; what lies outside the image is cut off."""
        bits = np.asarray(bits, bool)
        y, x = max(-top, 0), max(-left, 0)
        bits = bits[y : max(self.height - top, 0), x : max(self.width - left, 0)]
        if not bits.any():
            self.leave_out("mask without a pixel", "mask without a pixel", record)
            return None
        rle = window_to_rle(max(top, 0), max(left, 0), bits, self.height, self.width)
        return self.add(class_name, rle=rle, is_crowd=is_crowd, keypoints=keypoints, record=record)
