"""Instance ids as images: a map beside each image, whose pixel values number the objects; 0 is background.

PNG and TIFF of 8, 16 and 32 bits, `.npy` arrays and Cellpose's `_seg.npy`. Maps lie in a folder beside that of the
images (masks/, labels/, instances/, ...) under the same name, or beside the image under its name and "_masks",
"_cp_masks", "_mask", "_label", "_labels", "_instances" or, as .npy, "_seg". All objects are of one class, "object"
unless `classes=` names it. A map in color is one object a color; black is background.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.image_files import files_below, images_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_map import are_mots_values, packed_colors, read_array, read_values, regions
from mrcnn.data.formats.map_writers import write_maps
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.seg_npy import read_seg
from mrcnn.data.formats.splits import split_folders

CLASS = "object"
ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_instances", "_instance", "_gt")
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "Images", "x")
_MAP_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "instances",
    "instance",
    "instance_masks",
    "instance_maps",
    "segmentations",
    "seg",
    "gt",
    "annotations",
    "Masks",
    "y",
)
_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".bmp")
_SAMPLED = 8
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "F", "RGB", "RGBA")


class InstanceMap(Format):
    """Images of instance ids; see the module."""

    name = "instance_map"
    looks_for = "images and, in masks/ or beside them as NAME_masks.*, images or arrays of instance ids"

    def recognize(self, path: Path) -> bool:
        """Whether a folder has maps for some of its images."""
        return path.is_dir() and _layout(path) is not None

    def splits(self, path: Path) -> dict[str, Path]:
        """The folders of splits in the folder of images, where that of the maps has them too."""
        layout = _layout(path)
        if layout is None or layout[1] is None:
            return {}
        of_maps = split_folders(layout[1])
        return {name: folder for name, folder in split_folders(layout[0]).items() if name in of_maps}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: object
    ) -> Dataset:
        """The images of a folder, and the maps of its like."""
        layout = _layout(path.parent.parent)
        if path.is_dir() and layout is not None and layout[1] is not None and split in split_folders(layout[1]):
            return _load(path, images or path, split_folders(layout[1])[split], validate)
        return self.load(path, images, validate=validate)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder, or of a folder of maps and one of images.

        Raises:
            DataError: see `Format.load`.
        """
        layout = _layout(path)
        if images is not None:
            return _load(path, images, path if layout is None or layout[1] is None else layout[1], validate)
        if layout is None:
            raise DataError(f"{path}: {self.name}: expected {self.looks_for}")
        return _load(path, layout[0], layout[1], validate)

    def numbers_classes(self, dataset: Dataset) -> bool:
        """They have no name."""
        return dataset.class_names == (CLASS,)

    def save(self, saver: Saver, **options: Any) -> None:
        """images/ and masks/: PNG of 8 or 16 bits, TIFF of 32 where there are more objects."""
        write_maps(saver)


def _layout(path: Path) -> tuple[Path, Path | None] | None:
    """The folders of images and of maps; maps None: beside the images."""
    for name in _IMAGE_FOLDERS:
        folder = path / name
        if not folder.is_dir():
            continue
        sample = {_stem(f, folder) for f in files_below(folder, _image_suffixes(), 3)}
        for other in _MAP_FOLDERS:
            if (path / other / "labels.txt").is_file() or (other == "labels" and (path / "instances").is_dir()):
                continue  # MOTS and Mapillary number classes in their maps too
            maps = files_below(path / other, _SUFFIXES, 3, _SAMPLED)
            matching = [f for f in maps if {_stem(f, path / other), _plain(_stem(f, path / other), f.suffix)} & sample]
            if other == "instances" and are_mots_values(matching):
                continue
            if matching and all(_is_map(file) for file in matching):
                return folder, path / other
    maps = [f for f in files_below(path, _SUFFIXES, 0) if _plain(f.stem, f.suffix) != f.stem]
    stems = {f.stem for f in files_below(path, _image_suffixes(), 0)}
    matching = [f for f in maps if _plain(f.stem, f.suffix) in stems][:_SAMPLED]
    return (path, None) if matching and all(_is_map(file) for file in matching) else None


def _image_suffixes() -> tuple[str, ...]:
    from mrcnn.data.image_file import image_suffixes

    return image_suffixes()


def _stem(file: Path, folder: Path) -> str:
    return relative_id(file, folder)


def _plain(stem: str, suffix: str) -> str:
    """A name without the ending that says it is a map."""
    for ending in (*ENDINGS, "_seg") if suffix == ".npy" else ENDINGS:
        if stem.endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return stem


def _is_map(file: Path) -> bool:
    if file.suffix == ".npy":
        return True
    try:
        with Image.open(file) as image:
            return image.mode in _MODES
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return True  # damaged, which the reader says


def _load(path: Path, images: Path, maps: Path | None, validate: bool) -> Dataset:
    collector = Collector(path, "instance_map", [CLASS])
    by_stem: dict[str, Path] = {}
    for file in files_below(maps or images, _SUFFIXES, 3 if maps else 0):
        stem = _stem(file, maps or images)
        plain = _plain(stem, file.suffix)
        if maps is not None or plain != stem:
            by_stem.setdefault(plain, file)
            by_stem.setdefault(stem, file)
    own = set(by_stem.values()) if maps is None else set()
    used: set[Path] = set()
    files = [file for file in images_below(images, 3 if maps else 0) if file not in own]
    for file in files:
        stem = _stem(file, images)
        label = by_stem.get(stem) or by_stem.get(file.stem)
        if label is None:
            collector.report("image without label", f"{file.name} has no map; kept without objects", stem, path=file)
        else:
            used.add(label)
        image = collector.image(stem, file, label=label)
        if image is not None and label is not None:
            add_map(image, label)
    for label in sorted(set(by_stem.values()) - used):
        collector.report("label without image", f"{label.name}: no image of this name; left out", path=label)
    return collector.finish(validate=validate)


def read_map(file: Path) -> np.ndarray:
    """Instance ids [h, w] of any of the kinds of the module.

    Raises:
        DataError: names the file.
    """
    read: Callable[[Path], np.ndarray] = read_values
    if file.suffix == ".npy":
        read = read_seg if file.stem.endswith("_seg") else read_array
    values = read(file)
    if values.ndim == 3 and values.shape[0] == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8:
        values = packed_colors(values)
    if values.ndim == 2 and values.dtype.kind == "f" and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.ndim != 2 or values.dtype.kind not in "iub":
        raise DataError(f"{file}: {values.dtype}{list(values.shape)}, expected integers [height, width]")
    return values.astype(np.uint8) if values.dtype == bool else values


def add_map(image: ImageObjects, label: Path, class_name: str = CLASS) -> None:
    """Add every object of a map."""
    try:
        values = read_map(label)
        if values.shape != (image.height, image.width):
            size = f"{values.shape[0]} x {values.shape[1]}"
            raise DataError(f"{label}: {size}, its image is {image.height} x {image.width}")
    except DataError as error:
        image.discard("damaged label", str(error))
        return
    for region in regions(values):
        if region.value > 0:
            image.add_mask(class_name, region.bits, region.top, region.left, record=region.value)
