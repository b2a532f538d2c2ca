"""One image file for each object: white, or anything but black, where it is.

Layouts:
    Data Science Bowl 2018   ID/images/ID.png and ID/masks/*.png for each image; one class, "object" unless `classes=`
                             names it.
    pycococreator            annotations/IMAGE_CLASS_NUMBER.png beside a folder of images.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.image_files import files_below, images_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.instance_map import CLASS
from mrcnn.data.formats.label_map import read_values
from mrcnn.data.formats.map_writers import write_object_masks
from mrcnn.data.formats.saving import Saver

_NAMED = re.compile(r"^(.+?)_([^_]+(?:_[^_]+)*?)_(\d+)$")
_MASKS = (".png", ".tif", ".tiff", ".bmp")
_SAMPLED = 20


class ObjectMasks(Format):
    """One mask file an object; see the module."""

    name = "object_masks"
    looks_for = "folders with images/ and masks/ for each image, or annotations/IMAGE_CLASS_NUMBER.png"

    def recognize(self, path: Path) -> bool:
        """Whether a folder has one of the layouts."""
        return path.is_dir() and (bool(_bowl(path, _SAMPLED)) or _named(path, _SAMPLED) is not None)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        folders = _bowl(path, None)
        if folders:
            return _load_bowl(path, folders, validate)
        named = _named(path, None, images)
        if named is None:
            raise DataError(f"{path}: {self.name}: expected {self.looks_for}")
        return _load_named(path, *named, validate)

    def numbers_classes(self, dataset: Dataset) -> bool:
        """Whether the layout has no names."""
        return dataset.class_names == (CLASS,)

    def save(self, saver: Saver, **options: Any) -> None:
        """images/ and annotations/IMAGE_CLASS_NUMBER.png."""
        write_object_masks(saver)


def _bowl(path: Path, limit: int | None) -> list[Path]:
    """Folders that have one image in images/, and masks/."""
    folders = []
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except OSError:
        return []
    for name in names[:limit]:
        folder = path / name
        if (folder / "masks").is_dir() and len(images_below(folder / "images", 0)) == 1:
            masks = files_below(folder / "masks", _MASKS, 0, _SAMPLED)
            if [file.stem for file in masks] != [images_below(folder / "images", 0)[0].stem]:
                folders.append(folder)
    return folders


def _load_bowl(path: Path, folders: list[Path], validate: bool) -> Dataset:
    collector = Collector(path, "object_masks", [CLASS])
    for folder in folders:
        file = images_below(folder / "images", 0)[0]
        image = collector.image(folder.name, file, label=folder / "masks")
        if image is not None:
            for mask in files_below(folder / "masks", _MASKS, 0):
                _add(image, mask, CLASS)
    return collector.finish(validate=validate)


def _named(
    path: Path, limit: int | None, images: Path | None = None
) -> tuple[dict[str, Path], list[tuple[Path, str, str]]] | None:
    """Images by their names, and (file, image, class) of each mask."""
    masks = files_below(path / "annotations", (".png",), 0, limit)
    if not masks or any(_NAMED.match(file.stem) is None for file in masks):
        return None
    try:
        folders = [Path(e.path) for e in os.scandir(path) if e.is_dir() and e.name != "annotations"]
    except OSError:
        return None
    places = [images] if images is not None else [*sorted(folders), path]
    files = {relative_id(file, file.parent): file for folder in places for file in images_below(folder, 0)}
    if images is None and path / "annotations" in {file.parent for file in files.values()}:
        return None
    objects = []
    for file in masks:
        parts = file.stem.split("_")
        stem = next((s for k in range(len(parts) - 2, 0, -1) if (s := "_".join(parts[:k])) in files), None)
        if stem is None:
            if limit is not None:
                continue
            stem = parts[0]
        objects.append((file, stem, file.stem[len(stem) + 1 :].rpartition("_")[0]))
    return (files, objects) if objects else None


def _load_named(path: Path, files: dict[str, Path], objects: list[tuple[Path, str, str]], validate: bool) -> Dataset:
    collector = Collector(path, "object_masks")
    masks: dict[str, list[tuple[Path, str]]] = {stem: [] for stem in files}
    for file, stem, name in objects:
        masks.setdefault(stem, []).append((file, name))
    for stem, entries in sorted(masks.items()):
        label = entries[0][0] if entries else None
        if not entries:
            collector.report("image without label", f"{files[stem].name} has no mask; kept without objects", stem)
        image = collector.image(stem, files.get(stem), label=label, missing=f"no such image: {stem!r}")
        if image is not None:
            for file, name in entries:
                _add(image, file, name)
    return collector.finish(validate=validate)


def _add(image: ImageObjects, mask: Path, name: str) -> None:
    try:
        values = read_values(mask)
        bits = values.any(axis=2) if values.ndim == 3 else values > 0
        if bits.shape != (image.height, image.width):
            size = f"{bits.shape[0]} x {bits.shape[1]}"
            raise DataError(f"{mask}: {size}, its image is {image.height} x {image.width}")
    except DataError as error:
        image.leave_out("damaged label", str(error), mask.name)
        return
    rows, columns = np.flatnonzero(bits.any(axis=1)), np.flatnonzero(bits.any(axis=0))
    if rows.size:
        bits = bits[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = (int(rows[0]), int(columns[0])) if rows.size else (0, 0)
    image.add_mask(name, bits, top, left, record=mask.name)
