"""A data set inspected before training: counts, box sizes against the anchors, sample images, issues, a page."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.check import near_duplicates, suspicions
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco_writer import save_json
from mrcnn.evaluation.class_names import distinct_labels
from mrcnn.files import atomic_write
from mrcnn.inspection.details import details, file_name
from mrcnn.inspection.figures import draw_box_sizes, draw_samples, note_damage
from mrcnn.inspection.objects import ObjectTable, anchor_fit, read_objects, tall_ratios
from mrcnn.inspection.report import Inspection
from mrcnn.modeling.rpn.rotated import RotatedAnchorConfig
from mrcnn.progress import Progress
from mrcnn.recipes import Recipe
from mrcnn.report.data_gallery import DataGallery
from mrcnn.report.data_page import data_page
from mrcnn.text import shown_path

DATA_FILE = "report.json"
PAGE_FILE = "inspect.html"
_LISTED_SIZES = 20


def inspect(
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    num_samples: int = 8,
    pixels: bool = False,
    progress: bool = False,
) -> Inspection:
    """Counts, box sizes against a recipe's anchors, and all issues of a data set.

    Args:
        dataset: best loaded with `validate=False`, so that what training would refuse is listed.
        recipe: its resize and its anchors, rotated ones as rotated; None: `Recipe()`, the paper's.
        out: folder for report.json, inspect.html (a page that shows all of it, one file that asks for nothing),
            boxes.png and sample images with their ground truth; None writes nothing.
        num_samples: images to draw, spread over the set, first of all those with objects.
        pixels: decode every image to find damaged ones and near-duplicates, not only those that are drawn; slow on
            large sets.
        progress: report how far it is on standard error.

    Returns:
        the report; `files` lists what was written. Empty: a set without images or objects is reported as such.

    Example:
        >>> print(mrcnn.inspect(mrcnn.load_coco("train.json", validate=False), out="look"))  # doctest: +SKIP
    """
    recipe = recipe or Recipe()
    shown = Progress("inspecting", len(dataset), shown=progress)
    issues = dataset.validate(pixels=pixels)
    table = read_objects(dataset, recipe, shown)
    fit = anchor_fit(table, recipe)
    sized = table.has_size
    labels = distinct_labels(dataset.class_names, dataset.category_ids)
    sides = table.sides[sized]
    sizes = Counter(f"{width} x {height}" for height, width in table.shapes.tolist())
    anchors = recipe.model.rpn.anchors
    marks: dict[str, Sequence[float]] = {
        "side": sorted({size for level in anchors.sizes for size in level}),
        "ratio": tall_ratios(recipe),
    }
    if isinstance(anchors, RotatedAnchorConfig):
        marks["angle"] = anchors.angles
    doubtful = suspicions(dataset) + (near_duplicates({"": dataset}) if pixels else [])
    known = {(issue.kind, issue.image_id, issue.annotation_id) for issue in issues}
    facts = details(dataset, table, fit, labels, marks)
    report = Inspection(
        num_images=len(dataset),
        num_empty=int((table.counts == 0).sum()),
        num_objects=len(table.image),
        num_crowd=table.num_crowd,
        per_class={label: row["objects"] for label, row in facts["classes"].items()},
        image_sizes=dict(sizes.most_common(_LISTED_SIZES)),
        largest_count=int(table.counts.max(initial=0)),
        sides=np.sqrt(sides[:, 0] * sides[:, 1]).astype(np.float32),
        ratios=(sides[:, 0] / sides[:, 1]).astype(np.float32),
        anchor_iou=fit[sized],
        anchor_sizes=tuple(marks["side"]),
        anchor_ratios=tuple(marks["ratio"]),
        max_instances=recipe.data.max_instances,
        issues=issues,
        nothing_to_train_on=dataset.nothing_to_train_on(),
        suspicions=[i for i in doubtful if (i.kind, i.image_id, i.annotation_id) not in known],
        rotated_anchors="angle" in marks,
        details=facts,
    )
    if out is not None:
        _write(report, dataset, table, Path(out), num_samples, shown)
    shown.finish()
    return report


def _write(
    report: Inspection, dataset: Dataset, table: ObjectTable, folder: Path, num_samples: int, progress: Progress
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if len(report.sides):
        report.files.append(draw_box_sizes(report, folder / "boxes.png"))
    full = table.indices[table.counts > 0].tolist() or table.indices.tolist()
    report.files += draw_samples(dataset, full, num_samples, folder, report.issues)
    shown = [*report.issues, *report.suspicions]

    def read(index: int) -> np.ndarray | None:
        try:
            return dataset.load_image(index)
        except DataError as error:
            shown.extend(note_damage(report.issues, dataset.image_ids[index], error))
            return None

    gallery = DataGallery.of(dataset, full, shown, lambda index: file_name(dataset, index), read, progress)
    numbers = report.to_dict()
    save_json(numbers, folder / DATA_FILE)
    about = {"data": shown_path(dataset.path)} if dataset.path else {}
    with atomic_write(folder / PAGE_FILE) as temporary:
        temporary.write_text(data_page(numbers | {"about": about}, gallery), encoding="utf-8")
    report.files[:0] = [folder / DATA_FILE, folder / PAGE_FILE]
