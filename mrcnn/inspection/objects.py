"""The objects of a data set as arrays, with their sizes as a recipe's model sees them."""

from __future__ import annotations

import dataclasses

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.rasterize import annotation_window
from mrcnn.inspection.anchors import best_anchor_iou, best_rotated_anchor_iou
from mrcnn.ops.box_geometry import ROTATED
from mrcnn.progress import Progress
from mrcnn.recipes import Recipe
from mrcnn.structures.records import Annotation, ByValue
from mrcnn.structures.rotated import mask_hull, rectangle_around


@dataclasses.dataclass(frozen=True, eq=False)
class ObjectTable(ByValue):
    """The m readable images of a data set and their n objects; crowd regions are no objects.

    Attributes:
        indices: i64[m], places of the images in the data set.
        shapes: i64[m, 2], (height, width).
        splits: of the images; None where the record names none.
        num_crowd: crowd regions of all images.
        image: i64[n], place of each object's image among the m.
        class_ids: i64[n].
        boxes: f64[n, 4], (y1, x1, y2, x2), pixels of the image.
        sides: f64[n, 3], (h, w, angle) after the recipe's resize, pixels and degrees counter-clockwise; the angle is 0
            unless the recipe's anchors are rotated. Then it is the rectangle of least area around the mask, w the
            longer side.
    """

    indices: np.ndarray
    shapes: np.ndarray
    splits: tuple[str | None, ...]
    num_crowd: int
    image: np.ndarray
    class_ids: np.ndarray
    boxes: np.ndarray
    sides: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """i64[m], objects of each image."""
        return np.bincount(self.image, minlength=len(self.indices))

    @property
    def has_size(self) -> np.ndarray:
        """bool[n]: whether both sides are positive and finite."""
        return (np.isfinite(self.sides) & (self.sides > [0, 0, -np.inf])).all(axis=1)


def read_objects(dataset: Dataset, recipe: Recipe, progress: Progress) -> ObjectTable:
    """The objects of all images that can be read; the others are among the issues of `Dataset.validate`.

    Args:
        dataset: may hold what training refuses.
        recipe: whose resize is applied, and whose anchors may be rotated.
        progress: called with the number of images.
    """
    rotated = recipe.model.rpn.geometry is ROTATED
    num_crowd = 0
    indices: list[int] = []
    shapes: list[tuple[int, int]] = []
    splits: list[str | None] = []
    image: list[int] = []
    class_ids: list[int] = []
    boxes: list[tuple[float, ...]] = []
    sides: list[tuple[float, ...]] = []
    for index in range(len(dataset)):
        progress.update(index + 1)
        try:
            shape, annotations = dataset.image_shape(index), dataset.annotations(index)
        except DataError:
            continue
        split = dataset.record(index).extra.get("split")
        objects = [a for a in annotations if not a.is_crowd]
        new = recipe.model.input.content_size(*shape)
        scale = np.array([new[0] / shape[0], new[1] / shape[1]])
        for annotation in objects:
            image.append(len(indices))
            class_ids.append(annotation.class_id)
            boxes.append(annotation.box)
            sides.append(_rotated_sides(annotation, shape, scale) if rotated else _sides(annotation, scale))
        num_crowd += len(annotations) - len(objects)
        indices.append(index)
        shapes.append(shape)
        splits.append(split if isinstance(split, str) else None)
    return ObjectTable(
        np.array(indices, np.int64),
        np.array(shapes, np.int64).reshape(-1, 2),
        tuple(splits),
        num_crowd,
        np.array(image, np.int64),
        np.array(class_ids, np.int64),
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(sides, np.float64).reshape(-1, 3),
    )


def anchor_fit(table: ObjectTable, recipe: Recipe) -> np.ndarray:
    """f32[n], IoU of each object with the recipe's anchor that fits it best, centers together; 0 without a size."""
    anchors = recipe.model.rpn.anchors
    result = np.zeros(len(table.sides), np.float32)
    usable = table.sides[table.has_size]
    if recipe.model.rpn.geometry is ROTATED:
        cells = np.concatenate([anchors.cells(level, 1.0)[:, 2:] for level in range(len(anchors.sizes))])
        result[table.has_size] = best_rotated_anchor_iou(usable, cells)
    else:
        result[table.has_size] = best_anchor_iou(usable[:, :2], anchors.sizes, tall_ratios(recipe))
    return result


def tall_ratios(recipe: Recipe) -> tuple[float, ...]:
    """Height / width of the recipe's anchors."""
    anchors = recipe.model.rpn.anchors
    if anchors.ratio_is == "height_over_width":
        return anchors.ratios
    return tuple(1 / ratio for ratio in anchors.ratios)


def _sides(annotation: Annotation, scale: np.ndarray) -> tuple[float, float, float]:
    y1, x1, y2, x2 = annotation.box
    return (y2 - y1) * scale[0], (x2 - x1) * scale[1], 0.0


def _rotated_sides(annotation: Annotation, shape: tuple[int, int], scale: np.ndarray) -> tuple[float, float, float]:
    try:
        _, _, bits = annotation_window(annotation, *shape)
    except DataError:  # listed among the issues
        bits = np.zeros((0, 0), bool)
    hull = mask_hull(bits) if bits.size else np.zeros((0, 2))
    if len(hull):
        rectangle = rectangle_around(hull * scale[::-1])
        return rectangle.width, rectangle.length, rectangle.orientation
    height, width, _ = _sides(annotation, scale)
    return (height, width, 0.0) if width >= height else (width, height, 90.0)
