"""What is in a data set beyond its counts, as plain data: classes by split, sizes, places, crowding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.evaluation.subgroups import CROWDED_IOU, CROWDING
from mrcnn.inspection.anchors import POOR_FIT
from mrcnn.inspection.objects import ObjectTable
from mrcnn.structures.boxes import box_iou

GRID = 24
"""Cells of the heat map of positions, along each axis."""
COVERAGE = (0.3, 0.5, 0.7)
_BINS = 48
_FULLEST = 20
_BLOCK = 1000  # objects at a time that are compared with all of their image


def details(
    dataset: Dataset, table: ObjectTable, fit: np.ndarray, labels: Sequence[str], marks: dict[str, Sequence[float]]
) -> dict[str, Any]:
    """All of it as JSON can hold it.

    Args:
        dataset: whose objects they are.
        table: its objects.
        fit: of `anchor_fit`.
        labels: names of class 1, 2, ..., no two the same.
        marks: of the anchors, by the names of the histograms: "side", "ratio", and "angle" where they are rotated.
    """
    counts = table.counts
    fullest = np.argsort(-counts, kind="stable")[:_FULLEST]
    return {
        "splits": dict(Counter(split for split in table.splits if split is not None)),
        "classes": _classes(table, fit, labels),
        "coverage": {f"{least:g}": _share(fit[table.has_size] >= least) for least in COVERAGE},
        "histograms": _histograms(table, fit, marks),
        "objects_per_image": _integers(counts),
        "fullest_images": [
            {"image_id": dataset.image_ids[i], "file": file_name(dataset, i), "objects": int(counts[place])}
            for place, i in zip(fullest.tolist(), table.indices[fullest].tolist(), strict=True)
            if counts[place]
        ],
        "overlaps": _overlaps(table),
        "positions": _positions(table).tolist(),
    }


def file_name(dataset: Dataset, index: int) -> str:
    """The name of an image's file, or its id as text."""
    path = dataset.record(index).path
    return Path(path).name if path else str(dataset.image_ids[index])


def log_bins(values: np.ndarray, marks: Sequence[float]) -> np.ndarray:
    """f64[B + 1], edges that are even on a logarithmic axis, from one power of two to another.

    Args:
        values, marks: positive; all lie inside. At least one.

    Example:
        >>> log_bins(np.array([3.0]), [8.0])[[0, -1]].tolist()
        [2.0, 16.0]
    """
    logs = np.log2(np.concatenate([values, np.asarray(marks, np.float64)]))
    return 2.0 ** np.linspace(np.floor(logs.min()), np.floor(logs.max()) + 1, _BINS + 1)


def _classes(table: ObjectTable, fit: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(split for split in table.splits if split is not None))
    split_of = np.array([names.index(split) if split is not None else -1 for split in table.splits], int)
    # One pass for all classes: a thousand of them times a million objects is too much.
    order = np.argsort(table.class_ids, kind="stable")
    ends = np.searchsorted(table.class_ids[order], np.arange(1, len(labels) + 2))
    rows = {}
    for class_id, label in enumerate(labels, start=1):
        own = order[ends[class_id - 1] : ends[class_id]]
        sized = own[table.has_size[own]]
        row: dict[str, Any] = {
            "objects": len(own),
            "images": len(np.unique(table.image[own])),
            "median_side": _median(np.sqrt(table.sides[sized, :2].prod(axis=1))),
            "share_no_anchor_fits": _share(fit[sized] < POOR_FIT),
        }
        if names:
            in_split = split_of[table.image[own]]
            row["splits"] = {name: int((in_split == i).sum()) for i, name in enumerate(names)}
        rows[label] = row
    return rows


def _histograms(table: ObjectTable, fit: np.ndarray, marks: dict[str, Sequence[float]]) -> dict[str, Any]:
    sized = table.sides[table.has_size]
    if not len(sized):
        return {}
    values = {"side": np.sqrt(sized[:, 0] * sized[:, 1]), "ratio": sized[:, 0] / sized[:, 1], "angle": sized[:, 2]}
    poor = fit[table.has_size] < POOR_FIT
    result = {}
    for name, of_anchors in marks.items():
        edges = np.linspace(-90, 90, 37) if name == "angle" else log_bins(values[name], of_anchors)
        result[name] = {
            "edges": [float(f"{edge:.6g}") for edge in edges],
            "fit": np.histogram(values[name][~poor], edges)[0].tolist(),
            "poor": np.histogram(values[name][poor], edges)[0].tolist(),
            "anchors": [float(mark) for mark in of_anchors],
        }
    return result


def _integers(counts: np.ndarray) -> dict[str, Any]:
    """A histogram of whole numbers whose bins are as wide as they must be."""
    step = -(-(int(counts.max(initial=0)) + 1) // _BINS)
    edges = np.arange(0, int(counts.max(initial=0)) + step + 1, step)
    return {"edges": edges.tolist(), "images": np.histogram(counts, edges - 0.5)[0].tolist()}


def _overlaps(table: ObjectTable) -> dict[str, int]:
    """Objects by the highest IoU of their box with another of the image, as `evaluation.subgroups` names them."""
    numbers = np.zeros(len(CROWDING), int)
    starts = np.searchsorted(table.image, np.arange(len(table.indices) + 1))
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        boxes = np.nan_to_num(table.boxes[first:end])
        for start in range(0, len(boxes), _BLOCK):
            between = box_iou(boxes[start : start + _BLOCK], boxes)
            np.fill_diagonal(between[:, start:], 0.0)
            closest = between.max(axis=1)
            numbers += np.bincount((closest > 0).astype(int) + (closest > CROWDED_IOU), minlength=len(CROWDING))
    return dict(zip(CROWDING, numbers.tolist(), strict=True))


def _positions(table: ObjectTable) -> np.ndarray:
    """i64[GRID, GRID]: centers of boxes in each cell of the image, by row and column; those outside are left out."""
    centers = (table.boxes[:, :2] + table.boxes[:, 2:]) / 2 / table.shapes[table.image]
    centers = centers[np.isfinite(centers).all(axis=1)]
    counts, _, _ = np.histogram2d(centers[:, 0], centers[:, 1], bins=GRID, range=((0, 1), (0, 1)))
    return counts.astype(np.int64)


def _share(those: np.ndarray) -> float | None:
    return round(float(those.mean()), 4) if len(those) else None


def _median(values: np.ndarray) -> float | None:
    return round(float(np.median(values)), 1) if len(values) else None
