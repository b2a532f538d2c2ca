"""COCO's results JSON: a list with an entry for each instance, masks as compressed RLE."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.evaluation.coco_results import to_coco_results
from mrcnn.structures.result_format import ImageResult, ResultFormat


class CocoResults(ResultFormat):
    """COCO results; see `to_coco_results`. Each entry also has the image's "file_name"."""

    name, suffix, joint = "coco", ".json", True
    holds = "boxes, masks, scores, keypoints and further outputs of all images, as COCO results"

    def encode(self, result: ImageResult, path: Path) -> list[dict[str, Any]]:
        """The entries of an image.

        Raises:
            InputError: instances without scores.
        """
        result.without(crowd=True, outputs=False)
        for output in set(result.instances.extra) - {o.name for o in result.instances.outputs if o.result_key}:
            result.lost("outputs", f"the output {output!r} is not written")
        entries = to_coco_results(result.image_id, result.instances, result.category_ids)
        return entries if result.image is None else [{**e, "file_name": str(result.image)} for e in entries]

    def write(self, parts: Sequence[list[dict[str, Any]]], path: Path) -> None:
        """One list of all entries."""
        path.write_text(json.dumps([entry for part in parts for entry in part]), encoding="utf-8")
