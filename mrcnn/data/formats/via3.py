"""VIA 3's projects and CSV, in the form of VIA 2's: an entry with regions for each image.

A metadata entry is a region where it has coordinates: "xy" is the number of a shape, then its measures. Its attributes
are numbers of attributes and of their options, which the project names.

Ref: `via-3.x.y/src/js/_via_metadata.js` and `CodeDoc.md`, https://gitlab.com/vgg/via.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import as_numbers, parse_json, short

_CHECKBOX, _INLINE = 2, 4  # of attributes; of where files are
_MEASURES = {
    2: ("rect", ("x", "y", "width", "height")),
    3: ("circle", ("cx", "cy", "r")),
    4: ("ellipse", ("cx", "cy", "rx", "ry")),
}
_OUTLINES = {6: "polyline", 7: "polygon"}
_POINT, _LINE, _EXTREME_RECTANGLE, _EXTREME_CIRCLE = 1, 5, 8, 9
_ATTRIBUTES = "# ATTRIBUTE = "


def is_project(content: Any) -> bool:
    """Whether JSON is a project of VIA 3."""
    return isinstance(content, dict) and all(
        isinstance(content.get(k), dict) for k in ("file", "view", "metadata", "attribute")
    )


def from_project(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The images of a project as VIA 2 has them.

    Raises:
        DataError: a view names a file that the project does not list.
    """
    files = content["file"]
    entries: dict[str, Any] = {}
    of_view: dict[str, Any] = {}
    for vid, view in content["view"].items():
        listed = view.get("fid_list") if isinstance(view, dict) else None
        file = files.get(str(listed[0])) if isinstance(listed, list) and listed else None
        if not isinstance(file, dict):
            raise DataError(f'{path}: view {short(vid)}: expected "fid_list" with a file of the project')
        name = file.get("fname") if file.get("loc") == _INLINE else file.get("src") or file.get("fname")
        of_view[str(vid)] = entries.setdefault(str(name), {"filename": str(name), "regions": []})
    for key, entry in content["metadata"].items():
        if not isinstance(entry, dict):
            raise DataError(f"{path}: metadata {short(key)}: expected an object, got {short(entry)}")
        xy, view = entry.get("xy"), of_view.get(str(entry.get("vid")))
        if view is None:
            raise DataError(f"{path}: metadata {short(key)}: names view {short(entry.get('vid'))}, which is not listed")
        if xy:  # else it describes the whole file
            view["regions"].append(_region(xy, entry.get("av"), content["attribute"]))
    return entries


def is_csv(text: str) -> bool:
    """Whether a text begins as the CSV of VIA 3 does."""
    start = text.lstrip("\ufeff")[:2000]
    return start.startswith("#") and "VGG Image Annotator" in start and "spatial_coordinates" in start


def from_csv(path: Path, text: str) -> dict[str, Any]:
    """The images of a CSV file as VIA 2 has them.

    Raises:
        DataError: a row has other columns, or a cell is no JSON; names the row.
    """
    lines = text.lstrip("\ufeff").splitlines()
    stated = next((line[len(_ATTRIBUTES) :] for line in lines if line.startswith(_ATTRIBUTES)), "{}")
    attributes = parse_json(stated, f"{path}: ATTRIBUTE")
    entries: dict[str, Any] = {}
    rows = csv.reader(io.StringIO("\n".join(line for line in lines if not line.startswith("#"))))
    try:
        for number, row in enumerate(rows, start=1):
            where = f"{path}: row {number}"
            if not row:
                continue
            if len(row) != 6:
                raise DataError(f"{where}: {len(row)} columns, expected 6")
            files, xy, values = (parse_json(row[k] or "null", where) for k in (1, 4, 5))
            if not isinstance(files, list) or not files:
                raise DataError(f"{where}: expected a list of files, got {short(files)}")
            entry = entries.setdefault(str(files[0]), {"filename": str(files[0]), "regions": []})
            if xy:
                entry["regions"].append(_region(xy, values, attributes))
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error})") from error
    return entries


def _region(xy: Any, values: Any, attributes: Any) -> dict[str, Any]:
    """A region of VIA 2; its shape stays as it is where it is none of VIA 3's, and is then refused by name."""
    named = {}
    for key, value in values.items() if isinstance(values, dict) else ():
        attribute = attributes.get(key) if isinstance(attributes, dict) else None
        attribute = attribute if isinstance(attribute, dict) else {}
        named[str(attribute.get("aname", key))] = _value(attribute, value)
    return {"shape_attributes": _shape(xy), "region_attributes": named}


def _value(attribute: Mapping[str, Any], value: Any) -> Any:
    options = attribute.get("options")
    options = options if isinstance(options, dict) else {}
    if attribute.get("type") == _CHECKBOX and isinstance(value, str):
        return {str(options.get(part, part)): True for part in value.split(",") if part}
    return options.get(value, value) if isinstance(value, str) else value


def _shape(xy: Any) -> Any:
    try:
        numbers = as_numbers(xy)
    except DataError:
        return {"name": short(xy)}
    if numbers.ndim != 1 or not len(numbers):
        return {"name": short(xy)}
    kind, measures = int(numbers[0]) if np.isfinite(numbers[0]) else 0, numbers[1:].tolist()
    if kind in _MEASURES:
        name, keys = _MEASURES[kind]
        return {"name": name, **dict(zip(keys, measures, strict=False))}
    points = numbers[1:].reshape(-1, 2) if len(measures) % 2 == 0 else np.zeros((0, 2))
    if kind in _OUTLINES:
        return {"name": _OUTLINES[kind], "all_points_x": measures[::2], "all_points_y": measures[1::2]}
    if kind in (_POINT, _LINE):
        return {"name": "point" if kind == _POINT else "line"}
    if kind == _EXTREME_RECTANGLE and len(points):
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    if kind == _EXTREME_CIRCLE and len(points) >= 3:
        return _circle(points[:3])
    return {"name": f"{short(xy)}"}


def _circle(points: np.ndarray) -> dict[str, Any]:
    """The circle through three points f64[3, 2]; of radius 0 where they lie on a line."""
    sides = points[1:] - points[0]
    if not np.isfinite(sides).all() or abs(float(np.linalg.det(sides))) < 1e-9:
        return {"name": "circle", "cx": float(points[0, 0]), "cy": float(points[0, 1]), "r": 0.0}
    to_center = np.linalg.solve(2 * sides, (sides**2).sum(axis=1))
    cx, cy = (points[0] + to_center).tolist()
    return {"name": "circle", "cx": cx, "cy": cy, "r": float(np.hypot(*to_center))}
