"""A data set inspected before training: counts, box sizes against the anchors, sample images, issues."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco_writer import save_json
from mrcnn.evaluation.class_names import distinct_labels
from mrcnn.inspection.anchors import best_anchor_iou
from mrcnn.inspection.figures import draw_box_sizes, draw_samples
from mrcnn.inspection.report import Inspection
from mrcnn.recipes import Recipe

_LISTED_SIZES = 20


def inspect(
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    num_samples: int = 8,
    pixels: bool = False,
) -> Inspection:
    """Counts, box sizes against a recipe's anchors, and all issues of a data set.

    Args:
        dataset: best loaded with `validate=False`, so that what training would refuse is listed.
        recipe: its resize and its anchors; None: `Recipe()`, the paper's.
        out: folder for report.json, boxes.png and sample images with their ground truth; None writes nothing.
        num_samples: images to draw, spread over the set, first of all those with objects.
        pixels: decode every image to find damaged ones, not only those that are drawn; slow on large sets.

    Returns:
        the report; `files` lists what was written. Empty: a set without images or objects is reported as such.

    Example:
        >>> print(mrcnn.inspect(mrcnn.load_coco("train.json", validate=False), out="look"))  # doctest: +SKIP
    """
    recipe = recipe or Recipe()
    issues = dataset.validate(pixels=pixels)
    labels = distinct_labels(dataset.class_names, dataset.category_ids)
    per_class = Counter(dict.fromkeys(labels, 0))
    sizes: Counter[str] = Counter()
    counts, boxes, num_crowd, readable = [], [], 0, []
    for index in range(len(dataset)):
        try:
            height, width = dataset.image_shape(index)
            annotations = dataset.annotations(index)
        except DataError:
            continue  # listed among the issues
        readable.append(index)
        sizes[f"{width} x {height}"] += 1
        objects = [a for a in annotations if not a.is_crowd]
        counts.append(len(objects))
        num_crowd += len(annotations) - len(objects)
        scale = _scale(recipe, height, width)
        for annotation in objects:
            if 1 <= annotation.class_id <= dataset.num_classes:
                per_class[labels[annotation.class_id - 1]] += 1
            boxes.append(np.asarray(annotation.box, np.float64) * np.tile(scale, 2))
    extents = np.array([[b[2] - b[0], b[3] - b[1]] for b in boxes], np.float64).reshape(-1, 2)
    extents = extents[(np.isfinite(extents) & (extents > 0)).all(axis=1)]
    anchors = recipe.model.rpn.anchors
    report = Inspection(
        num_images=len(dataset),
        num_empty=sum(c == 0 for c in counts),
        num_objects=sum(counts),
        num_crowd=num_crowd,
        per_class=dict(per_class),
        image_sizes=dict(sizes.most_common(_LISTED_SIZES)),
        largest_count=max(counts, default=0),
        sides=np.sqrt(extents.prod(axis=1)).astype(np.float32),
        ratios=(extents[:, 0] / extents[:, 1]).astype(np.float32),
        anchor_iou=best_anchor_iou(extents, anchors.sizes, anchors.ratios),
        anchor_sizes=tuple(sorted({size for level in anchors.sizes for size in level})),
        anchor_ratios=tuple(anchors.ratios),
        max_instances=recipe.data.max_instances,
        issues=issues,
        nothing_to_train_on=dataset.nothing_to_train_on(),
    )
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        if len(report.sides):
            report.files.append(draw_box_sizes(report, folder / "boxes.png"))
        full = [i for i, count in zip(readable, counts, strict=True) if count] or readable
        report.files += draw_samples(dataset, full, num_samples, folder, issues)
        save_json(report.to_dict(), folder / "report.json")
        report.files.insert(0, folder / "report.json")
    return report


def _scale(recipe: Recipe, height: int, width: int) -> np.ndarray:
    """f64[2], the factors (y, x) by which the recipe's model resizes an image."""
    new = recipe.model.input.content_size(height, width)
    return np.array([new[0] / height, new[1] / width])
