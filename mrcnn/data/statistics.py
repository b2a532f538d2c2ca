"""What is in a data set, in numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.text import printable

_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class DatasetStats:
    """Counts of a data set.

    Attributes:
        num_images, num_empty_images: all, and those without an object.
        num_objects, num_crowd: crowd regions are no objects.
        objects_per_class, images_per_class: of class 1, 2, ...
        class_names: of class 1, 2, ...
        median_side: of the boxes, the square root of their area in pixels; None without objects.
        image_sizes: (height, width) -> number of images.
        splits: split -> number of images, where records name one.
    """

    num_images: int
    num_empty_images: int
    num_objects: int
    num_crowd: int
    class_names: tuple[str, ...]
    objects_per_class: tuple[int, ...]
    images_per_class: tuple[int, ...]
    median_side: float | None
    image_sizes: dict[tuple[int, int], int]
    splits: dict[str, int]

    def __str__(self) -> str:
        lines = [
            f"{self.num_images} images, {self.num_empty_images} of them without an object; {self.num_objects} objects,"
            f" {self.num_crowd} crowd regions"
        ]
        if self.splits:
            lines.append(f"splits: {', '.join(f'{name} {number}' for name, number in self.splits.items())}")
        if self.median_side is not None:
            lines.append(f"half of the boxes are smaller than {self.median_side:.0f} pixels (root of the area)")
        sizes = sorted(self.image_sizes.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{h} x {w} ({n})" for (h, w), n in sizes[:5])
        lines.append(f"image sizes (height x width): {listed}{', ...' if len(sizes) > 5 else ''}")
        width = max([len(printable(name)) for name in self.class_names[:_SHOWN]] or [0])
        rows = zip(self.class_names, self.objects_per_class, self.images_per_class, strict=True)
        for name, objects, images in list(rows)[:_SHOWN]:
            lines.append(f"  {printable(name):<{width}}  {objects:>7} objects in {images:>6} images")
        if len(self.class_names) > _SHOWN:
            lines.append(f"  and {len(self.class_names) - _SHOWN} more classes")
        return "\n".join(lines)


def stats(dataset: Dataset) -> DatasetStats:
    """See `Dataset.stats`."""
    objects, images = np.zeros(dataset.num_classes, int), np.zeros(dataset.num_classes, int)
    sizes: Counter[tuple[int, int]] = Counter()
    splits: Counter[str] = Counter()
    num_crowd = num_empty = 0
    sides: list[float] = []
    for index in range(len(dataset)):
        record = dataset._records[index]
        if isinstance(record.extra.get("split"), str):
            splits[record.extra["split"]] += 1
        try:
            annotations = dataset.annotations(index)
            sizes[dataset.image_shape(index)] += 1
        except DataError:
            continue  # `check` names it
        own = [a for a in annotations if not a.is_crowd]
        num_crowd += len(annotations) - len(own)
        num_empty += not own
        for annotation in own:
            objects[annotation.class_id - 1] += 1
            y1, x1, y2, x2 = annotation.box
            sides.append(max((y2 - y1) * (x2 - x1), 0.0) ** 0.5)
        images[sorted({a.class_id - 1 for a in own})] += 1
    return DatasetStats(
        len(dataset),
        num_empty,
        int(objects.sum()),
        num_crowd,
        dataset.class_names,
        tuple(objects.tolist()),
        tuple(images.tolist()),
        float(np.median(sides)) if sides else None,
        dict(sizes),
        dict(splits),
    )
