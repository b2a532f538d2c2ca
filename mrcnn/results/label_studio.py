"""Label Studio predictions, one JSON file of tasks: polygons of one outline, brush masks for the rest, scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.formats.label_studio_writer import label_studio_image, label_studio_region
from mrcnn.results.objects import objects, score_of
from mrcnn.structures.result_format import ImageResult, ResultFormat


class LabelStudioResults(ResultFormat):
    """Tasks with predictions, to be imported into a project whose label config has the tags
    `PolygonLabels name="polygon"`, `BrushLabels name="brush"` and `RectangleLabels name="rectangle"` of
    `Image name="image" value="$image"`.
    """

    name, suffix, by_suffix, joint = "label_studio", ".json", False, True
    holds = "polygons, brush masks, scores, as predictions of all images"

    def encode(self, result: ImageResult, path: Path) -> dict[str, Any]:
        """The task of an image."""
        result.without(keypoints=True, crowd=True)
        regions = []
        for i, annotation in objects(result):
            name = result.class_name(annotation.class_id)
            region = label_studio_region(name, annotation, *result.instances.image_shape, f"r{i + 1}")
            if region is not None:
                score = score_of(result, i)
                regions.append(region if score is None else {**region, "score": score})
        prediction: dict[str, Any] = {"model_version": "mrcnn", "result": regions}
        scores = [region["score"] for region in regions if "score" in region]
        if scores:
            prediction["score"] = round(sum(scores) / len(scores), 6)  # by which Label Studio sorts tasks
        return {"data": {"image": label_studio_image(result.name)}, "predictions": [prediction]}

    def write(self, parts: Sequence[dict[str, Any]], path: Path) -> None:
        """The list of tasks."""
        path.write_text(json.dumps(list(parts)), encoding="utf-8")
