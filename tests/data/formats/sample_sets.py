"""Data sets that other programs wrote, for the tests of this folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.rasterize import annotation_mask

ASSETS = Path(__file__).parents[2] / "assets/formats"
NUTS = ASSETS / "nuts3"
DATUMARO = ASSETS / "datumaro"


def masks(dataset: Dataset, index: int) -> list[np.ndarray]:
    """bool[h, w] of each object."""
    return [annotation_mask(a, *dataset.image_shape(index)) for a in dataset.annotations(index)]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def best_ious(a: Dataset, b: Dataset) -> list[float]:
    """For each object of a, the IoU of the object of b of the same image and class that fits best."""
    names = {Path(r.path).name: i for i, r in enumerate(b._records)}
    values = []
    for i, record in enumerate(a._records):
        j = names[Path(record.path).name]
        others = masks(b, j)
        for annotation, mask in zip(a.annotations(i), masks(a, i), strict=True):
            name = a.class_names[annotation.class_id - 1]
            same = [m for m, o in zip(others, b.annotations(j), strict=True) if b.class_names[o.class_id - 1] == name]
            values.append(max((iou(mask, m) for m in same), default=0.0))
    return values


def write_image(path: Path, width: int = 40, height: int = 30) -> Path:
    """A gray image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(path)
    return path


def kinds(dataset: Dataset) -> list[str]:
    return sorted(issue.kind for issue in dataset.issues)


def assert_issue(
    dataset: Dataset,
    kind: str,
    reason: str,
    *,
    path: str | None = None,
    image_id: int | str | None = None,
    record: int | str | None = None,
) -> None:
    """Assert that one issue at least says all of this: kind and reason as patterns, path by its end."""
    for issue in dataset.issues:
        same = image_id in (None, issue.image_id) and record in (None, issue.annotation_id)
        in_file = path is None or (issue.path or "").endswith(path)
        if same and in_file and re.search(kind, issue.kind) and re.search(reason, issue.message):
            return
    raise AssertionError("\n".join([f"no issue {kind!r} {reason!r} of {image_id}", *map(repr, dataset.issues)]))
