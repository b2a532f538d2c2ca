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

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mrcnn.data.errors import DataError as DataError
from mrcnn.data.errors import DatasetIssue as DatasetIssue
from mrcnn.data.image_source import ImageSource
from mrcnn.data.selection import Selection as Selection
from mrcnn.data.trainable import nothing_to_train_on
from mrcnn.data.validation import validate
from mrcnn.structures.records import Annotation, ImageRecord

if TYPE_CHECKING:
    from mrcnn.data.formats.saving import Saved
    from mrcnn.data.statistics import DatasetStats


class Dataset(ImageSource):
    """Images, their objects and the names of the classes.

    Subclasses override `load_image`, `load_mask` or both, or pass `annotations` to `add_image`. Where `load_mask` is
    overridden the annotations are derived from it when they are first needed and kept as RLE. The module states how
    often both are called.

    Attributes:
        channels: of every image; another number needs a `load_image` of your own.
        read_options: how image files become 8-bit RGB: range of intensities, bands, page; see `ReadOptions`.
        issues: what a reader corrected or left out; see `DatasetIssue`.
        keypoint_names: names of the J joints; empty where the set has none.
        stuff_names: names of the stuff classes 1..S of `load_semantic`; empty where the set has no semantic maps.
        stuff_category_ids: ids of these in the annotation file; empty: 1..S.
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

    def prepare(self) -> None:
        """Does nothing: a set is ready as it is. Here so that scripts which call it keep working."""

    # Checking and selecting

    def validate(self, pixels: bool = False) -> list[DatasetIssue]:
        """All issues of the set: those of the reader, and what a look at every file adds; see `data.validation`.

        Args:
            pixels: decode every image instead of reading headers only; finds those cut off.
        """
        return validate(self, pixels)

    def nothing_to_train_on(self) -> str | None:
        """Why there is nothing to train on in this set, in one sentence; None where an object is usable.

        See `data.trainable`.
        """
        return nothing_to_train_on(self)

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
        from mrcnn.data import views

        return views.subset(self, select)

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
            format: one that `list_formats` says can be written: "coco", "yolo", "labelme", "label_studio", ...
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
