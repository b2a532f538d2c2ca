"""What the readers of formats share: a data set gathered image by image, its class table, its issues.

Kinds of issues, beside those of `formats.coco`: "missing image", "damaged image", "image size", "orientation",
"unknown class", "no area" (points, lines), "image without label", "label without image", "damaged label".
None of them stops: the record is corrected or left out. A set of which nothing can be used is refused.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.formats.agreement import LEFT_OUT, Agreement, merge_file_issues
from mrcnn.data.formats.coco_objects import Frame, read_object
from mrcnn.data.formats.fields import short
from mrcnn.data.images import stored_shape
from mrcnn.data.rasterize import MAX_MASK_PIXELS, polygons_to_mask
from mrcnn.data.rgb import shown_shape
from mrcnn.data.rle import window_to_rle
from mrcnn.structures.records import RLE, Annotation
from mrcnn.text import printable

Record = int | str


class Collector:
    """A data set while its files are read.

    Args:
        path: what `Dataset.path` will be.
        source: name of the format.
        class_names: of the classes 1..C; None: those that occur, by name.
        keypoint_names: of the joints; empty: keypoints are not kept.
        dataset: to fill; None: a plain one.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        class_names: Iterable[str] | None = None,
        keypoint_names: Sequence[str] = (),
        dataset: Dataset | None = None,
    ) -> None:
        self.path, self.source = path, source
        self.dataset = Dataset() if dataset is None else dataset
        self.dataset.path = str(path)
        self.dataset.keypoint_names = tuple(map(str, keypoint_names))
        self.issues = self.dataset.issues
        self.agreement = Agreement()
        self.num_objects = 0
        self.is_open = class_names is None
        self._class_ids: dict[str, int] = {}
        self._category_ids: dict[str, int] = {}
        self._images: list[ImageObjects] = []
        self._image_ids: set[Record] = set()
        self._names: dict[str, str] = {}
        for name in class_names or ():
            self.add_class(name)

    def add_class(self, name: str, category_id: int | None = None) -> int:
        """The class id of a name, which is added if it is new; until `finish` it may be provisional."""
        if name not in self._names:
            clean = printable(name)
            if clean != name:
                self.report("class name", f"class {short(clean)} holds control characters; escaped")
            self._names[name] = clean
        name = self._names[name]
        if name not in self._class_ids:
            self._class_ids[name] = len(self._class_ids) + 1
            if category_id is not None:
                self._category_ids[name] = category_id
        return self._class_ids[name]

    @property
    def class_names(self) -> tuple[str, ...]:
        """So far."""
        return tuple(self._class_ids)

    def report(
        self,
        kind: str,
        message: str,
        image_id: Record | None = None,
        record: Record | None = None,
        path: Path | str | None = None,
        fatal: bool = False,
    ) -> None:
        """Keep an issue."""
        where = self.dataset.path if path is None else str(path)
        self.issues.append(DatasetIssue(kind, message, image_id, record, where, fatal))

    def image(
        self,
        image_id: Record,
        file: Path | None,
        *,
        stated: tuple[int, int] | None = None,
        shape: tuple[int, int] | None = None,
        orientation: int = 1,
        label: Path | None = None,
        missing: str = "",
        file_name: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ImageObjects | None:
        """Begin an image; None where it cannot be used, which is reported.

        Args:
            image_id: unique; a further image of one id is left out.
            file: of the image; None: it was not found.
            stated: (height, width) as the label says.
            shape: (height, width) of the stored pixels of an image without a file.
            orientation: of these, as `images.stored_shape` gives it.
            label: the file of its objects, for messages.
            missing: the sentence for an image that was not found.
            file_name: as the label says it.
            extra: of the record.
        """
        if file is None and shape is None:
            self.report("missing image", f"{missing or 'no such image'}{LEFT_OUT}", image_id, path=label)
            return None
        if image_id in self._image_ids:
            self.report("image id twice", f"image {image_id} is given twice; the first is kept", image_id, path=label)
            return None
        if file is not None:
            try:
                shape, orientation = stored_shape(file)
            except DataError as error:
                self.report("damaged image", f"{error}{LEFT_OUT}", image_id, path=label or file)
                return None
        if shape is not None:
            shape = self._shape(image_id, shape, orientation, stated, label or file)
        if shape is None:
            return None
        if shape[0] * shape[1] > MAX_MASK_PIXELS:
            self.report(
                "image size", f"{shape[0]} x {shape[1]}, expected at most {MAX_MASK_PIXELS} pixels{LEFT_OUT}", image_id
            )
            return None
        self._image_ids.add(image_id)
        kept = {"file_name": file_name or (file.name if file is not None else str(image_id)), **(extra or {})}
        objects = ImageObjects(self, image_id, file, shape, label or file or self.path, kept)
        self._images.append(objects)
        return objects

    def _shape(
        self,
        image_id: Record,
        stored: tuple[int, int],
        orientation: int,
        stated: tuple[int, int] | None,
        path: Path | None,
    ) -> tuple[int, int] | None:
        """(height, width) of an image in the frame of its label; None where the two do not agree."""
        shape = shown_shape(stored, orientation)
        if stated is None or tuple(stated) == shape:
            return shape
        if tuple(stated) == stored:
            self.report(
                "orientation",
                f"its orientation tag is {orientation}; the size is stated without it, pixels are left as stored",
                image_id,
                path=path,
            )
            return stored
        self.report(
            "image size",
            f"the image is {shape[0]} x {shape[1]} (height x width), its label says {stated[0]} x {stated[1]}"
            f"{LEFT_OUT}",
            image_id,
            path=path,
        )
        return None

    def finish(self, *, validate: bool = True, by_name: bool = True) -> Dataset:
        """The data set.

        Args:
            validate: refuse a set of which nothing can be used, and issues that are fatal.
            by_name: where no classes were given, put those that occur in the order of their names.

        Raises:
            DataError: see `validate`.
        """
        names = list(self._class_ids)
        order = sorted(names) if self.is_open and by_name else names
        final = {self._class_ids[name]: number for number, name in enumerate(order, start=1)}
        stated = [self._category_ids.get(name) for name in order]
        are_ids = None not in stated and len(set(stated)) == len(stated)
        for number, (name, category_id) in enumerate(zip(order, stated, strict=True), start=1):
            self.dataset.add_class(self.source, category_id if are_ids and category_id is not None else number, name)
        for image in self._images:
            for a in image.annotations:
                object.__setattr__(a, "class_id", final[a.class_id])  # nobody else has them yet
            self.dataset.add_image(
                self.source,
                image.image_id,
                None if image.file is None else str(image.file),
                height=image.height,
                width=image.width,
                annotations=image.annotations,
                extra=image.extra,
            )
        self._images.clear()
        merge_file_issues(self.issues, self.agreement, self.num_objects, str(self.path))
        if not len(self.dataset):
            self._refuse_nothing()
        if validate:
            refuse(self.issues)
        warn(self.issues, self.path)
        return self.dataset

    def _refuse_nothing(self) -> None:
        reasons = [issue for issue in self.issues if issue.kind != "class name"]
        why = f"; {len(reasons)} issue{'s' * (len(reasons) != 1)}, the first: {reasons[0]}" if reasons else ""
        self.report("no image", f"no image can be used{why}", fatal=True)


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
        self.collector.num_objects -= len(self.annotations)
        self.collector._images.remove(self)

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
        if name is None or (not collector.is_open and collector._names.get(name, name) not in collector._class_ids):
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
        known_id = collector._class_ids.get(collector._names.get(name, name), 0)
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
                part = bits[y - top :, x - left :][: max(self.height - y, 0), : max(self.width - x, 0)]
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


def relative_id(file: Path, root: Path) -> str:
    """An image id from a file: its path below a folder, "/" between the parts, without suffix."""
    try:
        relative = file.relative_to(root)
    except ValueError:
        relative = Path(os.path.basename(file))
    return relative.with_suffix("").as_posix()
