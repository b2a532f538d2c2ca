"""Rows of YOLO's texts: a class number and normalized coordinates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import read_text, short
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.yolo_layout import SAMPLED

_ROW = re.compile(rb"^\s*\d+(?:\.0*)?(?:[ \t]+[-+]?[\d.]+(?:[eE][-+]?\d+)?|[ \t]+[-+]?nan){4,}\s*$", re.IGNORECASE)
_ENOUGH = 1.5  # of normalized coordinates; farther out they are no coordinates of this kind


class RowReader:
    """Reads the rows of texts into a `Collector`."""

    def __init__(
        self, path: Path, names: Sequence[str] | None, kpt_shape: tuple[int, int] | None, labels: Sequence[Path]
    ) -> None:
        self.names = None if names is None else list(names)
        self.kpt_shape = kpt_shape or _guess_joints(labels)
        joints = [str(i) for i in range(self.kpt_shape[0])] if self.kpt_shape else []
        unique = None if names is None else _unique(names)
        self.collector = Collector(path, "yolo", unique, joints)
        self.unique = unique
        self.largest = -1
        self.num_boxes = 0

    def read(self, objects: ImageObjects, label: Path) -> None:
        """The rows of one text."""
        try:
            text = read_text(label)
        except DataError as error:
            objects.discard("damaged label", str(error))
            return
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                self._row(objects, line, f"line {number}")

    def finish(self, validate: bool) -> Dataset:
        """The data set."""
        if self.num_boxes:
            message = f"{self.num_boxes} objects have a box and no mask; their mask is the box"
            self.collector.report("box only", message)
        if self.names is None:
            for k in range(self.largest + 1):
                self.collector.add_class(str(k), k)
        return self.collector.finish(validate=validate, order=int)

    def _row(self, objects: ImageObjects, line: str, record: str) -> None:
        try:
            values = np.array([float(text) for text in line.split()])
        except ValueError:
            objects.leave_out("row", f"{short(line)} holds something that is not a number", record)
            return
        number = values[0]
        if not np.isfinite(values).all():
            objects.leave_out("row", f"{short(line)} holds a number that is not finite", record)
            return
        if number != int(number) or number < 0:
            objects.leave_out("unknown class", f"class {number:g}, expected 0, 1, ...", record)
            return
        name = self._name(int(number))
        if name is None:
            known = len(self.names or ())
            objects.leave_out("unknown class", f"class {number:g}, but {known} classes are named, from 0", record)
            return
        coordinates = values[1:]
        if self.kpt_shape is not None and len(coordinates) == 4 + self.kpt_shape[0] * self.kpt_shape[1]:
            self._add(objects, name, coordinates[:4], coordinates[4:], record)
        elif len(coordinates) == 4:
            self.num_boxes += self.kpt_shape is None
            self._add(objects, name, coordinates, None, record)
        elif len(coordinates) % 2:
            objects.leave_out("row", f"an odd number of coordinates, {len(coordinates)}", record)
        elif len(coordinates) < 6:
            objects.leave_out("row", f"{len(coordinates)} coordinates, expected a box or at least three points", record)
        elif self._are_normalized(objects, coordinates, record):
            points = coordinates.reshape(-1, 2) * (objects.width, objects.height)
            objects.add(name, polygons=[points], record=record)

    def _name(self, number: int) -> str | None:
        if self.unique is not None:
            return self.unique[number] if number < len(self.unique) else None
        if number > 9999:
            return None
        self.largest = max(self.largest, number)
        return str(number)

    def _are_normalized(self, objects: ImageObjects, coordinates: np.ndarray, record: str) -> bool:
        farthest = float(coordinates[np.abs(coordinates).argmax()])
        if abs(farthest) <= _ENOUGH:
            return True
        objects.leave_out("row", f"a coordinate is {farthest:g}, expected fractions of the image, 0 to 1", record)
        return False

    def _add(self, objects: ImageObjects, name: str, box: np.ndarray, joints: np.ndarray | None, record: str) -> None:
        if not self._are_normalized(objects, box, record):
            return
        x, y, w, h = (box * (objects.width, objects.height, objects.width, objects.height)).tolist()
        keypoints = None
        if joints is not None and self.kpt_shape is not None:
            keypoints = np.full((self.kpt_shape[0], 3), 2.0)
            keypoints[:, : self.kpt_shape[1]] = joints.reshape(self.kpt_shape)
            if self.kpt_shape[1] == 2:
                keypoints[:, 2] = np.where((keypoints[:, :2] == 0).all(axis=1), 0, 2)
            keypoints[:, :2] *= (objects.width, objects.height)
            keypoints[keypoints[:, 2] == 0] = 0
        objects.add(name, box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2), keypoints=keypoints, record=record)


def is_label(file: Path) -> bool:
    """Whether the first row of a text is a class number and at least four numbers."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(65536).lstrip(b"\xef\xbb\xbf")
    except OSError:
        return False
    row = next((line for line in start.splitlines() if line.strip()), b"")
    return _ROW.match(row) is not None


def _guess_joints(labels: Sequence[Path]) -> tuple[int, int] | None:
    """(J, 3) where all rows of some texts are a box and J joints whose visibilities are 0, 1 or 2."""
    lengths: set[int] = set()
    for label in labels[:SAMPLED]:
        try:
            rows = [np.array(line.split(), np.float64) for line in read_text(label).splitlines() if line.strip()]
        except (DataError, ValueError):
            continue
        for row in rows:
            seen = row[7::3]
            if len(row) < 8 or (len(row) - 5) % 3 or not np.isin(seen, (0, 1, 2)).all():
                return None
            lengths.add(len(row))
    return ((lengths.pop() - 5) // 3, 3) if len(lengths) == 1 else None


def _unique(names: Sequence[str]) -> list[str]:
    """Names that differ: of a name that is given twice, the later ones with their number."""
    unique: list[str] = []
    for number, name in enumerate(names):
        unique.append(f"{name} ({number})" if name in unique else name)
    return unique
