"""COCO panoptic: a JSON file and a folder of PNG files, whose colors number the segments of an image.

The things are read as instances, stuff as the semantic map of each image (`Dataset.load_semantic`). The PNG files lie
in the folder named as the JSON file, beside it, or in `masks=`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.agreement import LEFT_OUT
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.coco_panoptic_writer import write_dataset
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import as_flag, as_id, as_number, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import read_object
from mrcnn.data.formats.label_map import packed_colors, read_values, regions
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order, name_in
from mrcnn.structures.panoptic import IGNORED
from mrcnn.structures.records import StuffMap
from mrcnn.text import printable

_KEYS = ("images", "annotations", "categories", "segments_info")


class CocoPanoptic(Format):
    """COCO panoptic; see the module."""

    name = "coco_panoptic"
    looks_for = 'a JSON object with "images", "annotations" of "segments_info" and "categories"'

    def recognize(self, path: Path) -> bool:
        """Whether a file is of it, or those of a folder that has no other COCO file."""
        if path.is_file():
            return holds_keys(path, *_KEYS)
        others = [f for f in files_below(path, (".json",), 1, 50) if holds_keys(f, *_KEYS[:3])]
        return bool(others) and all(holds_keys(f, *_KEYS) for f in others)

    def splits(self, path: Path) -> dict[str, Path]:
        """By the names of the files."""
        files = [f for f in files_below(path, (".json",), 1, 50) if holds_keys(f, *_KEYS)] if path.is_dir() else []
        named = {canonical(name_in(file.stem) or file.stem): file for file in files}
        return {name: named[name] for name in in_order(list(named))}

    def load(
        self, path: Path, images: Path | None = None, *, validate: bool = True, masks: Path | None = None
    ) -> Dataset:
        """The data set of a JSON file.

        Args:
            path, images, validate: see `Format.load`.
            masks: folder of the PNG files.

        Raises:
            DataError: see `Format.load`.
        """
        content = read_object(path)
        entries = [value for key in _KEYS[:3] if isinstance(value := content.get(key), list)]
        if len(entries) < 3:
            raise DataError(f"{path}: expected the lists images, annotations and categories, got {short(content)}")
        collector = Collector(path, self.name, ())
        listed, annotations, categories = (
            _objects(collector, key, value) for key, value in zip(_KEYS, entries, strict=False)
        )
        classes = _classes(collector, categories)
        stuff = _stuff_classes(collector.dataset, categories, classes)
        lookup = ImageLookup(path, images, [str(e.get("file_name")) for e in listed])
        folder = Path(masks) if masks is not None else path.with_suffix("")
        maps = ImageFiles([folder if folder.is_dir() else path.parent])
        by_image = _by_image(collector, annotations, {as_id(entry.get("id")) for entry in listed})
        for entry in listed:
            image_id = as_id(entry.get("id"))
            name = str(entry.get("file_name"))
            sizes = [as_number(entry.get(key)) for key in ("height", "width")]
            stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
            image = collector.image(
                name if image_id is None else image_id,
                lookup.find(name),
                stated=stated,
                label=path,
                missing=lookup.missing(name),
                file_name=name,
            )
            if image is not None:
                _add(image, by_image.get(image_id), maps, classes, stuff)
        return collector.finish(validate=validate)

    def save(self, saver: Saver, **options: Any) -> None:
        """panoptic.json, panoptic/ and images/; or a .json file and the folder of its name, without images."""
        write_dataset(saver)


def _objects(collector: Collector, key: str, entries: list[Any]) -> list[dict[str, Any]]:
    """The objects of a list; what is none is reported."""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            message = f"{key}[{number}] is {short(entry)}, expected an object{LEFT_OUT}"
            collector.report("damaged label", message)
    return [entry for entry in entries if isinstance(entry, dict)]


def _classes(collector: Collector, categories: list[dict[str, Any]]) -> dict[int | str, str | None]:
    """Category id -> class name, None for stuff; the things become the collector's classes."""
    classes: dict[int | str, str | None] = {}
    for category in categories:
        number, name = as_id(category.get("id")), category.get("name")
        if number is None or not isinstance(name, str):
            message = f"category {short(category)}, expected an id and a name{LEFT_OUT}"
            collector.report("unknown class", message)
            continue
        classes[number] = name if category.get("isthing", 1) else None
        if classes[number] is not None:
            collector.add_class(name, number if isinstance(number, int) else None)
    return classes


def _stuff_classes(
    dataset: Dataset, categories: list[dict[str, Any]], classes: dict[int | str, str | None]
) -> dict[int | str, int]:
    """Category id -> 0 of a thing, 1..S of stuff, whose names and ids the data set gets, by ascending ids."""
    stuff = [(number, c["name"]) for c in categories if (number := as_id(c.get("id"))) in classes]
    stuff = [(number, name) for number, name in dict(stuff).items() if classes[number] is None]
    stuff.sort(key=lambda entry: (isinstance(entry[0], str), entry[0]))
    if len(stuff) < IGNORED:
        dataset.stuff_names = tuple(printable(name) for _, name in stuff)
        ids = tuple(number for number, _ in stuff if isinstance(number, int))
        dataset.stuff_category_ids = ids if len(ids) == len(stuff) else ()
    return dict.fromkeys(classes, 0) | {number: k for k, (number, _) in enumerate(stuff, start=1)}


def _by_image(
    collector: Collector, annotations: list[dict[str, Any]], image_ids: set[int | str | None]
) -> dict[int | str | None, dict[str, Any]]:
    """The annotation of each image."""
    by_image: dict[int | str | None, dict[str, Any]] = {}
    for annotation in annotations:
        image_id = as_id(annotation.get("image_id"))
        if image_id not in image_ids:
            message = (
                f"annotation of image {short(annotation.get('image_id'))}, which is not among the images{LEFT_OUT}"
            )
            collector.report("label without image", message, image_id)
        elif image_id in by_image:
            collector.report("image id twice", f"two annotations of image {image_id}; the first is kept", image_id)
        else:
            by_image[image_id] = annotation
    return by_image


def _add(
    image: ImageObjects,
    annotation: dict[str, Any] | None,
    maps: ImageFiles,
    classes: dict[int | str, str | None],
    stuff: dict[int | str, int],
) -> None:
    if annotation is None:
        image.report("image without label", "no annotation; kept without objects")
        return
    name, segments = annotation.get("file_name"), annotation.get("segments_info")
    file = maps.find(name) if isinstance(name, str) else None
    try:
        if file is None or not isinstance(segments, list):
            raise DataError(maps.missing(str(name)) if file is None else f"segments_info is {short(segments)}")
        values = read_values(file)
        ids = packed_colors(values) if values.ndim == 3 else values.astype(np.int64)
        if ids.shape != (image.height, image.width):
            size = f"{ids.shape[0]} x {ids.shape[1]}"
            raise DataError(f"{file}: {size}, its image is {image.height} x {image.width}")
    except DataError as error:
        image.discard("damaged label", str(error))
        return
    present = {region.value: region for region in regions(ids)}
    stuff_ids: dict[int, int] = {}
    if image.collector.dataset.stuff_names:
        image.stuff = StuffMap(str(file), stuff_ids)
    for segment in segments:
        if not isinstance(segment, dict):
            image.leave_out("damaged label", f"segment {short(segment)}, expected an object")
            continue
        number, category = as_id(segment.get("id")), as_id(segment.get("category_id"))
        if category is None or category not in classes:
            message = f"category_id {short(segment.get('category_id'))} is not among the categories"
            image.leave_out("unknown class", message, number)
            continue
        class_name = classes[category]
        if isinstance(number, int):
            stuff_ids[number] = stuff[category]
        if class_name is None:  # stuff
            continue
        region = present.get(number) if isinstance(number, int) else None
        if region is None:
            image.leave_out("mask without a pixel", f"segment {short(number)} has no pixel in {file}", number)
            continue
        is_crowd = bool(as_flag(segment.get("iscrowd")))
        image.add_mask(class_name, region.bits, region.top, region.left, is_crowd=is_crowd, record=number)
