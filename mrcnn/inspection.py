"""A data set looked at before training: counts, box sizes against the anchors, sample images, issues."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.formats.coco import save_json
from mrcnn.drawing import draw_array, save_image
from mrcnn.files import atomic_write
from mrcnn.recipes import Recipe
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_masks

POOR_FIT = 0.5
"""An object whose best anchor overlaps it less than this, even centerd on it, is learnt from weak examples only."""


@dataclasses.dataclass
class Inspection:
    """What was found; printable. Sizes are those after the recipe's resize, in pixels.

    sides: f32[n], sqrt(box area). ratios: f32[n], height / width. anchor_iou: f32[n], overlap with the best anchor
    when both have the same center. Crowd regions are in none of the three.
    """

    num_images: int
    num_empty: int
    num_objects: int
    num_crowd: int
    per_class: dict[str, int]
    image_sizes: dict[str, int]
    largest_count: int
    sides: np.ndarray
    ratios: np.ndarray
    anchor_iou: np.ndarray
    anchor_sizes: tuple[float, ...]
    anchor_ratios: tuple[float, ...]
    max_instances: int
    issues: list[DatasetIssue]
    files: list[Path] = dataclasses.field(default_factory=list)

    @property
    def poor_fit(self) -> float:
        """Share of objects that no anchor fits; 0 for a set without objects."""
        return float((self.anchor_iou < POOR_FIT).mean()) if len(self.anchor_iou) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; this is what report.json holds."""
        return {
            "images": self.num_images,
            "images_without_objects": self.num_empty,
            "objects": self.num_objects,
            "crowd_regions": self.num_crowd,
            "max_objects_per_image": self.largest_count,
            "per_class": self.per_class,
            "image_sizes": self.image_sizes,
            "box_side_percentiles": dict(zip(("5", "25", "50", "75", "95"), self._percentiles(), strict=True)),
            "anchor_sizes": list(self.anchor_sizes),
            "share_no_anchor_fits": round(self.poor_fit, 4),
            "issues": [dataclasses.asdict(issue) for issue in self.issues],
        }

    def _percentiles(self) -> list[float | None]:
        if not len(self.sides):
            return [None] * 5
        return [round(float(v), 1) for v in np.percentile(self.sides, (5, 25, 50, 75, 95))]

    def __str__(self) -> str:
        crowd = f" and {self.num_crowd} crowd regions" if self.num_crowd else ""
        lines = [
            f"{self.num_images} images ({self.num_empty} without objects), {self.num_objects} objects{crowd}, "
            f"at most {self.largest_count} in an image"
        ]
        if self.largest_count > self.max_instances:
            lines.append(f"  data.max_instances is {self.max_instances}: of fuller images the largest are kept")
        width = max([5, *map(len, self.per_class)])
        lines += ["", f"{'class':{width}}  objects"] + [f"{n:{width}}  {c:7d}" for n, c in self.per_class.items()]
        if len(self.sides):
            low, q1, middle, q3, high = self._percentiles()
            anchors = ", ".join(f"{size:g}" for size in self.anchor_sizes)
            lines += [
                "",
                f"box sides after resizing, percentiles: 5th {low}, 25th {q1}, median {middle}, 75th {q3}, 95th {high}",
                f"anchor sizes {anchors}: {self.poor_fit:.1%} of the objects overlap their best anchor less than "
                f"{POOR_FIT:g}",
            ]
        counts = Counter((issue.fatal, issue.kind) for issue in self.issues)
        lines += ["", "no issues found" if not counts else "issues found:"]
        for (fatal, kind), count in counts.most_common():
            lines.append(f"  {count:5d} x {kind} ({'training refuses' if fatal else 'mended or left out'})")
        return "\n".join(lines)


def inspect(
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    num_samples: int = 8,
    pixels: bool = False,
) -> Inspection:
    """Counts, box sizes against a recipe's anchors, and all that is wrong with a data set.

    Args:
        dataset: best loaded with `validate=False`, so that what training would refuse is listed.
        recipe: its resize and its anchors; None: `Recipe()`, the paper's.
        out: folder for report.json, boxes.png and sample images with their ground truth; None writes nothing.
        num_samples: images to draw, spread over the set, first of all those with objects.
        pixels: decode every image to find damaged ones, not only those that are drawn; slow on large sets.

    Returns:
        the findings; `files` lists what was written. Empty: a set without images or objects is reported as such.
    """
    recipe = recipe or Recipe()
    issues = dataset.validate(pixels=pixels)
    per_class = Counter(dict.fromkeys(dataset.class_names, 0))
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
                per_class[dataset.class_names[annotation.class_id - 1]] += 1
            boxes.append(np.asarray(annotation.box, np.float64) * np.tile(scale, 2))
    extents = np.array([[b[2] - b[0], b[3] - b[1]] for b in boxes], np.float64).reshape(-1, 2)
    extents = extents[(np.isfinite(extents) & (extents > 0)).all(axis=1)]
    anchors = recipe.model.rpn.anchors
    found = Inspection(
        num_images=len(dataset),
        num_empty=sum(c == 0 for c in counts),
        num_objects=sum(counts),
        num_crowd=num_crowd,
        per_class=dict(per_class),
        image_sizes=dict(sizes.most_common(20)),
        largest_count=max(counts, default=0),
        sides=np.sqrt(extents.prod(axis=1)).astype(np.float32),
        ratios=(extents[:, 0] / extents[:, 1]).astype(np.float32),
        anchor_iou=_best_anchor_iou(extents, anchors.sizes, anchors.ratios),
        anchor_sizes=tuple(sorted({size for level in anchors.sizes for size in level})),
        anchor_ratios=tuple(anchors.ratios),
        max_instances=recipe.data.max_instances,
        issues=issues,
    )
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        if len(found.sides):
            found.files.append(_draw_boxes(found, folder / "boxes.png"))
        full = [i for i, count in zip(readable, counts, strict=True) if count] or readable
        found.files += _draw_samples(dataset, full, num_samples, folder, issues)
        save_json(found.to_dict(), folder / "report.json")
        found.files.insert(0, folder / "report.json")
    return found


def inspect_batch(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> tuple[str, list[Path]]:
    """Look at a batch that a training run kept because its loss or gradient was not finite.

    Args:
        path: the .npz file.
        out: folder for one drawing an image with its ground truth; None draws nothing.

    Returns:
        What was found in it, as text, and the files written.

    Raises:
        DataError: the file is no such batch.
    """
    path = Path(path)
    try:
        with np.load(path) as file:
            batch = {key: file[key] for key in file.files}
        about = json.loads(str(batch.pop("about")))
        ids, valid = batch["image_id"].tolist(), batch["gt_valid"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a batch kept by a training run ({error})") from error
    lines, files = [about["message"]], []
    for row, image_id in enumerate(ids):
        h, w = batch["content_shape"][row].tolist()
        boxes, masks = batch["gt_boxes"][row][valid[row]], batch["gt_masks"][row][valid[row]]
        odd = "" if np.isfinite(boxes).all() else ", a box is not finite"
        lines.append(f"  image {image_id}: {w} x {h} pixels after resizing, {len(boxes)} objects{odd}")
        if out is None:
            continue
        canvas = batch["image"].shape[1:3]
        boxes = np.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)
        full = paste_masks(masks.astype(np.float32), boxes, *canvas)
        ground_truth = Instances(boxes, batch["gt_class_ids"][row][valid[row]], canvas, masks=full)
        drawing = draw_array(batch["image"][row].astype(np.uint8), ground_truth, class_names=about["class_names"])
        files.append(save_image(Path(out) / f"{path.stem}_{row}_{image_id}.png", drawing))
    return "\n".join(lines), files


def _scale(recipe: Recipe, height: int, width: int) -> np.ndarray:
    """f64[2], the factors (y, x) by which the recipe's model resizes an image."""
    new = recipe.model.input.content_size(height, width)
    return np.array([new[0] / height, new[1] / width])


def _best_anchor_iou(extents: np.ndarray, sizes: Any, ratios: Any) -> np.ndarray:
    """f32[n], IoU of each (height, width) with the anchor that fits it best, centers together."""
    shapes = np.array([[s * r**0.5, s / r**0.5] for level in sizes for s in level for r in ratios])
    common = np.minimum(extents[:, None, :], shapes[None]).prod(axis=2)  # [n, anchors]
    union = extents.prod(axis=1)[:, None] + shapes.prod(axis=1)[None] - common
    return (common / union).max(axis=1).astype(np.float32)


def _draw_boxes(found: Inspection, path: Path) -> Path:
    from matplotlib.figure import Figure  # heavy, and only needed here

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, values, marks, title in (
        (left, found.sides, found.anchor_sizes, "sqrt(box area) after resizing, pixels"),
        (right, found.ratios, found.anchor_ratios, "box height / width"),
    ):
        logs = np.log2(np.concatenate([values, np.asarray(marks, np.float32)]))
        bins = 2.0 ** np.linspace(np.floor(logs.min()), np.ceil(logs.max() + 1e-6), 49)
        axis.hist(values, bins, color="#4477aa")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        for mark in marks:
            axis.axvline(mark, color="#cc3311", lw=1.2, ls="--")
        axis.plot([], [], color="#cc3311", lw=1.2, ls="--", label="anchors")
        axis.set(xlabel=title, ylabel="objects")
        axis.legend(frameon=False)
    figure.suptitle(f"{len(found.sides)} objects; {found.poor_fit:.1%} fit no anchor (best IoU under {POOR_FIT:g})")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path


def _draw_samples(
    dataset: Dataset, indices: list[int], num_samples: int, folder: Path, issues: list[DatasetIssue]
) -> list[Path]:
    """Draws some images; one that cannot be decoded joins the issues, unless it is there already."""
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(num_samples, len(indices))).round().astype(int))
    files = []
    for index in (indices[i] for i in chosen.tolist()):
        try:
            image, ground_truth = dataset.load_image(index), dataset.instances(index)
        except DataError as error:
            image_id = dataset.image_ids[index]
            if not any(issue.image_id == image_id and issue.fatal for issue in issues):
                issues.append(DatasetIssue("image", str(error), image_id=image_id, fatal=True))
            continue
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(dataset.image_ids[index]))
        drawing = draw_array(image, ground_truth, class_names=dataset.class_names)
        files.append(save_image(folder / f"sample_{name}.png", drawing))
    return files
