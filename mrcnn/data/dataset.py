"""`Dataset`: images and their objects, the class users subclass.

Two ways to make one: read annotation files (`mrcnn.data.formats`), or subclass and say where images and masks come
from:

    class Nuclei(Dataset):
        def __init__(self, folder):
            super().__init__()
            self.add_class("nuclei", 1, "nucleus")
            for i, path in enumerate(sorted(glob(f"{folder}/*.png"))):
                self.add_image("nuclei", image_id=i, path=path)

        def load_mask(self, index):
            masks = ...  # bool[height, width, n]
            return masks, np.ones(masks.shape[-1], np.int32)

Class ids are 1..C in the order of `add_class`; 0 is background and has no name: `class_names[k - 1]` is class k.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError as DataError
from mrcnn.data.errors import DatasetIssue as DatasetIssue
from mrcnn.data.images import image_shape, read_image
from mrcnn.data.rasterize import annotation_mask, check_rle, mask_to_rle
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord

logger = logging.getLogger("mrcnn")


class Dataset:
    """Images, their objects and the names of the classes.

    Subclasses override `load_image`, `load_mask` or both, or pass `annotations` to `add_image`. Where `load_mask` is
    overridden the annotations are derived from it when they are first needed and kept as RLE.

    Attributes:
        channels: of every image; another number needs a `load_image` of your own.
        issues: what a reader mended or left out; see `DatasetIssue`.
        keypoint_names: names of the J joints; empty where the set has none.
        path: the annotation file, where there is one; named in messages.
    """

    channels: int = 3

    def __init__(self) -> None:
        self.issues: list[DatasetIssue] = []
        self.keypoint_names: tuple[str, ...] = ()
        self.path: str | None = None
        self._classes: list[tuple[str, int, str]] = []
        self._records: list[ImageRecord] = []
        self._ids: set[int | str] = set()
        self._derived: dict[int, tuple[Annotation, ...]] = {}
        self._shapes: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    # Describing the set

    def add_class(self, source: str, class_id: int, class_name: str) -> None:
        """Adds a class; its class id in this package is 1 for the first, 2 for the next, ...

        Args:
            source: name of the collection, e.g. "coco".
            class_id: the class's id there; adding the same pair again does nothing.
            class_name: shown to people.
        """
        if any((s, i) == (source, class_id) for s, i, _ in self._classes):
            return
        self._classes.append((source, int(class_id), str(class_name)))

    def add_image(
        self,
        source: str,
        image_id: int | str,
        path: str | None,
        *,
        width: int | None = None,
        height: int | None = None,
        annotations: Sequence[Annotation] = (),
        **info: Any,
    ) -> None:
        """Adds an image.

        Args:
            source: name of the collection.
            image_id: unique within the set.
            path: of the image file; None where `load_image` is overridden.
            width, height: if known; reading then checks the image against them.
            annotations: its objects, with class ids of this set (1..C).
            **info: anything else; kept in `image_info` and in the record's `extra`.

        Raises:
            DataError: the id is taken.
        """
        if image_id in self._ids:
            raise DataError(f"add_image: image id {image_id!r} is given twice")
        self._ids.add(image_id)
        path = None if path is None else str(path)
        self._records.append(ImageRecord(image_id, path, height, width, tuple(annotations), source, info))

    def prepare(self) -> None:
        """Does nothing: a set is ready as it is. Here so that scripts which call it keep working."""

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:5]) + (", ..." if self.num_classes > 5 else "")
        return f"{type(self).__name__}({len(self)} images, {self.num_classes} classes: {names})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the things; `class_names[k - 1]` is class k."""
        return tuple(name for _, _, name in self._classes)

    @property
    def num_classes(self) -> int:
        """C, without background."""
        return len(self._classes)

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The id of each class in its source, class 1 first."""
        return tuple(class_id for _, class_id, _ in self._classes)

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The ids of the images, in order."""
        return tuple(record.image_id for record in self._records)

    @property
    def image_info(self) -> list[dict[str, Any]]:
        """Everything `add_image` was told, one dict an image: id, source, path, width, height and its extras."""
        return [
            {"id": r.image_id, "source": r.source, "path": r.path, "width": r.width, "height": r.height, **r.extra}
            for r in self._records
        ]

    def map_source_class_id(self, source_class_id: str) -> int:
        """The class id of "source.id", e.g. "coco.18".

        Raises:
            DataError: no such class was added.
        """
        for number, (source, class_id, _) in enumerate(self._classes, start=1):
            if f"{source}.{class_id}" == source_class_id:
                return number
        known = ", ".join(f"{s}.{i}" for s, i, _ in self._classes[:8])
        raise DataError(f"no class {source_class_id!r}; there are {known}")

    # Reading it

    def load_image(self, index: int) -> np.ndarray:
        """Image number `index` as u8[h, w, 3], RGB.

        Raises:
            DataError: the file is missing, damaged or of another size than recorded; names file and image id.
        """
        return self._read(index)

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        record = self._records[index]
        if record.path is None:
            raise DataError(f"image {record.image_id!r} has no path; override load_image or give one to add_image")
        known = record.height is not None and record.width is not None
        try:
            return read_image(record.path, (record.height, record.width) if known else None, least_shape)
        except DataError as error:
            raise DataError(f"{error} [image id {record.image_id!r}]") from error

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The objects of image number `index`.

        Returns:
            masks bool[h, w, n] and class ids i32[n], 1..C. Empty: bool[h, w, 0] and i32[0].
        """
        height, width = self.image_shape(index)
        annotations = self._records[index].annotations
        masks = np.zeros((height, width, len(annotations)), bool)
        for i, annotation in enumerate(annotations):
            masks[:, :, i] = annotation_mask(annotation, height, width)
        return masks, np.array([a.class_id for a in annotations], np.int32)

    @property
    def _reads_files(self) -> bool:
        """Whether images come from their files, not from a `load_image` of a subclass or of this object."""
        return type(self).load_image is Dataset.load_image and "load_image" not in vars(self)

    def _get_image(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        """`load_image`, checked, for a subclass may return anything; or, where a smaller one will do, perhaps that.

        See `read_image` for `least_shape`.
        """
        if least_shape is not None and self._reads_files:
            return self._read(index, least_shape)
        image = np.asarray(self.load_image(index))
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or 0 in image.shape:
            raise DataError(
                f"image {self._records[index].image_id!r}: load_image gave {image.dtype}{list(image.shape)}, "
                f"expected uint8[height, width, {self.channels}]"
            )
        self._shapes[index] = image.shape[:2]
        return image

    def image_shape(self, index: int) -> tuple[int, int]:
        """(height, width) of an image: from its record, else from the file's header, else by loading it."""
        record = self._records[index]
        if record.height is not None and record.width is not None:
            return int(record.height), int(record.width)
        if index not in self._shapes:
            if record.path is not None and type(self).load_image is Dataset.load_image:
                self._shapes[index] = image_shape(record.path)
            else:
                self._get_image(index)
        return self._shapes[index]

    def record(self, index: int) -> ImageRecord:
        """Image number `index` with its annotations, derived ones included."""
        record = self._records[index]
        if type(self).load_mask is Dataset.load_mask:
            return record
        height, width = self.image_shape(index)
        return dataclasses.replace(record, annotations=self.annotations(index), height=height, width=width)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """The objects of image number `index`, masks not rasterized.

        Raises:
            DataError: an overridden `load_mask` gave arrays that do not fit the image or the classes.
        """
        if type(self).load_mask is Dataset.load_mask:
            return self._records[index].annotations
        with self._lock:
            found = self._derived.get(index)
        if found is None:
            found = self._derive(index)
            with self._lock:
                self._derived[index] = found
        return found

    def _derive(self, index: int) -> tuple[Annotation, ...]:
        where = f"image {self._records[index].image_id!r}: load_mask gave"
        masks, class_ids = self.load_mask(index)
        masks, class_ids = np.asarray(masks), np.asarray(class_ids).reshape(-1)
        height, width = self.image_shape(index)
        if masks.size == 0 and not class_ids.size:
            return ()
        if masks.ndim != 3 or masks.shape[:2] != (height, width):
            raise DataError(f"{where} masks of shape {masks.shape}, expected ({height}, {width}, n)")
        if len(class_ids) != masks.shape[2]:
            raise DataError(f"{where} {masks.shape[2]} masks and {len(class_ids)} class ids")
        if class_ids.min() < 1 or class_ids.max() > self.num_classes:
            raise DataError(f"{where} class ids {sorted(set(class_ids.tolist()))}, expected 1..{self.num_classes}")
        annotations = []
        for i, class_id in enumerate(class_ids.tolist()):
            mask = masks[:, :, i].astype(bool)
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not rows.size:
                continue  # an object without a pixel cannot be learnt or found
            box = (float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))
            annotations.append(Annotation(class_id, box, mask_to_rle(mask), annotation_id=i, area=float(mask.sum())))
        return tuple(annotations)

    def instances(self, index: int) -> Instances:
        """The ground truth of image number `index` with full masks, as drawing and evaluation take it."""
        annotations = self.annotations(index)
        height, width = self.image_shape(index)
        if not annotations:
            return dataclasses.replace(Instances.empty((height, width)), scores=None, is_crowd=np.zeros(0, bool))
        joints = len(self.keypoint_names)
        return Instances(
            boxes=np.array([a.box for a in annotations], np.float32),
            class_ids=np.array([a.class_id for a in annotations], np.int32),
            image_shape=(height, width),
            masks=np.stack([annotation_mask(a, height, width) for a in annotations]),
            keypoints=stack_keypoints(annotations, joints) if joints else None,
            is_crowd=np.array([a.is_crowd for a in annotations], bool),
        )

    def validate(self, pixels: bool = False) -> list[DatasetIssue]:
        """All that is wrong with the set: the reader's `issues` and what a look at every file adds.

        Checks that each image exists, opens and has the recorded size; that class ids are 1..C; that boxes are
        finite and not empty; that RLEs fit their image.

        Args:
            pixels: decode every image instead of reading headers only; finds those cut off.
        """
        issues = list(self.issues)
        own_images = type(self).load_image is not Dataset.load_image
        for index, record in enumerate(self._records):

            def add(kind: str, message: str, annotation: Annotation | None = None, record=record) -> None:
                path = record.path if annotation is None else self.path
                number = None if annotation is None else annotation.annotation_id
                issues.append(DatasetIssue(kind, message, record.image_id, number, path, fatal=True))

            try:
                if own_images or pixels:
                    self._get_image(index)
                elif record.path is None:
                    add("no image", "has neither a path nor a load_image of its own")
                    continue
                else:
                    height, width = image_shape(record.path)
                    stated = (record.height, record.width)
                    if None not in stated and stated != (height, width):
                        self.load_image(index)  # pixels as stored may fit where EXIF does not
                annotations = self.annotations(index)
                height, width = self.image_shape(index)
            except DataError as error:
                add("image", str(error))
                continue
            for annotation in annotations:
                box = np.asarray(annotation.box, np.float64)
                if not 1 <= annotation.class_id <= self.num_classes:
                    add("class", f"class id {annotation.class_id}, expected 1..{self.num_classes}", annotation)
                if not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
                    add("box", f"box {annotation.box} is empty or not finite", annotation)
                if isinstance(annotation.segmentation, dict):
                    try:
                        check_rle(annotation.segmentation, height, width)
                    except DataError as error:
                        add("RLE", str(error), annotation)
        return issues


def stack_keypoints(annotations: Sequence[Annotation], num_joints: int) -> np.ndarray:
    """f32[n, J, 3]; joints that an annotation does not have are (0, 0, 0)."""
    stacked = np.zeros((len(annotations), num_joints, 3), np.float32)
    for row, annotation in zip(stacked, annotations, strict=True):
        if annotation.keypoints is not None:
            count = min(num_joints, len(annotation.keypoints))
            row[:count] = annotation.keypoints[:count]
    return stacked


class ByteCache:
    """Keeps the values used last while their arrays fit into a number of bytes; safe between threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._items: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any | None:
        """The value kept under `key`, or None."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: Any, value: Any, num_bytes: int) -> None:
        """Keeps a value of the given size, dropping those unused longest; one that is too large is not kept."""
        if num_bytes > self.max_bytes:
            return
        with self._lock:
            if key in self._items:
                self.num_bytes -= self._items.pop(key)[1]
            self._items[key] = (value, num_bytes)
            self.num_bytes += num_bytes
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= self._items.popitem(last=False)[1][1]
