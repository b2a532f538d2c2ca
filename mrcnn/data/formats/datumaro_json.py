"""Datumaro's own JSON: annotations/SPLIT.json beside images/.

Polygons, masks as RLE, boxes, ellipses, and points as joints; annotations of one group and one label in one item are
one object.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import as_flag, as_id, as_number, short
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import read_object
from mrcnn.data.formats.shapes import ellipse
from mrcnn.data.formats.splits import canonical, in_order
from mrcnn.data.rasterize import annotation_mask
from mrcnn.structures.records import Annotation

_KEYS = ("items", "categories", "annotations")
_AREAS = ("polygon", "mask", "bbox", "ellipse", "points", "skeleton")


class DatumaroJson(Format):
    """Datumaro JSON; see the module."""

    name = "datumaro"
    looks_for = 'a JSON object with "categories" and "items" of "annotations"'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one of a folder, is Datumaro's."""
        return bool(_files(path))

    def splits(self, path: Path) -> dict[str, Path]:
        """The names of the files."""
        files = _files(path) if path.is_dir() else []
        named = {canonical(file.stem): file for file in files}
        return {name: named[name] for name in in_order(list(named))} if len(named) > 1 else {}

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a file, or of a folder with one.

        Raises:
            DataError: see `Format.load`.
        """
        files = _files(path)
        file = files[0] if files else path
        content = read_object(file)
        items, categories = content.get("items"), content.get("categories")
        categories = categories if isinstance(categories, dict) else {}
        labels = categories.get("label")
        labels = labels.get("labels") if isinstance(labels, dict) else None
        if not isinstance(items, list) or not isinstance(labels, list):
            raise DataError(f'{file}: expected "items" and the labels in "categories", got {short(content)}')
        names = [str(e.get("name")) if isinstance(e, dict) else str(e) for e in labels]
        joints = _joints(categories)
        collector = Collector(file, self.name, list(dict.fromkeys(names)), joints)
        usable = [item for item in items if isinstance(item, dict)]
        lookup = ImageLookup(file, images, [_name(item) for item in usable])
        for item in usable:
            _read_item(collector, lookup, item, names, file.stem)
        return collector.finish(validate=validate)


def _files(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else files_below(path, (".json",), 1, 50)
    return [file for file in candidates if holds_keys(file, *_KEYS) and not holds_keys(file, "images")]


def _joints(categories: dict[str, Any]) -> list[str]:
    points = categories.get("points")
    entries = points.get("items") if isinstance(points, dict) else None
    lists = [e["labels"] for e in entries or () if isinstance(e, dict) and isinstance(e.get("labels"), list)]
    return max(([str(v) for v in names] for names in lists), key=len, default=[])


def _name(item: dict[str, Any]) -> str:
    image = item.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path else str(item.get("id"))


def _read_item(collector: Collector, lookup: ImageLookup, item: dict[str, Any], names: list[str], split: str) -> None:
    name = _name(item)
    image_id = as_id(item.get("id"))
    image_id = name if image_id is None else image_id
    described = item.get("image")
    size = described.get("size") if isinstance(described, dict) else None
    sizes = [as_number(v) for v in size] if isinstance(size, list) and len(size) == 2 else [None, None]
    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    file = lookup.find(f"{split}/{name}") or lookup.find(name)
    image = collector.image(
        image_id, file, stated=stated, label=collector.path, missing=lookup.missing(name), file_name=name
    )
    if image is None:
        return
    groups: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    annotations = item.get("annotations")
    for number, entry in enumerate(annotations if isinstance(annotations, list) else ()):
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind in _AREAS:
            group = entry.get("group")
            key = (entry.get("label_id"), group) if group else ("alone", number)
            groups.setdefault(key, []).append((number, entry))
        elif kind not in ("label", "caption"):
            image.leave_out("no area", f"{short(kind)} has no area", number)
    for entries in groups.values():
        _add(image, entries, names)


def _add(image: ImageObjects, entries: list[tuple[int, dict[str, Any]]], names: list[str]) -> None:
    record, first = entries[0]
    label = first.get("label_id")
    name = names[label] if isinstance(label, int) and 0 <= label < len(names) else None
    polygons: list[np.ndarray] = []
    rles, box, keypoints = [], None, None
    attributes = [e.get("attributes") for _, e in entries]
    is_crowd = any(isinstance(a, dict) and as_flag(a.get("is_crowd")) for a in attributes)
    try:
        for _, entry in entries:
            kind = entry["type"]
            if kind == "polygon":
                polygons.append(_numbers(entry, "points", 2))
            elif kind == "ellipse":
                (x1, y1), (x2, y2) = _numbers(entry, "points", 2)[:2].tolist()
                polygons.append(ellipse((x1 + x2) / 2, (y1 + y2) / 2, abs(x2 - x1) / 2, abs(y2 - y1) / 2))
            elif kind == "mask":
                rles.append(entry.get("rle"))
            elif kind == "bbox":
                x, y, w, h = _numbers(entry, "bbox", 4)[0].tolist()
                box = [x, y, x + w, y + h]
            else:
                keypoints, box = _points(image, entry, box)
    except (DataError, ValueError) as error:
        image.leave_out("shape", str(error), record)
        return
    if not rles:
        image.add(name, polygons=polygons or None, box=box, keypoints=keypoints, is_crowd=is_crowd, record=record)
    elif len(rles) == 1 and not polygons and isinstance(rles[0], dict):
        image.add(name, rle=rles[0], box=box, keypoints=keypoints, is_crowd=is_crowd, record=record)
    else:
        shape = image.height, image.width
        try:
            parts = [annotation_mask(Annotation(1, (0, 0, 1, 1), part), *shape) for part in [*rles, polygons] if part]
        except (DataError, TypeError, AttributeError) as error:
            image.leave_out("RLE", str(error), record)
            return
        image.add_mask(name, np.any(parts, axis=0), is_crowd=is_crowd, keypoints=keypoints, record=record)


def _numbers(entry: dict[str, Any], key: str, columns: int) -> np.ndarray:
    """f64[n, columns]."""
    try:
        values = np.asarray(entry.get(key), np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f'"{key}" is {short(entry.get(key))}, expected numbers') from error
    if not values.size or values.size % columns:
        raise DataError(f'"{key}" holds {values.size} numbers, expected a multiple of {columns}')
    return values.reshape(-1, columns)


def _points(
    image: ImageObjects, entry: dict[str, Any], box: list[float] | None
) -> tuple[np.ndarray | None, list[float] | None]:
    joints = len(image.collector.dataset.keypoint_names)
    elements = entry.get("elements")
    if entry["type"] == "skeleton" and isinstance(elements, list):
        parts = [_points(image, e, None)[0] for e in elements if isinstance(e, dict) and e.get("type") == "points"]
        keypoints = np.concatenate([p for p in parts if p is not None]) if parts else np.zeros((0, 3))
    else:
        points = _numbers(entry, "points", 2)
        visibility = entry.get("visibility")
        seen = np.asarray(visibility if isinstance(visibility, list) else [2] * len(points), np.float64)
        if seen.shape != (len(points),):
            raise DataError(f"{len(points)} points and {seen.size} visibilities")
        keypoints = np.concatenate([points, seen[:, None]], axis=1)
    labeled = keypoints[keypoints[:, 2] > 0]
    if box is None and len(labeled):
        box = [*labeled[:, :2].min(axis=0).tolist(), *labeled[:, :2].max(axis=0).tolist()]
    return (keypoints if joints and len(keypoints) == joints else (None if joints else keypoints)), box
