"""Data sets made of others: some of their images, other classes, several sets as one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.rasterize import annotation_mask
from mrcnn.data.selection import Selection, selected_images
from mrcnn.structures.records import Annotation, ImageRecord

Class = tuple[str, int, str]
"""Source, id there, name."""
Predicate = Callable[[ImageRecord, Annotation], bool]


class Item(NamedTuple):
    """One image of a view: where it comes from, and what becomes of its class ids."""

    parent: Dataset
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of an item
    class_ids: tuple[int, ...] | None  # new id of the parent's class k at place k - 1, 0: left out; None: unchanged
    image_id: int | str


class View(Dataset):
    """Images of other data sets under the classes of this one; images and masks are read through the others.

    Args:
        items: its images.
        classes: (source, id there, name) of class 1, 2, ...
        like: the set whose options, joints and path it takes.
        issues: of the parents.
    """

    def __init__(
        self, items: Sequence[Item], classes: Sequence[Class], like: Dataset, issues: Sequence[DatasetIssue] = ()
    ) -> None:
        super().__init__()
        self.items = tuple(items)
        self.channels, self.read_options = like.channels, like.read_options
        self.keypoint_names, self.path = like.keypoint_names, like.path
        parents = {id(item.parent): item.parent for item in self.items}.values()
        if all(parent.stuff_names == like.stuff_names for parent in parents):
            self.stuff_names, self.stuff_category_ids = like.stuff_names, like.stuff_category_ids
        self.issues = list(issues)
        self._classes = list(classes)
        self._ids = {item.image_id for item in self.items}
        self._own_options = all(item.parent.read_options == like.read_options for item in self.items)
        for item in self.items:
            record = item.parent._records[item.index]
            annotations = _mapped(record.annotations, item.class_ids)
            self._records.append(dataclasses.replace(record, image_id=item.image_id, annotations=annotations))

    @property
    def _reads_files(self) -> bool:
        return self._own_options and all(item.parent._reads_files for item in self.items)

    @property
    def _reads_reduced(self) -> bool:
        return self._own_options and all(item.parent._reads_reduced for item in self.items)

    def _read(self, index: int, least_shape: tuple[int, int] | None = None) -> np.ndarray:
        item = self.items[index]
        return super()._read(index, least_shape) if self._reads_files else item.parent._read(item.index, least_shape)

    @property
    def _derives_annotations(self) -> bool:
        return any(item.parent._derives_annotations for item in self.items)

    def load_image(self, index: int) -> np.ndarray:
        """The parent's image."""
        if self._reads_files:
            return self._read(index)
        return self.items[index].parent.load_image(self.items[index].index)

    def load_semantic(self, index: int) -> np.ndarray:
        """The parent's semantic map; what is no thing of this view stays one in it."""
        return self.items[index].parent.load_semantic(self.items[index].index)

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The parent's masks, of the classes that are kept."""
        parent, number, class_ids, _ = self.items[index]
        masks, ids = parent.load_mask(number)
        if class_ids is None:
            return masks, ids
        new = np.array([class_ids[k - 1] for k in np.asarray(ids).reshape(-1).tolist()], np.int32)
        return np.asarray(masks)[..., new > 0], new[new > 0]

    def image_shape(self, index: int) -> tuple[int, int]:
        """Of the parent's image."""
        return self.items[index].parent.image_shape(self.items[index].index)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Those of the parent, which keeps derived ones."""
        parent, number, class_ids, _ = self.items[index]
        if not parent._derives_annotations:
            return self._records[index].annotations
        return _mapped(parent.annotations(number), class_ids)


def _mapped(annotations: tuple[Annotation, ...], class_ids: tuple[int, ...] | None) -> tuple[Annotation, ...]:
    if class_ids is None:
        return annotations
    new = [(annotation, class_ids[annotation.class_id - 1]) for annotation in annotations]
    return tuple(a if a.class_id == k else dataclasses.replace(a, class_id=k) for a, k in new if k)


def mapped(dataset: Dataset, classes: Sequence[Class], class_ids: Sequence[int]) -> Dataset:
    """A data set under other classes.

    Args:
        dataset: of C classes.
        classes: the new ones.
        class_ids: for each of the C the new class id; 0: its objects are left out.
    """
    ids = tuple(class_ids)
    items = [Item(dataset, i, ids, record.image_id) for i, record in enumerate(dataset._records)]
    return View(items, classes, dataset, dataset.issues)


class Filtered(View):
    """The objects of a data set that a function accepts."""

    def __init__(self, dataset: Dataset, predicate: Predicate) -> None:
        items = [Item(dataset, i, None, record.image_id) for i, record in enumerate(dataset._records)]
        super().__init__(items, dataset._classes, dataset, dataset.issues)
        self._predicate = predicate
        for i, record in enumerate(self._records):
            kept = tuple(a for a in record.annotations if predicate(record, a))
            self._records[i] = dataclasses.replace(record, annotations=kept)

    def annotations(self, index: int) -> tuple[Annotation, ...]:
        """Those that are accepted."""
        annotations = super().annotations(index)
        if not self.items[index].parent._derives_annotations:
            return annotations
        record = self._records[index]
        return tuple(a for a in annotations if self._predicate(record, a))

    def load_mask(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Those of `annotations`."""
        height, width = self.image_shape(index)
        annotations = self.annotations(index)
        masks = np.zeros((height, width, len(annotations)), bool)
        for i, annotation in enumerate(annotations):
            masks[:, :, i] = annotation_mask(annotation, height, width)
        return masks, np.array([a.class_id for a in annotations], np.int32)


def subset(dataset: Dataset, select: Selection) -> Dataset:
    """See `Dataset.subset`."""
    items = [Item(dataset, i, None, dataset._records[i].image_id) for i in selected_images(dataset, select)]
    chosen = {item.image_id for item in items}
    issues = [issue for issue in dataset.issues if issue.image_id is None or issue.image_id in chosen]
    return View(items, dataset._classes, dataset, issues)


def filter_objects(dataset: Dataset, predicate: Predicate) -> Dataset:
    """See `Dataset.filter`."""
    return Filtered(dataset, predicate)


def rename_classes(dataset: Dataset, names: Mapping[str, str]) -> Dataset:
    """See `Dataset.rename_classes`."""
    _check_known(dataset, names, "rename_classes")
    classes: list[Class] = []
    places: dict[str, int] = {}
    class_ids = []
    for source, number, old in dataset._classes:
        name = names.get(old, old)
        if name not in places or (old not in names and name not in names.values()):
            classes.append((source, number, name))
            places[name] = len(classes)
            class_ids.append(len(classes))
        else:
            class_ids.append(places[name])
    return mapped(dataset, classes, class_ids)


def keep_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """See `Dataset.keep_classes`."""
    names = [names] if isinstance(names, str) else list(names)
    _check_known(dataset, names, "keep_classes")
    order = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    classes: list[Class] = [next(c for c in dataset._classes if c[2] == name) for name in order]
    return mapped(dataset, classes, [order.get(name, 0) for name in dataset.class_names])


def _check_known(dataset: Dataset, names: Sequence[str] | Mapping[str, str], what: str) -> None:
    unknown = [name for name in names if name not in dataset.class_names]
    if unknown:
        known = ", ".join(map(repr, dataset.class_names))
        raise DataError(f"{what}: no class {unknown[0]!r}; there are {known or 'none'}")


def with_classes(dataset: Dataset, names: Sequence[str], *, by_name: bool = True) -> Dataset:
    """A data set whose classes 1..C are these, in this order.

    Args:
        dataset: any.
        names: of the classes; they may be more than the set has.
        by_name: find the set's classes by their names; False: its file has numbers only, and class k gets name k.

    Raises:
        DataError: the set has a class that is not among them.
    """
    names = list(names)
    if len(set(names)) < len(names):
        raise DataError(f"classes: {next(n for n in names if names.count(n) > 1)!r} is given twice")
    own = dataset.class_names
    if not by_name:
        if len(own) > len(names):
            raise DataError(f"{dataset.path}: has {len(own)} classes; classes= names {len(names)}")
        ids: Sequence[int] = range(1, len(own) + 1)
    else:
        unknown = [name for name in own if name not in names]
        if unknown:
            listed = ", ".join(map(repr, names))
            raise DataError(f"{dataset.path}: its class {unknown[0]!r} is not among the classes asked for: {listed}")
        ids = [names.index(name) + 1 for name in own]
    stated = {k: dataset._classes[i] for i, k in enumerate(ids)}
    if len(stated) == len(names):
        classes = [(*stated[k][:2], name) for k, name in enumerate(names, start=1)]
    else:
        source = dataset._classes[0][0] if own else "classes"
        classes = [(source, k, name) for k, name in enumerate(names, start=1)]
    return mapped(dataset, classes, ids)


def merge(datasets: Sequence[Dataset], names: Sequence[str] | None = None) -> Dataset:
    """Several data sets as one; see `Dataset.merge`.

    Args:
        datasets: at least one.
        names: of each, put before the ids of its images where ids collide; None: "0", "1", ...

    Raises:
        DataError: no data set, or sets of different channels or joints.
    """
    if not datasets:
        raise DataError("merge: no data set given")
    first = datasets[0]
    for other in datasets[1:]:
        if other.channels != first.channels:
            raise DataError(f"merge: images of {first.channels} and of {other.channels} channels")
        if other.keypoint_names and first.keypoint_names and other.keypoint_names != first.keypoint_names:
            raise DataError(f"merge: joints {list(first.keypoint_names)} and {list(other.keypoint_names)}")
    classes, maps = common_classes(datasets)
    counts = Counter(image_id for dataset in datasets for image_id in dataset.image_ids)
    prefixes = names or [str(i) for i in range(len(datasets))]
    collide = max(counts.values(), default=0) > 1
    items, issues = [], []
    for dataset, class_ids, prefix in zip(datasets, maps, prefixes, strict=True):
        issues += dataset.issues
        for i, image_id in enumerate(dataset.image_ids):
            items.append(Item(dataset, i, class_ids, f"{prefix}/{image_id}" if collide else image_id))
    view = View(items, classes, first, issues)
    view.keypoint_names = next((d.keypoint_names for d in datasets if d.keypoint_names), ())
    return view


def common_classes(datasets: Sequence[Dataset]) -> tuple[list[Class], list[tuple[int, ...]]]:
    """The classes of all sets by their names, and for each set the new id of each class.

    The order is that of the set which has them all, where one has; else by name where every set is in that order, else
    of first occurrence.
    """
    tables: list[dict[tuple[str, int], Class]] = []
    for dataset in datasets:
        table: dict[tuple[str, int], Class] = {}
        for entry in dataset._classes:
            table[(entry[2], sum(name == entry[2] for name, _ in table))] = entry  # names may be given twice
        tables.append(table)
    every: dict[tuple[str, int], Class] = {}
    for table in tables:
        for key, entry in table.items():
            every.setdefault(key, entry)
    whole = next((table for table in tables if len(table) == len(every)), None)
    order = list(whole or every)
    if whole is None and all(list(table) == sorted(table) for table in tables):
        order = sorted(every)
    place = {key: number for number, key in enumerate(order, start=1)}
    ids = [(every[key][0], every[key][1]) for key in order]
    distinct = len(set(ids)) == len(ids)
    source = every[order[0]][0] if order else ""
    classes = [(*every[key][:2], key[0]) if distinct else (source, place[key], key[0]) for key in order]
    return classes, [tuple(place[key] for key in table) for table in tables]


def with_extra(dataset: Dataset, **extra: object) -> Dataset:
    """The same data set; its records state more in `extra`."""
    dataset._records = [dataclasses.replace(r, extra={**r.extra, **extra}) for r in dataset._records]
    return dataset


def split_name(record: ImageRecord) -> str | None:
    """The split that the layout of the files puts an image in, or None."""
    value = record.extra.get("split")
    return value if isinstance(value, str) else None
