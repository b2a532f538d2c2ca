"""What an annotation file states of its images, on the host. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any, Union

import numpy as np


class ByValue:
    """Equality of dataclasses that hold arrays: the same fields with the same values, in the same order."""

    __hash__ = None  # type: ignore[assignment] # how Python says that these are not hashable

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [f.name for f in dataclasses.fields(self)]  # type: ignore[arg-type] # of subclasses, which are
        return all(_same(getattr(self, name), getattr(other, name)) for name in names)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return type(a) is type(b) and np.array_equal(a, b)
    if type(a) is type(b) and isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a == b


Polygons = list[np.ndarray]
"""Polygons of one object: float arrays [n, 2] of (x, y) vertices in pixels of the image."""
RLE = dict[str, Any]
"""COCO run-length encoding: {"size": [height, width], "counts": bytes | str | list[int]}."""


@dataclasses.dataclass(frozen=True, eq=False)
class Annotation(ByValue):
    """One object of one image as its annotation file states it; the mask is not rasterized yet.

    box is (y1, x1, y2, x2) in pixels of the image; segmentation is polygons, RLE or None (then the box is the
    mask); keypoints is f32[J, 3] of (x, y, visibility 0 unlabeled, 1 hidden, 2 visible).
    """

    class_id: int
    box: tuple[float, float, float, float]
    segmentation: Union[Polygons, RLE, None] = None  # noqa: UP007
    keypoints: np.ndarray | None = None
    is_crowd: bool = False
    annotation_id: int | str | None = None
    area: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class StuffMap(ByValue):
    """The file that says of every pixel of an image what it belongs to.

    path is an image of integers, or of colors that count as R + 256 G + 65536 B; class_ids leads from a value there to
    0 (a thing) or 1..S (a stuff class); of other values nothing is said.
    """

    path: str
    class_ids: dict[int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRecord(ByValue):
    """One image of a data set and its annotations. `path` is None where `Dataset.load_image` makes the image."""

    image_id: int | str
    path: str | None
    height: int | None
    width: int | None
    annotations: tuple[Annotation, ...] = ()
    source: str = ""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    stuff: StuffMap | None = None
