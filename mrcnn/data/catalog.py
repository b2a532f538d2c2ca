"""`Catalog`: the classes and the image records of a data set, what it knows without reading an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.structures.records import Annotation, ImageRecord, StuffMap
from mrcnn.text import printable

_INT64 = range(-(2**63), 2**63)


class Catalog:
    """Classes 1..C in the order they were added, and one record an image.

    Example:
        >>> catalog = Catalog()
        >>> catalog.add_class("coco", 18, "dog")
        >>> catalog.add_image("coco", 7, "a.png", height=8, width=9)
        >>> catalog.class_names, catalog.image_ids, catalog.map_source_class_id("coco.18")
        (('dog',), (7,), 1)
    """

    def __init__(self) -> None:
        self._classes: list[tuple[str, int, str]] = []  # source, id there, name
        self._records: list[ImageRecord] = []
        self._ids: set[int | str] = set()

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
        stuff: StuffMap | None = None,
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
            stuff: file of its semantic map; None where there is none, or `load_semantic` is overridden.
            **info: further entries of `extra`.

        Raises:
            DataError: the id is taken.
        """
        if image_id in self._ids:
            raise DataError(f"add_image: image id {image_id!r} is given twice")
        self._ids.add(image_id)
        path = None if path is None else str(path)
        kept = {**(extra or {}), **info}
        self._records.append(ImageRecord(image_id, path, height, width, tuple(annotations), source, kept, stuff))

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
