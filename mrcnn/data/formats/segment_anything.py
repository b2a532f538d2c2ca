"""Segment Anything (SA-1B): a JSON file beside each image, with masks as RLE and no classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import as_id, as_number, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.instance_map import CLASS
from mrcnn.data.formats.label_files import keep_unlabeled, read_labels, read_object

_SAMPLED = 10


class SegmentAnything(Format):
    """JSON of SA-1B; see the module."""

    name = "segment_anything"
    looks_for = 'a JSON file with "image" and "annotations" of RLE beside each image'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one of a folder, is of SA-1B."""
        files = [path] if path.is_file() else files_below(path, (".json",), 0, _SAMPLED)
        return any(not holds_keys(f, "images") and holds_keys(f, "image", "annotations", "file_name") for f in files)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        root = path.parent if path.is_file() else path
        collector = Collector(path, self.name, [CLASS])
        files = ImageFiles([images or root])
        used = read_labels(collector, [path] if path.is_file() else files_below(path, (".json",)), root, files, _read)
        if path.is_dir():
            keep_unlabeled(collector, files, used, images or root)
        return collector.finish(validate=validate)

    def numbers_classes(self, dataset: Dataset) -> bool:
        """They have no name."""
        return dataset.class_names == (CLASS,)


def _read(label: Path) -> tuple[str, tuple[int, int] | None, Callable[[ImageObjects], None]]:
    content = read_object(label)
    image, annotations = content.get("image"), content.get("annotations")
    if not isinstance(image, dict) or not isinstance(annotations, list):
        raise DataError(f'{label}: expected "image" and a list "annotations", got {short(content)}')
    sizes = [as_number(image.get(key)) for key in ("height", "width")]
    name = image.get("file_name")

    def add(objects: ImageObjects) -> None:
        for number, entry in enumerate(annotations):
            rle = entry.get("segmentation") if isinstance(entry, dict) else None
            if not isinstance(rle, (dict, list)):
                objects.leave_out("segmentation", f"expected RLE, got {short(rle)}", number)
                continue
            record = as_id(entry.get("id"))
            record = number if record is None else record
            if isinstance(rle, dict):
                objects.add(CLASS, rle=rle, record=record)
            else:
                objects.add(CLASS, polygons=rle, record=record)

    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    return name if isinstance(name, str) else label.stem, stated, add
