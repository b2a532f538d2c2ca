"""`Dataset`: images and their objects, the class users subclass.

Two ways to make one: read annotation files (`mrcnn.data.formats`), or subclass and define where images and masks come
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

Repeated calls. `load_image(i)` is called whenever the pixels of image i are needed, from several threads, and must
return the same pixels every time. `load_mask(i)` is called once; its result is kept as RLE and used for every later
epoch. A data set that makes its images up therefore derives both from the index, for instance as the seed of a
generator. One that returns another image each time, whose masks would be those of the first, is refused with a
`DataError` when an image is read again: its first re-reads are compared by a checksum.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from mrcnn.data.errors import DataError as DataError
from mrcnn.data.errors import DatasetIssue as DatasetIssue
from mrcnn.data.ground_truth import to_instances
from mrcnn.data.images import image_shape, read_image
from mrcnn.data.rasterize import annotation_mask, mask_window
from mrcnn.data.read_options import ReadOptions
from mrcnn.data.rle import mask_to_rle
from mrcnn.data.unchanged import UnchangedImages
from mrcnn.data.validation import validate
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation, ImageRecord
from mrcnn.text import printable

if TYPE_CHECKING:
    from mrcnn.data.formats.saving import Saved
    from mrcnn.data.statistics import DatasetStats

logger = logging.getLogger("mrcnn")

Selection = Union[Sequence[int], np.ndarray, slice, Callable[[ImageRecord], bool]]  # noqa: UP007 - read at run time
_INT64 = range(-(2**63), 2**63)


class Dataset:
    """Images, their objects and the names of the classes.

    Subclasses override `load_image`, `load_mask` or both, or pass `annotations` to `add_image`. Where `load_mask` is
    overridden the annotations are derived from it when they are first needed and kept as RLE. The module states how
    often both are called.

    Attributes:
        channels: of every image; another number needs a `load_image` of your own.
        read_options: how image files become 8-bit RGB: range of intensities, bands, page; see `ReadOptions`.
        issues: what a reader corrected or left out; see `DatasetIssue`.
        keypoint_names: names of the J joints; empty where the set has none.
        path: the annotation file, where there is one; named in messages.

    Example:
        >>> dataset = Dataset()
        >>> dataset.add_class("mine", 1, "square")
        >>> dataset.add_image("mine", 7, "a.png", height=8, width=9, annotations=[Annotation(1, (1, 2, 5, 6))])
        >>> dataset
        Dataset(1 images, 1 classes: square)
        >>> int(dataset.instances(0).masks.sum())
        16
    """

    channels: int = 3

    def __init__(self) -> None:
        self.read_options = ReadOptions()
        self.issues: list[DatasetIssue] = []
        self.keypoint_names: tuple[str, ...] = ()
        self.path: str | None = None
        self._classes: list[tuple[str, int, str]] = []
        self._records: list[ImageRecord] = []
        self._ids: set[int | str] = set()
        self._derived: dict[int, tuple[Annotation, ...]] = {}
        self._shapes: dict[int, tuple[int, int]] = {}
        self._unchanged = UnchangedImages()
        self._lock = threading.Lock()

    # Describing the set

    def add_class(self, source: str, class_id: int, class_name: str) -> None:
        """Add a class; its class id in this package is 1 for the first, 2 for the next, ...

        Args:
            source: name of the collection, e.g. "coco".
            class_id: the class's id there; adding the same pair again does nothing.
            class_name: shown to people.

        Raises:
            DataError: the name holds line breaks or other control characters, which no list of names could keep.
        """
        if any((s, i) == (source, class_id) for s, i, _ in self._classes):
            return
        name = str(class_name)
        if name != printable(name):
            raise DataError(
                f"add_class: the name {printable(name)!r} holds control characters; expected one line of text"
            )
        self._classes.append((source, int(class_id), name))

    def add_image(
        self,
        source: str,
        image_id: int | str,
        path: str | None,
        *,
        width: int | None = None,
        height: int | None = None,
        annotations: Sequence[Annotation] = (),
        extra: Mapping[str, Any] | None = None,
        **info: Any,
    ) -> None:
        """Add an image.

        Args:
            source: name of the collection.
            image_id: unique within the set.
            path: of the image file; None where `load_image` is overridden.
            width, height: if known; reading then checks the image against them.
            annotations: its objects, with class ids of this set (1..C).
            extra: anything else, under any name; kept in `image_info` and in the record's `extra`.
            **info: further entries of `extra`.

        Raises:
            DataError: the id is taken.
        """
        if image_id in self._ids:
            raise DataError(f"add_image: image id {image_id!r} is given twice")
        self._ids.add(image_id)
        path = None if path is None else str(path)
        kept = {**(extra or {}), **info}
        self._records.append(ImageRecord(image_id, path, height, width, tuple(annotations), source, kept))

    def prepare(self) -> None:
        """Does nothing: a set is ready as it is. Here so that scripts which call it keep working."""

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        names = ", ".join(self.class_names[:5]) + (", ..." if self.num_classes > 5 else "")
        return f"{type(self).__name__}({len(self)} images, {self.num_classes} classes: {names})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the object classes; `class_names[k - 1]` is class k."""
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
    def batch_ids(self) -> tuple[int, ...]:
        """The id of each image in a batch: its own where all are integers of 64 bits, else its number in the set."""
        ids = self.image_ids
        if all(isinstance(i, (int, np.integer)) and int(i) in _INT64 for i in ids):
            return tuple(int(i) for i in ids)
        return tuple(range(len(ids)))

    @property
    def image_info(self) -> list[dict[str, Any]]:
        """What `add_image` was given, one dict an image: its extras, then id, source, path, width and height."""
        return [
            {**r.extra, "id": r.image_id, "source": r.source, "path": r.path, "width": r.width, "height": r.height}
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
        """Image number `index` as u8[h, w, 3], RGB; the same pixels at every call.

        Raises:
            DataError: the file is missing, damaged or of another size than recorded; names file and image id.
        """
        return self._read(index)

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        record = self._records[index]
        if record.path is None:
            raise DataError(f"image {record.image_id!r} has no path; override load_image or give one to add_image")
        known = record.height is not None and record.width is not None
        options = {f.name: getattr(self.read_options, f.name) for f in dataclasses.fields(self.read_options)}
        try:
            return read_image(record.path, (record.height, record.width) if known else None, least_shape, **options)
        except DataError as error:
            raise DataError(f"{error} [image id {record.image_id!r}]") from error

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The objects of image number `index`; called once an image where it is overridden.

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

    @property
    def _derives_annotations(self) -> bool:
        """Whether annotations come from a `load_mask` of a subclass."""
        return type(self).load_mask is not Dataset.load_mask

    def _get_image(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        """`load_image`, checked, for a subclass may return anything; or, where a smaller one will do, perhaps that.

        All of the package that trains or validates gets images here. See `read_image` for `least_shape`.
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
        if self._derives_annotations and not self._reads_files:
            self._unchanged.check(index, image, f"image {self._records[index].image_id!r}")
        return image

    def image_shape(self, index: int) -> tuple[int, int]:
        """(height, width) of an image: from its record, else from the file's header, else by loading it."""
        record = self._records[index]
        if record.height is not None and record.width is not None:
            return int(record.height), int(record.width)
        if index not in self._shapes:
            if record.path is not None and self._reads_files:
                self._shapes[index] = image_shape(record.path, self.read_options.page)
            else:
                self._get_image(index)
        return self._shapes[index]

    def record(self, index: int) -> ImageRecord:
        """Image number `index` with its annotations, derived ones included."""
        record = self._records[index]
        if not self._derives_annotations:
            return record
        height, width = self.image_shape(index)
        return dataclasses.replace(record, annotations=self.annotations(index), height=height, width=width)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """The objects of image number `index`, masks not rasterized.

        Raises:
            DataError: an overridden `load_mask` gave arrays that do not fit the image or the classes.
        """
        if not self._derives_annotations:
            return self._records[index].annotations
        with self._lock:
            annotations = self._derived.get(index)
        if annotations is None:
            annotations = self._derive(index)
            with self._lock:
                self._derived[index] = annotations
        return annotations

    def _derive(self, index: int) -> tuple[Annotation, ...]:
        """The one call of an overridden `load_mask`."""
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
                continue  # an object without a pixel can be neither trained on nor found
            box = (float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))
            annotations.append(Annotation(class_id, box, mask_to_rle(mask), annotation_id=i, area=float(mask.sum())))
        return tuple(annotations)

    def instances(self, index: int) -> Instances:
        """The ground truth of image number `index` with masks, as drawing and evaluation take it."""
        return to_instances(self.annotations(index), self.image_shape(index), len(self.keypoint_names))

    # Checking and selecting

    def validate(self, pixels: bool = False) -> list[DatasetIssue]:
        """All issues of the set: those of the reader, and what a look at every file adds; see `data.validation`.

        Args:
            pixels: decode every image instead of reading headers only; finds those cut off.
        """
        return validate(self, pixels)

    def nothing_to_train_on(self) -> str | None:
        """Why there is nothing to train on in this set, in one sentence; None where an object is usable.

        Objects are looked at until one is found that is no crowd region and whose mask has a pixel. An image that
        cannot be read might have one: None then, too, for training names the image.
        """
        num_crowd = num_empty = 0
        is_known = True
        for index in range(len(self)):
            try:
                for annotation in self.annotations(index):
                    if annotation.is_crowd:
                        num_crowd += 1
                    elif mask_window(annotation, *self.image_shape(index)).bits.any():
                        return None
                    else:
                        num_empty += 1
            except DataError:
                is_known = False
        if not is_known:
            return None
        parts = [f"{num_crowd} crowd region{'s' * (num_crowd != 1)}, no object"] if num_crowd else []
        if num_empty:
            parts = [f"{num_empty} object{'s' * (num_empty != 1)}, none of whose masks has a pixel"]
        sentence = f"nothing to train on: {parts[0] if parts else f'no object in {len(self)} images'}"
        if num_crowd and not num_empty:
            sentence += "; regions with iscrowd 1 are ignored in training, so set it to 0 where it marks single objects"
        counts = Counter(issue.kind for issue in self.issues if issue.annotation_id is not None)
        if counts and not parts:
            sentence += f"; left out: {', '.join(f'{n} x {kind}' for kind, n in counts.most_common())}"
        return sentence

    def check_trainable(self) -> None:
        """Refuse a set without anything to train on.

        Raises:
            DataError: no image, or no object but crowd regions and masks without a pixel; names the file.

        Example:
            >>> Dataset().check_trainable()
            Traceback (most recent call last):
            mrcnn.data.errors.DataError: data set: nothing to train on: no object in 0 images
        """
        reason = self.nothing_to_train_on()
        if reason is not None:
            raise DataError(f"{self.path or 'data set'}: {reason}")

    def subset(self, select: Selection) -> Dataset:
        """Some of the images, as a data set with the same classes that reads through this one.

        Args:
            select: numbers of images in the order wanted, a boolean array over all images, a slice, or a function of an
                image's record (annotations derived from `load_mask` included).

        Returns:
            a view: images and masks come from this set's `load_image` and `load_mask`.

        Raises:
            DataError: a number is out of range or given twice.

        Example:
            >>> dataset = Dataset()
            >>> for i in range(4):
            ...     dataset.add_image("mine", 10 + i, None)
            >>> dataset.subset([3, 0]).image_ids
            (13, 10)
            >>> dataset.subset(lambda record: record.image_id > 11).image_ids
            (12, 13)
        """
        if callable(select):
            indices = [i for i in range(len(self)) if select(self.record(i))]
        elif isinstance(select, slice):
            indices = list(range(len(self)))[select]
        else:
            chosen = np.asarray(select)
            if chosen.dtype == bool:
                if chosen.shape != (len(self),):
                    raise DataError(f"subset: expected {len(self)} booleans, got an array of shape {chosen.shape}")
                chosen = np.flatnonzero(chosen)
            if chosen.size and not (np.issubdtype(chosen.dtype, np.integer) and chosen.ndim == 1):
                raise DataError(f"subset: expected numbers of images, got {chosen.dtype} of shape {chosen.shape}")
            indices = [int(i) for i in chosen]
        wrong = [i for i in indices if not 0 <= i < len(self)]
        if wrong:
            raise DataError(f"subset: no image {wrong[0]}; there are {len(self)}, counted from 0")
        if len(set(indices)) < len(indices):
            raise DataError("subset: an image is given twice")
        return Subset(self, indices)

    @staticmethod
    def from_supervision(source: Any) -> Dataset:
        """See `data.other_libraries.from_supervision`."""
        from mrcnn.data import other_libraries

        return other_libraries.from_supervision(source)

    @staticmethod
    def from_fiftyone(source: Any, field: str = "ground_truth") -> Dataset:
        """See `data.other_libraries.from_fiftyone`."""
        from mrcnn.data import other_libraries

        return other_libraries.from_fiftyone(source, field)

    @staticmethod
    def from_datumaro(source: Any) -> Dataset:
        """See `data.other_libraries.from_datumaro`."""
        from mrcnn.data import other_libraries

        return other_libraries.from_datumaro(source)

    @staticmethod
    def from_huggingface(source: Any, *, image: str = "image", objects: str = "objects") -> Dataset:
        """See `data.other_libraries.from_huggingface`."""
        from mrcnn.data import other_libraries

        return other_libraries.from_huggingface(source, image=image, objects=objects)

    def filter(self, predicate: Callable[[ImageRecord, Annotation], bool]) -> Dataset:
        """The same images with the objects that a function of (record, annotation) accepts, as a view.

        Images without such objects stay; `subset` leaves images out.

        Example:
            >>> dataset = Dataset()
            >>> dataset.add_class("mine", 1, "square")
            >>> boxes = [(0, 0, 2, 2), (0, 0, 8, 8)]
            >>> dataset.add_image("mine", 7, "a.png", height=8, width=9, annotations=[Annotation(1, b) for b in boxes])
            >>> [a.box for a in dataset.filter(lambda record, a: a.box[2] > 4).annotations(0)]
            [(0, 0, 8, 8)]
        """
        from mrcnn.data import views

        return views.filter_objects(self, predicate)

    def split(
        self,
        fractions: Mapping[str, float],
        *,
        seed: int = 0,
        stratify: bool = True,
        groups: Sequence[Hashable] | Callable[[ImageRecord], Hashable] | None = None,
    ) -> dict[str, Dataset]:
        """This set divided at random, as views.

        Args:
            fractions: of the images in each part; together at most 1.
            seed: of the choice; one seed gives the same parts on every machine.
            stratify: give each part its share of the images of every class, the rarest first.
            groups: a label for each image, or a function of its record: images of one label stay together, such as
                frames of a video or slices of a sample.

        Returns:
            {"train": ..., "val": ...}. Without groups the numbers of images are exact to one.

        Raises:
            DataError: fractions that are not positive or exceed 1; another number of groups than images.

        Example:
            >>> parts = data.split({"train": 0.8, "val": 0.2}, groups=lambda r: r.extra["video"])  # doctest: +SKIP
        """
        from mrcnn.data import splitting

        return splitting.split(self, fractions, seed=seed, stratify=stratify, groups=groups)

    def stats(self) -> DatasetStats:
        """Numbers of images, objects and sizes; `print` shows them as a table."""
        from mrcnn.data import statistics

        return statistics.stats(self)

    def check(
        self, others: Mapping[str, Dataset] | None = None, *, name: str = "", pixels: bool = True
    ) -> list[DatasetIssue]:
        """The issues that `validate` lists, and what is suspicious: duplicates, tiny objects, class names.

        `mrcnn.data.check` lists the kinds.

        Args:
            others: further splits by their names; images that this set and they share are listed.
            name: of this split.
            pixels: look for near-duplicate images, for which every image is decoded.

        Example:
            >>> for issue in train.check({"val": val}, name="train"):  # doctest: +SKIP
            ...     print(issue)
        """
        from mrcnn.data import check

        return check.check(self, others, name=name, pixels=pixels)

    def save(
        self,
        path: str | os.PathLike[str],
        format: str = "coco",
        *,
        copy_images: bool = True,
        strict: bool = False,
        **options: Any,
    ) -> Saved:
        """Write this set in another format, images and labels.

        Args:
            path: of the new folder (coco also: a .json file, without images); must be free, nothing is replaced.
            format: "coco", "yolo", "labelme", "voc", "cvat", "instance_map", "object_masks", "tfrecord".
            copy_images: put the images beside the labels: copies of their files, PNG where there is none.
            strict: refuse to write what the format cannot hold, before anything is written.
            **options: of the format: `task="segment"` or "pose" (yolo), `shards=8` (tfrecord), `split="train"` (yolo,
                voc).

        Returns:
            path, number of images, and an issue for each object that the format could not hold.

        Raises:
            DataError: the path is taken; an image cannot be read; with `strict`, something would be lost.

        Example:
            >>> print(mrcnn.load_dataset("train.json").save("nuts_yolo", "yolo"))  # doctest: +SKIP
            nuts_yolo: 6 images; nothing is lost
        """
        from mrcnn.data.formats import saving

        return saving.save(self, path, format, copy_images=copy_images, strict=strict, **options)

    def rename_classes(self, names: Mapping[str, str]) -> Dataset:
        """The same images under other class names, as a view.

        Args:
            names: old name -> new name; several old ones may get one new name, or that of another class: they become
                one class.

        Raises:
            DataError: there is no class of an old name.
        """
        from mrcnn.data import views

        return views.rename_classes(self, names)

    def keep_classes(self, names: Sequence[str]) -> Dataset:
        """The same images with the objects of some classes, as a view; images without such objects stay.

        Args:
            names: of the classes 1..C of the result, in this order.

        Raises:
            DataError: there is no class of a name.
        """
        from mrcnn.data import views

        return views.keep_classes(self, names)

    def merge(self, *others: Dataset) -> Dataset:
        """This set and others as one, as a view: classes of one name are one class.

        Image ids that collide get the number of their set in front: "0/7", "1/7".

        Raises:
            DataError: images of other channels, or other joints.
        """
        from mrcnn.data import views

        return views.merge([self, *others])


class Subset(Dataset):
    """Some images of another data set; see `Dataset.subset`."""

    def __init__(self, parent: Dataset, indices: Sequence[int]) -> None:
        super().__init__()
        self.parent, self.indices = parent, tuple(indices)
        self.channels, self.read_options = parent.channels, parent.read_options
        self.keypoint_names, self.path = parent.keypoint_names, parent.path
        self._classes = list(parent._classes)
        self._records = [parent._records[i] for i in self.indices]
        self._ids = {record.image_id for record in self._records}
        self.issues = [issue for issue in parent.issues if issue.image_id is None or issue.image_id in self._ids]

    @property
    def _reads_files(self) -> bool:
        return self.parent._reads_files

    @property
    def _derives_annotations(self) -> bool:
        return self.parent._derives_annotations

    def load_image(self, index: int) -> np.ndarray:
        """The parent's image."""
        return self._read(index) if self._reads_files else self.parent.load_image(self.indices[index])

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The parent's masks."""
        return self.parent.load_mask(self.indices[index])

    def image_shape(self, index: int) -> tuple[int, int]:
        """Of the parent's image."""
        return self.parent.image_shape(self.indices[index])

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Those of the parent, which keeps derived ones."""
        return self.parent.annotations(self.indices[index])
