"""YOLO-seg labels, a text file for each image: parts and holes of an object joined by bridges; classes from 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.formats.yolo_writer import outline_numbers, yolo_row
from mrcnn.results.objects import objects
from mrcnn.structures.result_format import ImageResult, ResultFormat


class YoloResults(ResultFormat):
    """YOLO-seg labels; boxes as rows of five numbers where the instances have no masks."""

    name, suffix = "yolo", ".txt"
    holds = "one outline for each instance, class numbers from 0"

    def encode(self, result: ImageResult, path: Path) -> str:
        """The rows of an image."""
        result.without(scores=True, keypoints=True, crowd=True)
        height, width = result.instances.image_shape
        rows = []
        for _, annotation in objects(result):
            if annotation.segmentation is None:
                y1, x1, y2, x2 = np.asarray(annotation.box) / (height, width, height, width)
                numbers = [float(v) for v in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)]
            else:
                numbers = outline_numbers(annotation, height, width)
            rows.append(yolo_row(annotation.class_id, numbers) + "\n")
        return "".join(rows)

    def write(self, parts: Sequence[str], path: Path) -> None:
        """The file."""
        path.write_text(parts[0], encoding="utf-8", newline="\n")
