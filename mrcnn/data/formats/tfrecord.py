"""TFRecord shards of `tf.train.Example` as the TensorFlow Object Detection API writes them, masks as PNG.

The records are read without TensorFlow: their lengths are checked, their content is taken as it is. Images stay in
their shards and are decoded when they are needed.

Features: image/encoded, image/height, image/width, image/filename, image/source_id; image/object/bbox/{xmin, xmax,
ymin, ymax} as fractions, image/object/class/{text, label}, image/object/mask, image/object/is_crowd,
image/object/keypoint/{x, y, visibility}. Names of classes are the texts, else those of a label map (*.pbtxt) beside the
shards.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.checksum import masked_crc
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.fields import read_text
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.proto import Features, parse_example
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order, name_in
from mrcnn.data.formats.tfrecord_writer import write_tfrecord
from mrcnn.data.image_file import open_image
from mrcnn.data.images import read_opened
from mrcnn.data.read_options import MAX_PIXELS
from mrcnn.data.rle import mask_to_rle

_HEADER = struct.Struct("<QI")
_LONGEST = 2**31
_AGREE = 0.01  # pixels
_SHARD = re.compile(r"(?:\.tf_?records?|\.record)(?:-\d+-of-\d+)?$|-\d+-of-\d+$", re.IGNORECASE)


class Place(NamedTuple):
    """Where a record is."""

    file: Path
    offset: int
    length: int


class TFRecordDataset(Dataset):
    """Images that lie in TFRecord shards."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int | str, Place] = {}

    def load_image(self, index: int) -> np.ndarray:
        """Image number `index`, u8[h, w, 3], decoded from its record."""
        return self._read(index)

    @property
    def _reads_reduced(self) -> bool:
        return type(self).load_image is TFRecordDataset.load_image and "load_image" not in vars(self)

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        image_id = self._records[index].image_id
        place = self.places[image_id]
        data = parse_example(read_record(place), str(place.file)).texts("image/encoded")[0]
        name = f"{place.file}: image {image_id}"
        return read_opened(BytesIO(data), name, self.image_shape(index), least_shape, self.read_options)


class TFRecord(Format):
    """TFRecord shards; see the module."""

    name = "tfrecord"
    looks_for = "files of records of tf.train.Example with image/encoded"

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one of a folder, begins with such a record."""
        return bool(_shards(path, 1))

    def splits(self, path: Path) -> dict[str, Path]:
        """By the names of the shards."""
        return dict.fromkeys(in_order(list(_by_split(path))), path) if path.is_dir() else {}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """The shards of a split."""
        shards = _by_split(path).get(split)
        return _load(path, _shards(path) if shards is None else shards, validate)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a shard, or of the shards of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        return _load(path, [path] if path.is_file() else _shards(path), validate)

    def save(self, saver: Saver, *, shards: int = 1, name: str = "train") -> None:
        """Shards NAME-CHECKSUM.tfrecord-00000-of-00008; see `formats.tfrecord_writer`."""
        write_tfrecord(saver, shards, name)


def _shards(path: Path, limit: int | None = None) -> list[Path]:
    candidates = [path] if path.is_file() else [f for f in files_below(path, ("",), 1) if _SHARD.search(f.name)]
    shards = []
    for file in candidates:
        if _is_shard(file):
            shards.append(file)
            if limit is not None and len(shards) >= limit:
                break
    return shards


def _by_split(path: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for shard in _shards(path):
        name = name_in(_SHARD.sub("", shard.name)) or name_in(shard.parent.name if shard.parent != path else "")
        if name is not None:
            splits.setdefault(canonical(name), []).append(shard)
    return splits


def _is_shard(file: Path) -> bool:
    try:
        with open(file, "rb") as opened:
            header = opened.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return False
            length, check = _HEADER.unpack(header)
            return masked_crc(header[:8]) == check and b"image/encoded" in opened.read(min(length, 2**26))
    except OSError:
        return False


def records(file: Path) -> Iterator[tuple[Place, bytes]]:
    """The records of a shard.

    Raises:
        DataError: it is cut off, or a length is damaged; what comes before has been given.
    """
    with open(file, "rb") as opened:
        number = 0
        while header := opened.read(_HEADER.size):
            number += 1
            where = f"{file}: record {number}"
            if len(header) < _HEADER.size:
                raise DataError(f"{where}: the file is cut off")
            length, check = _HEADER.unpack(header)
            if masked_crc(header[:8]) != check or length > _LONGEST:
                raise DataError(f"{where}: its length is damaged; no record after it can be read")
            offset = opened.tell()
            data = opened.read(length)
            if len(data) < length or len(opened.read(4)) < 4:
                raise DataError(f"{where}: the file is cut off")
            yield Place(file, offset, length), data


def read_record(place: Place) -> bytes:
    """The content of one record.

    Raises:
        DataError: the file is missing or shorter than it was.
    """
    try:
        with open(place.file, "rb") as opened:
            opened.seek(place.offset)
            data = opened.read(place.length)
    except OSError as error:
        raise DataError(f"{place.file}: cannot be read ({error.strerror})") from error
    if len(data) < place.length:
        raise DataError(f"{place.file}: the file is cut off")
    return data


def _load(path: Path, shards: list[Path], validate: bool) -> Dataset:
    names = _label_map(path if path.is_dir() else path.parent)
    dataset = TFRecordDataset()
    collector = Collector(path, "tfrecord", names.values() if names else None, dataset=dataset)
    for shard in shards:
        number = 0
        try:
            for number, (place, data) in enumerate(records(shard), start=1):
                _read(collector, dataset, place, data, number, names)
        except DataError as error:
            collector.report("damaged label", str(error), path=shard)
        if not number:
            collector.report("damaged label", f"{shard}: no record", path=shard)
    return collector.finish(validate=validate)


def _read(
    collector: Collector, dataset: TFRecordDataset, place: Place, data: bytes, number: int, names: Mapping[int, str]
) -> None:
    where = f"{place.file.name} record {number}"
    try:
        features = parse_example(data, f"{place.file}: record {number}")
        encoded = features.texts("image/encoded")
        if not encoded:
            raise DataError("no image/encoded")
        with open_image(BytesIO(encoded[0]), where) as image:
            shape = (image.height, image.width)
    except DataError as error:
        collector.report("damaged label", f"{error}; left out", where, path=place.file)
        return
    image_id = _image_id(features, where)
    if image_id in collector._image_ids:
        image_id = where
    file_name = next((t.decode("utf-8", "replace") for t in features.texts("image/filename") if t), None)
    objects = collector.image(image_id, None, shape=shape, label=place.file, file_name=file_name or f"{image_id}.png")
    if objects is None:
        return
    dataset.places[image_id] = place
    try:
        _add_objects(objects, features, names)
    except DataError as error:
        objects.discard("damaged label", str(error))


def _image_id(features: Features, where: str) -> int | str:
    for key in ("image/source_id", "image/filename"):
        for text in features.texts(key):
            value = text.decode("utf-8", "replace").strip()
            if value:
                return int(value) if value.isdecimal() and len(value) < 19 and str(int(value)) == value else value
    return where


def _add_objects(image: ImageObjects, features: Features, names: Mapping[int, str]) -> None:
    sides = [features.floats(f"image/object/bbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    number = len(sides[0])
    if any(len(side) != number for side in sides):
        raise DataError(f"boxes with {[len(side) for side in sides]} coordinates")
    texts, labels = features.texts("image/object/class/text"), features.integers("image/object/class/label")
    masks, crowd = features.texts("image/object/mask"), features.integers("image/object/is_crowd")
    if masks and len(masks) != number:
        raise DataError(f"{len(masks)} masks and {number} boxes")
    joints = _joints(image, features, number)
    boxes = np.stack(sides, axis=1).astype(np.float64) * ((image.width, image.height) * 2)
    pixels = np.asarray(features.floats("image/object/bbox/pixels"), np.float64)
    if pixels.size == boxes.size and number:
        pixels = pixels.reshape(-1, 4)[:, [1, 0, 3, 2]]
        boxes = np.where(abs(pixels - boxes) < _AGREE, pixels, boxes)
    for k in range(number):
        name = texts[k].decode("utf-8", "replace") if k < len(texts) else None
        if name is None and k < len(labels):
            name = names.get(labels[k], str(labels[k]))
        box = boxes[k].tolist()
        is_crowd = bool(crowd[k]) if k < len(crowd) else False
        keypoints = None if joints is None else joints[k]
        if not masks:
            image.add(name, box=box, is_crowd=is_crowd, keypoints=keypoints, record=k)
            continue
        try:
            bits = _mask(masks[k], image.height, image.width)
        except DataError as error:
            image.leave_out("damaged label", str(error), k)
            continue
        if bits.any():
            image.add(name, rle=mask_to_rle(bits), box=box, is_crowd=is_crowd, keypoints=keypoints, record=k)
        else:
            image.leave_out("mask without a pixel", "mask without a pixel", k)


def _joints(image: ImageObjects, features: Features, number: int) -> np.ndarray | None:
    """f64[n, J, 3], or None."""
    x, y = (features.floats(f"image/object/keypoint/{axis}") for axis in "xy")
    if not len(x) or not number or len(x) % number or len(x) != len(y):
        return None
    seen = features.integers("image/object/keypoint/visibility")
    visible = np.asarray(seen if len(seen) == len(x) else [2] * len(x), np.float64)
    points = np.stack([np.nan_to_num(x) * image.width, np.nan_to_num(y) * image.height, visible], axis=1)
    dataset = image.collector.dataset
    if not dataset.keypoint_names:
        texts = features.texts("image/object/keypoint/text")[: len(x) // number]
        default = [str(k) for k in range(len(x) // number)]
        dataset.keypoint_names = tuple(t.decode("utf-8", "replace") for t in texts) or tuple(default)
    points = points.reshape(number, -1, 3)
    return points if points.shape[1] == len(dataset.keypoint_names) else None


def _mask(data: bytes, height: int, width: int) -> np.ndarray:
    """bool[h, w] of a PNG.

    Raises:
        DataError: it is damaged or of another size.
    """
    with open_image(BytesIO(data), "mask") as image:
        if image.width * image.height > MAX_PIXELS or (image.height, image.width) != (height, width):
            raise DataError(f"mask of {image.height} x {image.width}, its image is {height} x {width}")
        try:
            return np.array(image.convert("L") if image.mode not in ("L", "1", "I;16", "I") else image) > 0
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"mask: damaged or cut off ({error})") from error


def _label_map(folder: Path) -> dict[int, str]:
    """Number -> name of the items of a *.pbtxt."""
    names: dict[int, str] = {}
    for file in files_below(folder, (".pbtxt",), 0):
        for item in re.findall(r"item\s*\{([^}]*)\}", read_text(file)):
            number, name = re.search(r"\bid\s*:\s*(\d+)", item), re.search(r"\bname\s*:\s*['\"]([^'\"]*)['\"]", item)
            shown = re.search(r"\bdisplay_name\s*:\s*['\"]([^'\"]*)['\"]", item)
            if number and (name or shown):
                names[int(number[1])] = (name or shown)[1]  # type: ignore[index]
    return dict(sorted(names.items()))
