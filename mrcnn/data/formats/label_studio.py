"""Label Studio: a JSON list of tasks ("JSON"), or of images with their regions ("JSON-MIN").

Polygons, rectangles and ellipses (turned ones too), brush masks in Label Studio's own run-length encoding, keypoints of
a rectangle (`parentID`). Coordinates are percentages. Of several annotations of a task the first that was not canceled
is read; predictions are not. Images are looked up as `formats.coco` does, with and without the eight characters that
Label Studio puts before a name on upload.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.brush import decode_brush
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import as_id, as_number, parse_json, read_text, short
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_studio_writer import write_label_studio
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.shapes import ellipse, rectangle
from mrcnn.data.image_file import image_suffixes

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
_AREAS = (
    "polygonlabels",
    "rectanglelabels",
    "ellipselabels",
    "brushlabels",
    "polygon",
    "rectangle",
    "ellipse",
    "brush",
)


class LabelStudio(Format):
    """Label Studio JSON; see the module."""

    name = "label_studio"
    looks_for = 'a JSON list of tasks with "data" and "annotations" of "result", or regions with "original_width"'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one of a folder, is Label Studio's."""
        return bool(_files(path))

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a file.

        Raises:
            DataError: see `Format.load`.
        """
        files = [path] if path.is_file() else _files(path)
        if len(files) != 1:
            listed = ", ".join(file.name for file in files) or "none"
            raise DataError(f"{path}: expected one JSON file of Label Studio, found {listed}; give its path")
        content = parse_json(read_text(files[0]), str(files[0]))
        tasks = [content] if isinstance(content, dict) else content
        if not isinstance(tasks, list):
            raise DataError(f"{files[0]}: expected a list of tasks, got {short(content)}")
        usable = [(n, task, _image_name(task)) for n, task in enumerate(tasks) if isinstance(task, dict)]
        names = [name for _, _, name in usable if name]
        lookup = ImageLookup(files[0], images, [form for name in names for form in _forms(name)])
        regions = [_regions(task) for _, task, _ in usable]
        collector = Collector(files[0], self.name, None, _joints(regions))
        for (number, task, name), of_task in zip(usable, regions, strict=True):
            _read_task(collector, lookup, task, name, number, of_task)
        return collector.finish(validate=validate)

    def save(self, saver: Saver) -> None:
        """tasks.json beside images/; see `formats.label_studio_writer`."""
        write_label_studio(saver)


def _files(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else files_below(path, (".json",), 0, 50)
    return [f for f in candidates if holds_keys(f, "data", "annotations", "result") or holds_keys(f, "original_width")]


def _image_name(task: dict[str, Any]) -> str | None:
    """The image of a task: the first text of its data that ends as images do."""
    data = task.get("data")
    for source in (data, task):
        values = [v for v in source.values() if isinstance(v, str)] if isinstance(source, dict) else []
        for value in values:
            if value.partition("?d=")[2].lower().endswith(image_suffixes()):
                return value
            if value.partition("?")[0].lower().endswith(image_suffixes()):
                return value
    return None


def _forms(name: str) -> list[str]:
    base = name.replace("\\", "/").rpartition("/")[2]
    return [name, *([_UPLOAD.sub("", base)] if _UPLOAD.match(base) else [])]


def _regions(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions of a task, those of JSON-MIN in the form of the others."""
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(annotations, list):
        for annotation in annotations:
            if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
                result = annotation.get("result")
                return [entry for entry in result if isinstance(entry, dict)] if isinstance(result, list) else []
        if annotations or "data" in task:
            return []
    regions = []
    for value in task.values():
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, dict) and "original_width" in entry:
                kind = next((key for key in entry if key.endswith("labels")), "")
                regions.append({**entry, "type": kind, "value": entry})
    return regions


def _joints(regions: list[list[dict[str, Any]]]) -> list[str]:
    names = (_label(entry) for entries in regions for entry in entries if entry.get("type") == "keypointlabels")
    return list(dict.fromkeys(name for name in names if name))


def _label(entry: dict[str, Any]) -> str | None:
    value = entry.get("value")
    names = value.get(entry.get("type"), value.get("labels")) if isinstance(value, dict) else None
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None


def _read_task(
    collector: Collector,
    lookup: ImageLookup,
    task: dict[str, Any],
    name: str | None,
    number: int,
    regions: list[dict[str, Any]],
) -> None:
    image_id = as_id(task.get("id"))
    image_id = number if image_id is None else image_id
    if name is None:
        collector.report("missing image", "the task names no image; left out", image_id)
        return
    file = next((f for form in _forms(name) if (f := lookup.find(form)) is not None), None)
    sizes = next(([as_number(e.get(k)) for k in ("original_height", "original_width")] for e in regions), [None, None])
    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    image = collector.image(
        image_id,
        file,
        stated=stated,
        label=collector.path,
        missing=lookup.missing(name),
        file_name=file.name if file is not None else None,
    )
    if image is None:
        return
    joints: dict[Any, np.ndarray] = {}
    names = collector.dataset.keypoint_names
    for entry in regions:
        if entry.get("type") == "keypointlabels" and entry.get("parentID") is not None:
            _add_joint(image, entry, names, joints.setdefault(entry["parentID"], np.zeros((len(names), 3))))
    # Label Studio joins the label and the shape of a region by its id where they are drawn apart.
    labels = {e.get("id"): _label(e) for e in regions if _label(e) is not None}
    read: set[Any] = set()
    for place, entry in enumerate(regions):
        record = as_id(entry.get("id"))
        record = place if record is None else record
        kind = entry.get("type")
        if kind in _AREAS and record not in read:
            read.add(record)
            _add_region(image, entry, str(kind), labels.get(entry.get("id")) or _label(entry), record, joints)
        elif kind == "keypointlabels" and entry.get("parentID") is None:
            image.leave_out("no area", "a keypoint that belongs to no rectangle", record)


def _value(entry: dict[str, Any], *keys: str) -> list[float]:
    value = entry.get("value")
    numbers = [as_number(value.get(key)) if isinstance(value, dict) else None for key in keys]
    for key, number in zip(keys, numbers, strict=True):
        if number is None:
            raise DataError(
                f'"{key}" is {short(value.get(key) if isinstance(value, dict) else value)}, expected a number'
            )
    return [number for number in numbers if number is not None]


def _add_joint(image: ImageObjects, entry: dict[str, Any], names: tuple[str, ...], joints: np.ndarray) -> None:
    name = _label(entry)
    try:
        x, y = _value(entry, "x", "y")
    except DataError as error:
        image.report("keypoints", f"{error}; left out", as_id(entry.get("id")))
        return
    if name in names:
        joints[names.index(name)] = x * image.width / 100, y * image.height / 100, 2


def _add_region(
    image: ImageObjects,
    entry: dict[str, Any],
    kind: str,
    name: str | None,
    record: int | str,
    joints: dict[Any, np.ndarray],
) -> None:
    scale = np.array([image.width, image.height]) / 100
    keypoints = joints.get(entry.get("id"))
    try:
        if kind.startswith("brush"):
            bits = _brush(entry, image.height, image.width)
            image.add_mask(name, bits, keypoints=keypoints, record=record)
            return
        if kind.startswith("polygon"):
            value = entry.get("value")
            points = value.get("points") if isinstance(value, dict) else None
            polygon = np.asarray(points, np.float64)
            if polygon.ndim != 2 or polygon.shape[1] != 2:
                raise DataError(f'"points" is {short(points)}, expected pairs of x and y')
            polygon = polygon * scale
        else:
            turn = as_number((entry.get("value") or {}).get("rotation")) or 0.0
            if kind.startswith("rectangle"):
                x, y, w, h = _value(entry, "x", "y", "width", "height")
                (x1, y1), (x2, y2) = (x, y) * scale, (x + w, y + h) * scale
                polygon = rectangle(x1, y1, x2, y2, turn, corner=True)
            else:
                x, y, rx, ry = _value(entry, "x", "y", "radiusX", "radiusY")
                (cx, cy), (across, down) = (x, y) * scale, (rx, ry) * scale
                polygon = ellipse(cx, cy, across, down, turn)
    except (DataError, TypeError, ValueError, AttributeError) as error:
        image.leave_out("shape", f"{kind}: {error}", record)
        return
    image.add(name, polygons=[polygon], keypoints=keypoints, record=record)


def _brush(entry: dict[str, Any], height: int, width: int) -> np.ndarray:
    value = entry.get("value")
    data = value.get("rle") if isinstance(value, dict) else None
    if not isinstance(data, list):
        raise DataError(f'"rle" is {short(data)}, expected a list of numbers')
    try:
        values = decode_brush(bytes(data), 4 * height * width)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"rle: {error}") from error
    return values.reshape(height, width, 4)[:, :, 3] > 127
