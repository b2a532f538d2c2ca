"""VGG Image Annotator: region data (JSON or CSV) and project files, versions 1 and 2, to a `Dataset`.

A region's outline is read as it stands: polygons and polylines by their vertices, rectangles, circles and ellipses by
their measures. VIA knows no class; it is the value of a region attribute.

    left out  "degenerate outline": fewer than three points, no area, or a coordinate that is not finite; "outside": all
              of it beside the image; "no area": points. Each leaves a `DatasetIssue` in `dataset.issues`.
    refused   broken JSON or CSV; a region without shape or class; an image file that is not there.
With `validate=False` the refused regions and images are left out too and listed with `fatal=True`.

Ref: the formats as VIA 2.0.11 writes them, https://www.robots.ox.ac.uk/~vgg/software/via/.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.images import image_shape
from mrcnn.structures.records import Annotation

_ROUND = 72  # corners of a circle: it then has 0.13 % less area
_CSV = ("filename", "region_shape_attributes", "region_attributes")


def load_via(
    annotations_path: str | os.PathLike[str],
    images_dir: str | os.PathLike[str] | None = None,
    *,
    class_attribute: str | None = None,
    class_names: Sequence[str] | None = None,
    validate: bool = True,
) -> Dataset:
    """A `Dataset` from what the VGG Image Annotator saved.

    Args:
        annotations_path: `via_region_data.json`, a VIA 2 project file, or the regions as CSV.
        images_dir: folder of the images; default: the file's folder.
        class_attribute: the region attribute that names the class; None: the only one there is, and where regions have
            none at all they are of one class.
        class_names: names of the classes 1..C; default: all that occur, in alphabetical order. Without attributes its
            only name is that of the one class, "object" by default.
        validate: refuse what is stated at the module head; False leaves it out and lists it in `issues`.

    Raises:
        DataError: names the file, the image and region, and what was expected.
    """
    path = Path(annotations_path)
    folder = Path(images_dir) if images_dir is not None else path.parent
    entries = _read(path)
    attribute = class_attribute if class_attribute is not None else _only_attribute(path, entries)
    dataset = Dataset()
    dataset.path = str(path)
    issues = dataset.issues
    named = [[_class_name(region, attribute) for region in regions] for _, regions in entries]
    if class_names is None:
        names = sorted({name for found in named for name in found if name})
        class_names = names if attribute else ["object"]
    for number, name in enumerate(class_names, start=1):
        dataset.add_class("via", number, name)
    ids = {name: number for number, name in enumerate(class_names, start=1)}

    for (filename, regions), found in zip(entries, named, strict=True):
        image = folder / filename
        if not image.is_file():
            issues.append(DatasetIssue("missing image", f"no such image: {image}", filename, None, str(path), True))
            continue
        height, width = image_shape(str(image))
        annotations = []
        for number, (region, name) in enumerate(zip(regions, found, strict=True)):

            def add(kind: str, message: str, fatal: bool, filename=filename, number=number) -> None:
                issues.append(DatasetIssue(kind, message, filename, number, str(path), fatal))

            class_id = ids.get(name) if attribute else 1
            if class_id is None:
                stated = f"class {name!r}, expected one of {', '.join(ids)}" if name else f"no attribute {attribute!r}"
                add("class", stated, True)
                continue
            outline = _outline(region.get("shape_attributes"))
            if isinstance(outline, str):
                add("no area" if outline.startswith("a point") else "shape", outline, not outline.startswith("a point"))
                continue
            annotation, kind = _annotation(outline, class_id, number, height, width)
            if annotation is None:
                add(kind, f"{kind} {np.round(outline[:4], 1).tolist()}; left out", False)
            else:
                annotations.append(annotation)
        dataset.add_image(
            "via", filename, str(image), width=width, height=height, annotations=annotations, file_name=filename
        )
    if validate:
        refuse(issues)
    warn(issues, path)
    return dataset


def _read(path: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """(file name, regions) of every image."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            content = _from_csv(path, file) if path.suffix.lower() == ".csv" else json.load(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such annotation file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not valid JSON or CSV ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with one entry an image, got {type(content).__name__}")
    entries: dict[str, list[dict[str, Any]]] = {}
    for key, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise DataError(f'{path}: entry {key!r}: expected an object with "filename" and "regions", as VIA writes')
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # version 1 numbers them
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise DataError(f"{path}: entry {key!r}: expected a list or object of regions")
        entries.setdefault(entry["filename"], []).extend(regions)
    return list(entries.items())


def _from_csv(path: Path, file: Any) -> dict[str, Any]:
    rows = csv.DictReader(row for row in file if not row.startswith("# "))
    # A comment line may stand before the header, which itself may begin with #.
    fields = [name.lstrip("#") for name in rows.fieldnames or ()]
    missing = [name for name in _CSV if name not in fields]
    if missing:
        raise DataError(f"{path}: expected a column {missing[0]!r}, got {', '.join(fields) or 'nothing'}")
    rows.fieldnames = fields
    content: dict[str, Any] = {}
    for row in rows:
        entry = content.setdefault(row["filename"], {"filename": row["filename"], "regions": []})
        shape = json.loads(row["region_shape_attributes"] or "{}")
        if shape:  # else the row stands for an image without regions
            entry["regions"].append(
                {"shape_attributes": shape, "region_attributes": json.loads(row["region_attributes"] or "{}")}
            )
    return content


def _only_attribute(path: Path, entries: list[tuple[str, list[dict[str, Any]]]]) -> str | None:
    found = Counter(
        name for _, regions in entries for region in regions for name in (region.get("region_attributes") or {})
    )
    if len(found) > 1:
        names = ", ".join(f"{name!r} ({count})" for name, count in found.most_common())
        raise DataError(f"{path}: regions have several attributes, {names}; name the class's in class_attribute")
    return next(iter(found), None)


def _class_name(region: Mapping[str, Any], attribute: str | None) -> str | None:
    value = (region.get("region_attributes") or {}).get(attribute)
    if isinstance(value, dict):  # checkboxes: {"dog": true}
        ticked = [name for name, on in value.items() if on]
        value = ticked[0] if len(ticked) == 1 else None
    return str(value).strip() or None if value is not None else None


def _outline(shape: Any) -> np.ndarray | str:
    """f64[n, 2] of (x, y), or what is wrong with the shape."""
    if not isinstance(shape, Mapping) or "name" not in shape:
        return 'expected "shape_attributes" with the name of a shape'
    name = shape["name"]
    try:
        if name in ("polygon", "polyline"):
            x, y = (np.asarray(shape[f"all_points_{axis}"], np.float64) for axis in "xy")
            if x.shape != y.shape or x.ndim != 1:
                return f"{name} of {x.size} x and {y.size} y coordinates"
            return np.stack([x, y], axis=1)
        if name == "rect":
            x, y, w, h = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        if name in ("circle", "ellipse"):
            keys = ("r", "r") if name == "circle" else ("rx", "ry")
            cx, cy, rx, ry = (float(shape[key]) for key in ("cx", "cy", *keys))
            turn = float(shape.get("theta") or 0)  # radians, clockwise on the screen
            angle = np.arange(_ROUND) * (2 * math.pi / _ROUND)
            u, v = rx * np.cos(angle), ry * np.sin(angle)
            return np.stack(
                [cx + u * math.cos(turn) - v * math.sin(turn), cy + u * math.sin(turn) + v * math.cos(turn)], axis=1
            )
    except (KeyError, TypeError, ValueError) as error:
        return f"{name}: {type(error).__name__} {error}, expected numbers"
    if name == "point":
        return "a point has no area; left out"
    return f"shape {name!r}, expected polygon, polyline, rect, circle, ellipse or point"


def _annotation(
    outline: np.ndarray, class_id: int, number: int, height: int, width: int
) -> tuple[Annotation | None, str]:
    if len(outline) < 3 or not np.isfinite(outline).all() or not (np.ptp(outline, axis=0) > 0).all():
        return None, "degenerate outline"
    (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0)
    box = tuple(float(v) for v in (max(y1, 0), max(x1, 0), min(y2, height), min(x2, width)))
    if box[2] <= box[0] or box[3] <= box[1]:
        return None, "outside"
    x, y = outline.T
    area = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    return Annotation(class_id, box, [outline.astype(np.float32)], annotation_id=number, area=area), ""
