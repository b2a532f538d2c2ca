"""Result of inspecting a data set, as numbers and as text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn._version import __version__
from mrcnn.data.errors import DatasetIssue
from mrcnn.inspection.anchors import POOR_FIT
from mrcnn.text import printable

SOFTWARE = "mrcnn inspect"
"""What wrote a file, as it says itself; a later inspection may replace such a file."""
_PERCENTILES = (5, 25, 50, 75, 95)
_LONGEST_NAME = 40  # of a class, in the table


@dataclasses.dataclass
class Inspection:
    """Result of `inspect`; printable. Sizes are those after the recipe's resize, in pixels.

    Attributes:
        num_images, num_empty: images, and those without objects.
        num_objects, num_crowd: objects, and crowd regions, which are no objects.
        per_class: class -> number of objects.
        image_sizes: "width x height" -> number of images, the most frequent sizes.
        largest_count: objects in the fullest image.
        sides: f32[n], sqrt(box area). ratios: f32[n], height / width. anchor_iou: f32[n], overlap with the best anchor
            when both have the same center. Crowd regions are in none of the three. Where the recipe's anchors are
            rotated, the boxes are rectangles of least area around the masks, width the longer side.
        anchor_sizes, anchor_ratios, max_instances: of the recipe.
        rotated_anchors: whether they are.
        issues: see `Dataset.validate`.
        suspicions: what looks wrong, but training takes; see `Dataset.check`.
        details: classes by split, coverage by anchors, histograms, positions, crowding, as plain data.
        nothing_to_train_on: why training refuses the whole set; None where it does not.
        files: what was written.
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
    nothing_to_train_on: str | None = None
    suspicions: list[DatasetIssue] = dataclasses.field(default_factory=list)
    rotated_anchors: bool = False
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: list[Path] = dataclasses.field(default_factory=list)

    @property
    def poor_fit(self) -> float:
        """Share of objects that no anchor fits; 0 for a set without objects."""
        return float((self.anchor_iou < POOR_FIT).mean()) if len(self.anchor_iou) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data; this is what report.json holds."""
        names = map(str, _PERCENTILES)
        return {
            "written_by": f"{SOFTWARE} {__version__}",
            "images": self.num_images,
            "images_without_objects": self.num_empty,
            "objects": self.num_objects,
            "crowd_regions": self.num_crowd,
            "max_objects_per_image": self.largest_count,
            "per_class": self.per_class,
            "image_sizes": self.image_sizes,
            "box_side_percentiles": dict(zip(names, self._percentiles(), strict=True)),
            "anchor_sizes": list(self.anchor_sizes),
            "share_no_anchor_fits": round(self.poor_fit, 4),
            "nothing_to_train_on": self.nothing_to_train_on,
            "rotated_anchors": self.rotated_anchors,
            "max_instances": self.max_instances,
            **self.details,
            "issues": [dataclasses.asdict(issue) for issue in self.issues],
            "suspicions": [dataclasses.asdict(issue) for issue in self.suspicions],
        }

    def _percentiles(self) -> list[float | None]:
        if not len(self.sides):
            return [None] * len(_PERCENTILES)
        return [round(float(v), 1) for v in np.percentile(self.sides, _PERCENTILES)]

    def __str__(self) -> str:
        crowd = f" and {self.num_crowd} crowd regions" if self.num_crowd else ""
        lines = [
            f"{self.num_images} images ({self.num_empty} without objects), {self.num_objects} objects{crowd}, "
            f"at most {self.largest_count} in an image"
        ]
        if self.nothing_to_train_on is not None:
            lines.append(f"  training refuses: {printable(self.nothing_to_train_on)}")
        if self.largest_count > self.max_instances:
            lines.append(f"  data.max_instances is {self.max_instances}: of fuller images the largest are kept")
        labels = [_label(name) for name in self.per_class]
        width = max([5, *map(len, labels)])
        lines += ["", f"{'class':{width}}  objects"]
        lines += [f"{n:{width}}  {c:7d}" for n, c in zip(labels, self.per_class.values(), strict=True)]
        if len(self.sides):
            low, q1, middle, q3, high = self._percentiles()
            anchors = ", ".join(f"{size:g}" for size in self.anchor_sizes)
            lines += [
                "",
                f"box sides after resizing, percentiles: 5th {low}, 25th {q1}, median {middle}, 75th {q3}, 95th {high}",
                f"anchor sizes {anchors}: {self.poor_fit:.1%} of the objects overlap their best anchor less than "
                f"{POOR_FIT:g}",
            ]
        return "\n".join([*lines, "", *self._issue_lines(), *self._suspicion_line()])

    def _suspicion_line(self) -> list[str]:
        counts = Counter(issue.kind for issue in self.suspicions).most_common()
        listed = ", ".join(f"{count} x {printable(kind)}" for kind, count in counts)
        return [f"suspicious, but taken: {listed}"] if listed else []

    def _issue_lines(self) -> list[str]:
        if not self.issues:
            return ["no issues found"]
        counts = Counter((issue.fatal, issue.kind) for issue in self.issues)
        lines = ["issues found:"]
        for (fatal, kind), count in counts.most_common():
            effect = "training refuses" if fatal else "corrected, left out or for notice"
            lines.append(f"  {count:5d} x {printable(kind)} ({effect})")
            # Those of the whole file explain themselves only in full.
            lines += [
                f"          {printable(issue.message)}"
                for issue in self.issues
                if (issue.fatal, issue.kind) == (fatal, kind) and issue.image_id is None and issue.annotation_id is None
            ][:3]
        return lines


def _label(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
