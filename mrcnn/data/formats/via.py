"""VGG Image Annotator: region data (JSON or CSV) and project files, versions 1 to 3, to a `Dataset`.

A region's outline is taken from its shape: polygons and polylines by their vertices, rectangles, circles and ellipses
by their measures. VIA has no classes; the class is the value of a region attribute.

    corrected   "polygon outside": a coordinate far outside its image, clipped. "class name": control characters,
                escaped.
    left out    "degenerate outline": fewer than three points, no area, or a coordinate that is not finite; "outside":
                all of it beside the image; "no area": points, lines; "polygon too long". Each leaves a `DatasetIssue`
                in `dataset.issues`.
    for notice  "mask without a pixel".
    refused     broken JSON or CSV; values of the wrong type; a region without shape or class; an image file that is not
                there or cannot be read; a file all of whose regions are left out for one reason.
With `validate=False` the refused regions and images are left out too and listed with `fatal=True`.

Ref: the formats as VIA 2.0.11 and 3.0 (`formats.via3`) write them, https://www.robots.ox.ac.uk/~vgg/software/via/.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.formats.agreement import LEFT_OUT, Agreement, has_area, merge_file_issues
from mrcnn.data.formats.base import Format, holds_keys, leave_out_records
from mrcnn.data.formats.fields import as_number, as_numbers, parse_json, read_text, short
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.via3 import from_csv, from_project, is_csv, is_project
from mrcnn.data.images import image_shape
from mrcnn.data.polygons import MAX_OUTLINE, clip_polygons, outline_length
from mrcnn.structures.records import Annotation
from mrcnn.text import printable

_CIRCLE_POINTS = 72  # a circle of that many corners has 0.13 % less area
_CSV = ("filename", "region_shape_attributes", "region_attributes")
_SNIFFED = 4096
_FARTHEST = 1e12  # of coordinates in messages

Regions = list[dict[str, Any]]


class Via(Format):
    """VGG Image Annotator; see the module."""

    name = "via"
    looks_for = (
        'VGG Image Annotator JSON ("filename" and "regions", or "fid_list" and "metadata") or CSV (#filename,...)'
    )

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one in a folder, is JSON or CSV as VIA writes it."""
        return bool(_files(path))

    def load(
        self, path: Path, images: Path | None = None, *, validate: bool = True, class_attribute: str | None = None
    ) -> Dataset:
        """See `load_via`; records that cannot be used are left out and listed in `issues`."""
        dataset = load_via(_file(path), images, class_attribute=class_attribute, validate=False)
        return leave_out_records(dataset) if validate else dataset


def _file(path: Path) -> Path:
    """The only file of VIA in a folder, or the file itself."""
    files = [path] if path.is_file() else _files(path)
    if len(files) == 1:
        return files[0]
    listed = ", ".join(file.name for file in files) or "none"
    raise DataError(f"{path}: expected one file of VIA, found {listed}; give the path of one of them")


def _files(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else files_below(path, (".json", ".csv"), 0, 20)
    return [file for file in candidates if _is_via(file)]


def _is_via(path: Path) -> bool:
    if holds_keys(path, "filename", "regions") or holds_keys(path, "_via_img_metadata"):
        return True
    if holds_keys(path, "vid_list", "attribute", "metadata", "fid_list"):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return is_csv(start) or (all(name in start for name in _CSV) and not start.lstrip().startswith(("{", "[")))


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
        annotations_path: `via_region_data.json`, a project file of VIA 2 or 3, or the regions as CSV.
        images_dir: folder of the images; images are also looked up in "images" beside the file, and beside the file.
        class_attribute: the region attribute that names the class; None: the only one there is, and where regions have
            none at all they are of one class.
        class_names: names of the classes 1..C; default: all that occur, in alphabetical order. Without attributes its
            only name is that of the one class, "object" by default.
        validate: refuse what is stated in the module; False leaves it out and lists it in `issues`.

    Raises:
        DataError: names the file, the image and region, and what was expected.

    Example:
        >>> dataset = mrcnn.load_via("balloon/train/via_region_data.json", class_names=["balloon"])  # doctest: +SKIP
    """
    path = Path(annotations_path)
    entries = _read(path)
    lookup = ImageLookup(path, images_dir, (name for name, _ in entries))
    attribute = class_attribute if class_attribute is not None else _only_attribute(path, entries)
    dataset = Dataset()
    dataset.path = str(path)
    named = [[_class_name(region, attribute) for region in regions] for _, regions in entries]
    if class_names is None:
        names = sorted({name for in_image in named for name in in_image if name})
        class_names = names if attribute else ["object"]
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    for name, number in ids.items():
        if name != printable(name):
            message = f"class {short(printable(name))} holds control characters; escaped"
            dataset.issues.append(DatasetIssue("class name", message, path=dataset.path))
        dataset.add_class("via", number, printable(name))
    agreement = Agreement()
    for (filename, regions), in_image in zip(entries, named, strict=True):
        classes = [ids.get(name or "") if attribute else 1 for name in in_image]
        objects = list(zip(regions, in_image, classes, strict=True))
        _add_image(dataset, filename, lookup, objects, attribute, ids, agreement)
    merge_file_issues(dataset.issues, agreement, sum(len(regions) for _, regions in entries), dataset.path)
    if validate:
        refuse(dataset.issues)
    warn(dataset.issues, path)
    return dataset


def _add_image(
    dataset: Dataset,
    filename: str,
    lookup: ImageLookup,
    regions: list[tuple[dict[str, Any], str | None, int | None]],
    attribute: str | None,
    ids: Mapping[str, int],
    agreement: Agreement,
) -> None:
    issues, path = dataset.issues, dataset.path
    file = lookup.find_path(filename)
    if file is None:
        issues.append(DatasetIssue("missing image", lookup.missing(filename), filename, None, path, fatal=True))
        return
    try:
        height, width = image_shape(file, dataset.read_options.page)
    except DataError as error:
        issues.append(DatasetIssue("image", str(error), filename, None, path, fatal=True))
        return
    annotations = []
    for number, (region, name, class_id) in enumerate(regions):

        def report(kind: str, message: str, fatal: bool = False, number: int = number) -> None:
            issues.append(DatasetIssue(kind, message, filename, number, path, fatal))

        if class_id is None:
            wrong = f"class {short(name)}, expected one of {', '.join(ids)}"
            report("class", wrong if name else f"no attribute {attribute!r} with the name of a class", True)
            continue
        annotation = _annotation(region, class_id, number, height, width, report)
        if annotation is not None:
            annotations.append(annotation)
            issue = agreement.add(annotation, None, annotation.box, height, width)
            if issue is not None:
                report(*issue)
    dataset.add_image(
        "via", filename, file, width=width, height=height, annotations=annotations, extra={"file_name": filename}
    )


def _read(path: Path) -> list[tuple[str, Regions]]:
    """(file name, regions) of every image."""
    text = read_text(path, expected="JSON or CSV file of VIA")
    content = _from_csv(path, text) if path.suffix.lower() == ".csv" else parse_json(text, str(path))
    if is_project(content):
        content = from_project(path, content)
    elif isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with one entry an image, got {type(content).__name__}")
    entries: dict[str, Regions] = {}
    for key, entry in content.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise DataError(f'{path}: entry {key!r}: expected an object with "filename" and "regions", as VIA writes')
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # version 1 numbers them
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise DataError(f"{path}: entry {key!r}: expected a list or object of regions")
        entries.setdefault(entry["filename"], []).extend(regions)
    return list(entries.items())


def _from_csv(path: Path, text: str) -> dict[str, Any]:
    if is_csv(text):
        return from_csv(path, text)
    # A comment line may stand before the header, which itself may begin with #.
    lines = (line for line in io.StringIO(text, newline="") if not line.startswith("# "))
    content: dict[str, Any] = {}
    try:
        rows = csv.DictReader(lines)
        fields = [name.lstrip("#") for name in rows.fieldnames or ()]
        missing = [name for name in _CSV if name not in fields]
        if missing:
            raise DataError(f"{path}: expected a column {missing[0]!r}, got {', '.join(fields) or 'nothing'}")
        rows.fieldnames = fields
        for number, row in enumerate(rows, start=1):
            entry = content.setdefault(row["filename"] or "", {"filename": row["filename"], "regions": []})
            where = f"{path}: row {number}"
            shape = parse_json(row["region_shape_attributes"] or "{}", where)
            if shape:  # else the row stands for an image without regions
                attributes = parse_json(row["region_attributes"] or "{}", where)
                entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    except csv.Error as error:
        raise DataError(f"{path}: not valid CSV ({error})") from error
    return content


def _attributes(region: Mapping[str, Any]) -> dict[str, Any]:
    value = region.get("region_attributes")
    return value if isinstance(value, dict) else {}


def _only_attribute(path: Path, entries: list[tuple[str, Regions]]) -> str | None:
    counts = Counter(name for _, regions in entries for region in regions for name in _attributes(region))
    if len(counts) > 1:
        names = ", ".join(f"{name!r} ({count})" for name, count in counts.most_common())
        raise DataError(f"{path}: regions have several attributes, {names}; name the class's in class_attribute")
    return next(iter(counts), None)


def _class_name(region: Mapping[str, Any], attribute: str | None) -> str | None:
    value = _attributes(region).get(attribute)  # type: ignore[arg-type]
    if isinstance(value, dict):  # checkboxes: {"dog": true}
        ticked = [name for name, on in value.items() if on]
        value = ticked[0] if len(ticked) == 1 else None
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value).strip() or None
    return None


class _BadShape(ValueError):
    """A shape that is refused, with the reason."""


def _annotation(
    region: Mapping[str, Any], class_id: int, number: int, height: int, width: int, report: Callable[..., None]
) -> Annotation | None:
    shape = region.get("shape_attributes")
    if isinstance(shape, dict) and shape.get("name") in ("point", "line"):
        report("no area", f"a {shape['name']} has no area{LEFT_OUT}")
        return None
    try:
        outline = _outline(shape)
    except _BadShape as error:
        report("shape", str(error), fatal=True)
        return None
    start = np.round(np.clip(outline[:4], -_FARTHEST, _FARTHEST), 1).tolist()
    flat = not len(outline) or (outline.max(axis=0) <= outline.min(axis=0)).any()
    if len(outline) < 3 or not np.isfinite(outline).all() or flat:
        report("degenerate outline", f"degenerate outline {start}{LEFT_OUT}")
        return None
    clipped = clip_polygons([outline], height, width)
    if outline_length(clipped) > MAX_OUTLINE:
        report("polygon too long", f"outline longer than {MAX_OUTLINE} pixels{LEFT_OUT}")
        return None
    inside = clipped[0] if clipped else outline
    (x1, y1), (x2, y2) = inside.min(axis=0), inside.max(axis=0)
    box = (float(max(y1, 0)), float(max(x1, 0)), float(min(y2, height)), float(min(x2, width)))
    if not clipped or not has_area(box):
        report("outside", f"outside {start}{LEFT_OUT}")
        return None
    if inside is not outline:
        farthest = max((float(v) for v in (outline.min(), outline.max())), key=abs)
        report("polygon outside", f"a coordinate is {farthest:g}, far outside its image of {height} x {width}; clipped")
    x, y = inside.T
    area = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    return Annotation(class_id, box, [inside.astype(np.float32)], annotation_id=number, area=area)


def _outline(shape: Any) -> np.ndarray:
    """f64[n, 2] of (x, y).

    Raises:
        _BadShape: the shape is none of VIA's, or lacks a number.
    """
    if not isinstance(shape, dict) or "name" not in shape:
        raise _BadShape(f'expected "shape_attributes" with the name of a shape, got {short(shape)}')
    name = shape["name"]
    if name in ("polygon", "polyline"):
        xs, ys = (_list(shape, f"all_points_{axis}") for axis in "xy")
        if xs.shape != ys.shape or xs.ndim != 1:
            raise _BadShape(f"{name} of {xs.size} x and {ys.size} y coordinates")
        return np.stack([xs, ys], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the caller
        if name == "rect":
            x, y, w, h = _measures(shape, "x", "y", "width", "height")
            return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        if name in ("circle", "ellipse"):
            cx, cy, rx, ry = _measures(shape, "cx", "cy", *(("r", "r") if name == "circle" else ("rx", "ry")))
            turn = 0.0 if shape.get("theta") is None else _measures(shape, "theta")[0]  # radians, clockwise on screen
            angle = np.arange(_CIRCLE_POINTS) * (2 * math.pi / _CIRCLE_POINTS)
            u, v = rx * np.cos(angle), ry * np.sin(angle)
            return np.stack(
                [cx + u * math.cos(turn) - v * math.sin(turn), cy + u * math.sin(turn) + v * math.cos(turn)], axis=1
            )
    raise _BadShape(f"shape {short(name)}, expected polygon, polyline, rect, circle, ellipse or point")


def _measures(shape: Mapping[str, Any], *keys: str) -> list[float]:
    numbers = []
    for key in keys:
        number = as_number(shape.get(key))
        if number is None:
            raise _BadShape(f'{shape["name"]}: "{key}" is {short(shape.get(key))}, expected a finite number')
        numbers.append(number)
    return numbers


def _list(shape: Mapping[str, Any], key: str) -> np.ndarray:
    value = shape.get(key)
    if not isinstance(value, list) or any(isinstance(v, (str, bool)) for v in value):
        raise _BadShape(f'{shape["name"]}: "{key}" is {short(value)}, expected a list of numbers')
    try:
        return as_numbers(value)
    except DataError as error:
        raise _BadShape(f'{shape["name"]}: "{key}": {error}') from error
