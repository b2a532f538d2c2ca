"""labelme: a JSON file beside each image, or with the image in it.

Polygons, rectangles (two corners or four), rotated rectangles, circles and masks; shapes of one `group_id` and one
label are parts of one object. Points and lines have no area and are left out ("no area"). An image that is not there is
taken from the label's "imageData", where labelme puts a copy of it by default.

Ref: the files of labelme 3 to 5, https://github.com/wkentaro/labelme.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.fields import as_number, parse_json, read_text, short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_files import read_object
from mrcnn.data.formats.labelme_writer import write_labelme
from mrcnn.data.formats.saving import Saver
from mrcnn.data.image_file import open_image
from mrcnn.data.images import opened_shape, read_opened
from mrcnn.structures.records import Polygons

_CIRCLE_POINTS = 72
_SAMPLED = 20
_MAX_MASK = 2**26
_NO_AREA = ("point", "points", "line", "linestrip")


class LabelMeDataset(Dataset):
    """Images of which some lie in their label files, as "imageData".

    Attributes:
        embedded: image id -> label file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedded: dict[int | str, Path] = {}

    @property
    def _reads_files(self) -> bool:
        return super()._reads_files and not self.embedded

    @property
    def _reads_reduced(self) -> bool:
        return super()._reads_files

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        image_id = self._records[index].image_id
        if image_id not in self.embedded:
            return super()._read(index, least_shape)
        label = self.embedded[image_id]
        data = _image_data(read_object(label), label)
        if data is None:
            raise DataError(f'{label}: "imageData" is gone, of image {image_id!r}')
        name = f'{label}: "imageData"'
        return read_opened(io.BytesIO(data), name, self.image_shape(index), least_shape, self.read_options)


class LabelMe(Format):
    """labelme JSON; see the module."""

    name = "labelme"
    looks_for = 'a JSON file with "shapes" and "imagePath" beside each image'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or some of the JSON files of a folder, are labelme's."""
        if path.is_file():
            return holds_keys(path, "shapes", "imagePath")
        sample = files_below(path, (".json",), 1, _SAMPLED)
        return any(holds_keys(file, "shapes", "imagePath") for file in sample) and not _only_in_splits(path, sample)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder of JSON files, or of one.

        Raises:
            DataError: see `Format.load`.
        """
        root = path.parent if path.is_file() else path
        labels = [path] if path.is_file() else files_below(path, (".json",))
        dataset = LabelMeDataset()
        collector = Collector(path, self.name, dataset=dataset)
        files = ImageFiles([folder for folder in (images, root) if folder is not None])
        used = set()
        for label in labels:
            file = _read_label(collector, dataset, label, root, files)
            if file is not None:
                used.add(file)
        for file in files.files if path.is_dir() else ():
            if file not in used and (images is None or images in file.parents):
                collector.report("image without label", f"{file.name} has no label; kept without objects", path=file)
                collector.image(relative_id(file, images or root), file)
        return collector.finish(validate=validate)

    def save(self, saver: Saver, **options: Any) -> None:
        """A JSON file beside each image; masks that are no polygons as PNG in it."""
        write_labelme(saver)


def _only_in_splits(path: Path, sample: list[Path]) -> bool:
    """Whether all labels lie in folders named as splits are, of which each is then a data set."""
    from mrcnn.data.formats.splits import split_folders

    folders = set(split_folders(path).values())
    return bool(folders) and all(any(folder in file.parents for folder in folders) for file in sample)


def _read_label(
    collector: Collector, dataset: LabelMeDataset, label: Path, root: Path, files: ImageFiles
) -> Path | None:
    """Add the image of one file; its path, or None."""
    image_id = relative_id(label, root)
    try:
        content = parse_json(read_text(label), str(label))
    except DataError as error:
        collector.report("damaged label", f"{error}; its image is left out", image_id, path=label)
        return files.find(image_id)
    if not isinstance(content, dict) or "shapes" not in content:
        return None  # a JSON file of something else
    if not isinstance(content["shapes"], list):
        message = f'"shapes" is {short(content["shapes"])}, expected a list; its image is left out'
        collector.report("damaged label", message, image_id, path=label)
        return files.find(image_id)
    name = content.get("imagePath")
    name = name if isinstance(name, str) else ""
    file = _image_file(label, name, files)
    stated = [as_number(content.get(key)) for key in ("imageHeight", "imageWidth")]
    size = None if None in stated else (int(stated[0] or 0), int(stated[1] or 0))
    file_name = PurePosixPath(name.replace("\\", "/")).name or None
    missing = files.missing(name or label.stem)
    shape, orientation = None, 1
    if file is None:
        try:
            data = _image_data(content, label)
            if data is not None:
                shape, orientation = opened_shape(io.BytesIO(data), f'{label}: "imageData"')
        except DataError as error:
            missing = f"{missing}, and {error}"
    objects = collector.image(
        image_id,
        file,
        stated=size,
        shape=shape,
        orientation=orientation,
        label=label,
        missing=missing,
        file_name=file_name,
    )
    if objects is not None:
        if file is None:
            dataset.embedded[image_id] = label
        _add_shapes(objects, content["shapes"])
    return file


def _image_data(content: dict[str, Any], label: Path) -> bytes | None:
    """The file that a label holds; None: it holds none.

    Raises:
        DataError: it is no base64.
    """
    text = content.get("imageData")
    if not text:
        return None
    try:
        if not isinstance(text, str):
            raise ValueError(f"expected a text, got {short(text)}")
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise DataError(f'{label}: "imageData" is not base64 ({error})') from error


def _image_file(label: Path, name: str, files: ImageFiles) -> Path | None:
    plain = PurePosixPath(name.replace("\\", "/"))
    beside = label.parent / plain
    if name and beside.is_file():
        return beside
    own = label.parent / plain.name
    if name and own.is_file():
        return own
    return (files.find(name) if name else None) or files.find(label.stem)


def _add_shapes(objects: ImageObjects, shapes: list[Any]) -> None:
    groups: dict[tuple[str, Any], list[tuple[int, Polygons | tuple[np.ndarray, int, int]]]] = {}
    for number, shape in enumerate(shapes, start=1):
        if not isinstance(shape, dict):
            objects.leave_out("shape", f"expected an object, got {short(shape)}", number)
            continue
        name = shape.get("label")
        name = name if isinstance(name, str) else "" if name is None else str(name)
        kind = shape.get("shape_type") or "polygon"
        if kind in _NO_AREA:
            objects.leave_out("no area", f"a {kind} has no area", number)
            continue
        try:
            outline = _mask(shape) if kind == "mask" else [_outline(shape, kind)]
        except DataError as error:
            objects.leave_out("shape", str(error), number)
            continue
        group = shape.get("group_id")
        key = (name, group if isinstance(group, (int, str)) else f"shape {number}")
        groups.setdefault(key, []).append((number, outline))
    for (name, _), parts in groups.items():
        _add_object(objects, name, parts)


def _add_object(
    objects: ImageObjects, name: str, parts: list[tuple[int, Polygons | tuple[np.ndarray, int, int]]]
) -> None:
    record = parts[0][0]
    polygons = [polygon for _, part in parts if isinstance(part, list) for polygon in part]
    masks = [part for _, part in parts if not isinstance(part, list)]
    objects.add_parts(name, polygons, masks, record=record)


def _points(shape: dict[str, Any], kind: str) -> np.ndarray:
    """f64[n, 2].

    Raises:
        DataError: the points are no list of pairs of numbers.
    """
    points = shape.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f'{kind}: "points" is {short(points)}, expected pairs of x and y')
    try:
        values = np.array(points)
    except (ValueError, OverflowError):
        values = np.array(None)
    if values.dtype.kind not in "if" or not np.isfinite(values).all():
        raise DataError(f"{kind}: a coordinate that is not a finite number")
    return values.astype(np.float64).reshape(-1, 2)


def _outline(shape: dict[str, Any], kind: str) -> np.ndarray:
    points = _points(shape, kind)
    if kind in ("polygon", "rotation") or (kind in ("rectangle", "oriented_rectangle") and len(points) > 2):
        return points
    if kind not in ("rectangle", "circle"):
        raise DataError(f"shape {short(kind)}, expected polygon, rectangle, circle or mask")
    if len(points) != 2:
        raise DataError(f"{kind} of {len(points)} points, expected 2")
    (x1, y1), (x2, y2) = points.tolist()
    if kind == "rectangle":
        return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    radius = math.hypot(x2 - x1, y2 - y1)
    angle = np.arange(_CIRCLE_POINTS) * (2 * math.pi / _CIRCLE_POINTS)
    return np.stack([x1 + radius * np.cos(angle), y1 + radius * np.sin(angle)], axis=1)


def _mask(shape: dict[str, Any]) -> tuple[np.ndarray, int, int]:
    """bool[h, w], first row and column of a PNG in base64 between two corners.

    Raises:
        DataError: it is not that.
    """
    points, text = _points(shape, "mask"), shape.get("mask")
    if len(points) < 1 or not isinstance(text, str):
        raise DataError('mask: expected two corners in "points" and a PNG in "mask"')
    try:
        data = base64.b64decode(text, validate=False)
        with open_image(io.BytesIO(data), "mask") as image:
            if image.width * image.height > _MAX_MASK:
                raise DataError(f"mask of {image.height} x {image.width}, more than any image")
            bits = np.array(image.convert("L") if image.mode != "1" else image) > 0
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"mask: not a PNG in base64 ({error})") from error
    left, top = (round(float(v)) for v in points.min(axis=0))
    return bits, top, left
