"""LabelMe of MIT, the older program: an XML file for each image in Annotations/, the images in Images/.

Polygons, and masks in Masks/ (`<segm>`). Objects that are deleted are passed over; those of one name that are parts of
one another are one object.

Also the polygons that Roboflow's supervision puts beside the boxes of Pascal VOC: `<x1>`, `<y1>`, `<x2>`, ... in place
of `<pt>`, counted from 1 as all of VOC is (supervision/dataset/formats/pascal_voc.py adds 1, and takes it off again).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import keep_unlabeled
from mrcnn.data.formats.label_map import read_values
from mrcnn.data.formats.xml_text import Element, read_xml, xml_root_tag
from mrcnn.data.rasterize import polygons_to_mask

_SAMPLED = 5


class LabelMeXml(Format):
    """LabelMe XML; see the module."""

    name = "labelme_xml"
    looks_for = "XML files with <annotation><object><polygon> in Annotations/ or beside the images"

    def recognize(self, path: Path) -> bool:
        """Whether a folder holds such files."""
        return path.is_dir() and any(_is_label(file) for file in files_below(path, (".xml",), 3, _SAMPLED))

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        base = path if path.is_dir() else path.parent
        root = base / "Annotations" if (base / "Annotations").is_dir() else base
        collector = Collector(path, self.name)
        folder = images or (base / "Images" if (base / "Images").is_dir() else base)
        files = ImageFiles([folder])
        used = {file for file in files.files if {"Masks", "Scribbles"} & set(file.relative_to(folder).parts[:-1])}
        for label in files_below(root, (".xml",)) if path.is_dir() else [path]:
            image_id = relative_id(label, root)
            try:
                tree = read_xml(label)
            except DataError as error:
                collector.report("damaged label", f"{error}; its image is left out", image_id, path=label)
                used |= {file for file in [files.find(image_id)] if file is not None}
                continue
            if tree.tag != "annotation":
                continue
            name = (tree.findtext("filename") or "").strip()
            sub = (tree.findtext("folder") or "").strip()
            file = (files.find(f"{sub}/{name}") if sub else None) or files.find(name) or files.find(image_id)
            sizes = [_number(tree.find("imagesize"), key) for key in ("nrows", "ncols")]
            stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
            image = collector.image(image_id, file, stated=stated, label=label, missing=files.missing(name or image_id))
            used |= {file} if file else set()
            if image is not None:
                _add_objects(image, tree, base / "Masks" / Path(image_id).parent)
        if path.is_dir():
            keep_unlabeled(collector, files, used, folder)
        return collector.finish(validate=validate)


def _is_label(file: Path) -> bool:
    if xml_root_tag(file) != "annotation":
        return False
    try:
        tree = read_xml(file)
    except DataError:
        return False
    return is_labelme(tree)


def is_labelme(tree: Element) -> bool:
    """Whether an annotation is LabelMe's and not Pascal VOC's: by its objects; without one, by how it states its size.

    Example:
        >>> from mrcnn.data.formats.xml_text import parse_xml
        >>> is_labelme(parse_xml(b"<annotation><size><width>8</width></size></annotation>", "a.xml"))
        False
    """
    return any(tree.find(place) is not None for place in ("object/polygon", "object/segm", "imagesize"))


def _number(element: Element | None, key: str) -> float | None:
    try:
        value = float((element.findtext(key) if element is not None else None) or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _add_objects(image: ImageObjects, tree: Element, masks: Path) -> None:
    entries = {}
    for number, entry in enumerate(tree.findall("object")):
        if (entry.findtext("deleted") or "0").strip() != "1":
            key = (entry.findtext("id") or str(number)).strip()
            entries[key if key not in entries else f"{key} ({number})"] = entry
    owner = {key: key for key in entries}
    for key, entry in entries.items():
        for part in (entry.findtext("parts/hasparts") or "").split(","):
            part = part.strip()
            same = part in entries and part != key
            if same and (entries[part].findtext("name") or "").strip() == (entry.findtext("name") or "").strip():
                owner[part] = key
    groups: dict[str, list[str]] = {}
    for key in entries:
        top, seen = key, {key}
        while owner[top] != top and owner[top] not in seen:
            top = owner[top]
            seen.add(top)
        groups.setdefault(top, []).append(key)
    for top, keys in groups.items():
        _add(image, top, [entries[key] for key in keys], masks)


def _add(image: ImageObjects, record: str, entries: list[Element], masks: Path) -> None:
    name = (entries[0].findtext("name") or "").strip()
    # Beside an outline a box is only its bounds, as datumaro writes them; alone it is the object.
    entries = [e for e in entries if (e.findtext("type") or "").strip() != "bounding_box"] or entries
    polygons, whole = [], None
    for entry in entries:
        polygon, file = entry.find("polygon"), (entry.findtext("segm/mask") or "").strip()
        try:
            if polygon is not None:
                polygons.append(_points(polygon))
            elif file:
                values = read_values(masks / Path(file).name)
                bits = values.any(axis=2) if values.ndim == 3 else values > 0
                if bits.shape != (image.height, image.width):
                    raise DataError(f"{file}: {bits.shape[0]} x {bits.shape[1]}, not the size of its image")
                whole = bits if whole is None else whole | bits
            else:
                raise DataError("expected <polygon> or <segm><mask>")
        except DataError as error:
            image.leave_out("shape", str(error), record)
            return
    if whole is None:
        image.add(name, polygons=polygons, record=record)
        return
    if polygons:
        whole = whole | polygons_to_mask(polygons, image.height, image.width)
    image.add_mask(name, whole, record=record)


def _points(polygon: Element) -> np.ndarray:
    points = [(_number(pt, "x"), _number(pt, "y")) for pt in polygon.findall("pt")]
    first = 0 if points else 1
    if not points:
        number = 1
        while polygon.find(f"x{number}") is not None or polygon.find(f"y{number}") is not None:
            points.append((_number(polygon, f"x{number}"), _number(polygon, f"y{number}")))
            number += 1
    if any(v is None for point in points for v in point):
        raise DataError("polygon: a point without two finite numbers")
    return np.array(points, np.float64).reshape(-1, 2) - first
