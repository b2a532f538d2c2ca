"""Result of an evaluation: numbers, per-class table, precision-recall curves, detections; printable and saved."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.files import atomic_write
from mrcnn.text import printable

METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.json"
_LONGEST_NAME = 40  # of a class, in the table


@dataclasses.dataclass
class EvaluationResult:
    """Result of an evaluation over a data set.

    Attributes:
        numbers: {"box/AP": ..., "mask/AP50": ..., ...} and those of further metrics as "name/key"; -1 where the data
            set holds no object the number is about (COCO's convention, e.g. no large object for APl).
        per_class: class -> {"category_id", "objects", "detections", "box/AP", "box/AP50", ...}. The key is the class
            name, followed by its category id where several classes share a name.
        curves: kind ("box", "mask") -> {"recall": f[R], "precision": {"0.50": f[R], "0.75": f[R], "0.50:0.95": f[R]},
            "per_class": {class: {"0.50": f[R], ...}}}; precision is -1 throughout for a class without objects.
        detections: COCO results, one dict a detection.
        num_images, num_objects, num_crowd: of the ground truth; crowd regions are no objects.
        max_dets: cuts of detections an image and class.
    """

    numbers: dict[str, float]
    per_class: dict[str, dict[str, Any]]
    curves: dict[str, dict[str, Any]]
    detections: list[dict[str, Any]]
    num_images: int
    num_objects: int
    num_crowd: int
    max_dets: tuple[int, ...]

    def __getitem__(self, name: str) -> float:
        """A number by name, e.g. result["mask/AP50"]."""
        return self.numbers[name]

    def to_dict(self) -> dict[str, Any]:
        """All but the detections as plain data; this is what metrics.json holds."""
        return {
            "numbers": {k: float(v) if math.isfinite(v) else None for k, v in self.numbers.items()},
            "images": self.num_images,
            "objects": self.num_objects,
            "crowd_regions": self.num_crowd,
            "detections": len(self.detections),
            "max_detections": list(self.max_dets),
            "per_class": self.per_class,
            "curves": _plain(self.curves),
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def save(self, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Write metrics.json and detections.json (COCO results format) into a directory, made if it is absent.

        Returns:
            paths of the two files. Each is written under a temporary name, then renamed.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        metrics, detections = directory / METRICS_FILE, directory / DETECTIONS_FILE
        _write(metrics, self.to_json() + "\n")
        _write(detections, json.dumps(self.detections, allow_nan=False, separators=(",", ":")) + "\n")
        return metrics, detections

    def __str__(self) -> str:
        crowd = f" and {self.num_crowd} crowd regions" if self.num_crowd else ""
        counts = f"{self.num_images} images, {self.num_objects} objects{crowd}, {len(self.detections)} detections"
        lines = [f"{counts} (scored on the best {self.max_dets[-1]} an image and class)"]
        kinds = list(dict.fromkeys(name.split("/")[0] for name in self.numbers))
        header: list[str] = []
        for kind in kinds:
            row = {name.partition("/")[2]: v for name, v in self.numbers.items() if name.split("/")[0] == kind}
            widths = [max(7, len(name) + 2) for name in row]
            if list(row) != header:
                header = list(row)
                lines += ["", f"{'':10}" + "".join(f"{name:>{w}}" for name, w in zip(header, widths, strict=True))]
            values = "".join(f"{_number(v):>{w}}" for v, w in zip(row.values(), widths, strict=True))
            lines.append(f"{kind:10}{values}")
        if len(self.per_class) > 1:
            columns = [f"{kind}/{name}" for kind in kinds if kind in self.curves for name in ("AP", "AP50")]
            labels = [_label(name) for name in self.per_class]
            width = max([5, *map(len, labels)]) + 2
            lines += ["", f"{'class':{width}}{'objects':>8}{'detected':>10}" + "".join(f"{c:>15}" for c in columns)]
            for label, row in zip(labels, self.per_class.values(), strict=True):
                values = "".join(f"{_number(row[c]):>15}" for c in columns)
                lines.append(f"{label:{width}}{row['objects']:>8}{row['detections']:>10}{values}")
        return "\n".join(lines)


def _label(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _number(value: float) -> str:
    return "n/a" if not value >= 0 else f"{value:.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return [round(v, 6) for v in value.tolist()]
    return value


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
