"""COCO panoptic: a JSON file and a folder of PNG files, whose colors number the segments of an image.

The things are read as instances; stuff has none. The PNG files lie in the folder named as the JSON file, beside it, or
in `masks=`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector, ImageObjects
from mrcnn.data.formats.fields import as_flag, as_id, as_number, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.label_files import read_object
from mrcnn.data.formats.label_map import packed_colors, read_values, regions
from mrcnn.data.formats.splits import canonical, in_order, name_in

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
        listed, annotations, categories = ([e for e in value if isinstance(e, dict)] for value in entries)
        things = {as_id(c.get("id")): str(c.get("name")) for c in categories if c.get("isthing", 1)}
        collector = Collector(path, self.name, list(dict.fromkeys(things.values())))
        lookup = ImageLookup(path, images, [str(e.get("file_name")) for e in listed])
        folder = Path(masks) if masks is not None else path.with_suffix("")
        maps = ImageFiles([folder if folder.is_dir() else path.parent])
        by_image: dict[Any, dict[str, Any]] = {as_id(a.get("image_id")): a for a in annotations}
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
                _add(image, by_image.get(image_id), maps, things)
        return collector.finish(validate=validate)


def _add(image: ImageObjects, annotation: dict[str, Any] | None, maps: ImageFiles, things: dict[Any, str]) -> None:
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
    for segment in segments:
        number = as_id(segment.get("id")) if isinstance(segment, dict) else None
        category = as_id(segment.get("category_id")) if isinstance(segment, dict) else None
        if category not in things:
            continue
        region = present.get(number) if isinstance(number, int) else None
        if region is None:
            image.leave_out("mask without a pixel", f"segment {short(number)} has no pixel in {file}", number)
            continue
        is_crowd = bool(as_flag(segment.get("iscrowd")))
        image.add_mask(things[category], region.bits, region.top, region.left, is_crowd=is_crowd, record=number)
