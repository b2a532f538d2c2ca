"""labelme JSON, a file for each image: polygons, parts of one object as a group, masks where there are holes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.formats.labelme_writer import labelme_content, labelme_shapes
from mrcnn.results.objects import objects, score_of
from mrcnn.structures.result_format import ImageResult, ResultFormat


class LabelmeResults(ResultFormat):
    """labelme JSON; each shape has its "score", which labelme keeps."""

    name, suffix, by_suffix = "labelme", ".json", False
    holds = "polygons, groups of them, masks with holes, scores"

    def encode(self, result: ImageResult, path: Path) -> dict[str, Any]:
        """The file of an image."""
        result.without(keypoints=True, crowd=True)
        shapes = []
        height, width = result.instances.image_shape
        for i, annotation in objects(result):
            score = score_of(result, i)
            for shape in labelme_shapes(result.class_name(annotation.class_id), annotation, height, width, i + 1):
                shapes.append(shape if score is None else {**shape, "score": score})
        image = f"{result.image_id}.png" if result.image is None else os.path.relpath(result.image, path.parent)
        return labelme_content(shapes, image.replace(os.sep, "/"), height, width)

    def write(self, parts: Sequence[dict[str, Any]], path: Path) -> None:
        """The file."""
        path.write_text(json.dumps(parts[0], indent=2), encoding="utf-8")
