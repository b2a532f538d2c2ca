"""ADE20K (2020, 2021): a JSON file beside each image, its objects as mask files or polygons.

The class is the object's name with all its synonyms. Objects of part level 0 are read; parts of objects are not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import as_id, as_number, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import keep_unlabeled, read_labels, read_object
from mrcnn.data.formats.label_map import read_values
from mrcnn.data.formats.splits import split_folders

_SAMPLED = 5


class Ade20k(Format):
    """ADE20K; see the module."""

    name = "ade20k"
    looks_for = 'JSON files with "annotation", "imsize" and "object" beside images'

    def recognize(self, path: Path) -> bool:
        """Whether a folder holds such files."""
        sample = files_below(path, (".json",), 4, _SAMPLED) if path.is_dir() else [path]
        return any(holds_keys(file, "annotation", "imsize", "object") for file in sample)

    def splits(self, path: Path) -> dict[str, Path]:
        """training/ and validation/."""
        return {name: folder for name, folder in split_folders(path).items() if self.recognize(folder)}

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        root = path.parent if path.is_file() else path
        collector = Collector(path, self.name)
        labels = [path] if path.is_file() else files_below(path, (".json",))
        labels = [file for file in labels if file.name != "dataset_meta.json"]
        files = ImageFiles([images or root])
        used = read_labels(collector, labels, root, files, _read)
        if path.is_dir():
            # Its images are JPEGs; the PNG files beside them are masks.
            used |= {file for file in files.files if file.suffix.lower() not in (".jpg", ".jpeg")}
            keep_unlabeled(collector, files, used, images or root)
        return collector.finish(validate=validate)


def _read(label: Path) -> tuple[str, tuple[int, int] | None, Callable[[ImageObjects], None]]:
    content = read_object(label, "cp1252").get("annotation")
    objects = content.get("object") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(objects, list):
        raise DataError(f'{label}: expected "annotation" with a list "object"')
    size = content.get("imsize")
    sizes = [as_number(v) for v in size[:2]] if isinstance(size, list) and len(size) >= 2 else [None, None]
    name = content.get("filename")

    def add(image: ImageObjects) -> None:
        for number, entry in enumerate(objects):
            if isinstance(entry, dict):
                _add(image, label, entry, number)
            else:
                image.leave_out("shape", f"expected an object, got {short(entry)}", number)

    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    return name if isinstance(name, str) else label.stem, stated, add


def _add(image: ImageObjects, label: Path, entry: dict[str, Any], number: int) -> None:
    parts = entry.get("parts")
    level = parts.get("part_level") if isinstance(parts, dict) else 0
    if isinstance(level, (int, float)) and level > 0:
        return
    record = as_id(entry.get("id"))
    record = number if record is None else record
    name = entry.get("name")
    name = name if isinstance(name, str) else None
    mask = entry.get("instance_mask")
    file = label.parent / mask.replace("\\", "/") if isinstance(mask, str) and mask else None
    if file is not None and file.is_file() and ".." not in file.parts:
        try:
            values = read_values(file)
            bits = values.any(axis=2) if values.ndim == 3 else values > 0
            if bits.shape != (image.height, image.width):
                raise DataError(f"{file}: {bits.shape[0]} x {bits.shape[1]}, not the size of its image")
        except DataError as error:
            image.leave_out("damaged label", str(error), record)
            return
        image.add_mask(name, bits, record=record)
        return
    polygon = entry.get("polygon")
    axes = [polygon.get(axis) for axis in "xy"] if isinstance(polygon, dict) else [None, None]
    x, y = ([as_number(v) for v in axis] if isinstance(axis, list) else [] for axis in axes)
    if len(x) != len(y) or not x or None in (*x, *y):
        wanted = f"no such mask: {short(mask)}, and" if mask else "no mask file and"
        image.leave_out("shape", f"{wanted} no polygon with x and y", record)
        return
    image.add(name, polygons=[np.array([x, y], np.float64).T], record=record)
