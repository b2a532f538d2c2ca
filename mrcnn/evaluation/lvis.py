"""The numbers of LVIS, by way of its official package `lvis`, which is installed by the extra of that name.

AP is COCO's, over the images whose annotators looked for a category; APr, APc and APf are of the rare, common and
frequent categories; up to 300 detections an image count.
Ref: LVIS, arXiv 1908.03195, section 2.2; github.com/lvis-dataset/lvis-api.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.compat import restore_numpy_names
from mrcnn.data.errors import DataError
from mrcnn.errors import InputError

_KINDS = {"box": "bbox", "mask": "segm", "bbox": "bbox", "segm": "segm"}
_NEEDED = {"bbox": "bbox", "segm": "segmentation"}
MAX_DETECTIONS = 300


def evaluate_lvis_files(
    annotations: str | os.PathLike[str],
    results: str | os.PathLike[str] | Sequence[dict[str, Any]],
    kind: str = "mask",
    *,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, float]:
    """The numbers of detections against an LVIS annotation file, as the official package computes them.

    Args:
        annotations: path of an LVIS JSON, v0.5 or v1.
        results: path of a results JSON, or its content: what `to_coco_results` makes of each image's `Instances`.
        kind: "mask" or "box".
        max_detections: an image; those with the highest scores count.

    Returns:
        {"AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR@300", ...}; -1 where there is no object.

    Raises:
        InputError: another kind, or the package is not installed.
        DataError: a file is no JSON of this format, or a result is of an unknown image or lacks a field.
    """
    if kind not in _KINDS:
        raise InputError(f'kind: expected "mask" or "box", got {kind!r}')
    iou_type = _KINDS[kind]
    ground_truth = _read(annotations)
    detections = _read(results) if isinstance(results, (str, os.PathLike)) else results
    if not isinstance(ground_truth, dict) or not {"images", "annotations", "categories"} <= set(ground_truth):
        raise DataError(f"{annotations}: no annotation file of LVIS, expected images, annotations and categories")
    _check(detections, {image["id"] for image in ground_truth["images"]}, _NEEDED[iou_type])
    if not detections:
        raise InputError("results: there are none, expected at least one detection")
    official = _package()
    loaded = official.LVIS(os.fspath(annotations))
    given = official.LVISResults(loaded, [dict(entry) for entry in detections], max_dets=max_detections)
    evaluation = official.LVISEval(loaded, given, iou_type=iou_type)
    evaluation.params.max_dets = max_detections
    evaluation.run()
    return {name: float(value) for name, value in evaluation.get_results().items()}


def _package() -> Any:
    restore_numpy_names()  # version 0.5.3 says np.float
    try:
        import lvis
    except ImportError as error:
        raise InputError(
            f"the numbers of LVIS come from its package, which cannot be imported ({error});"
            " pip install 'mrcnn-keras[lvis]'"
        ) from error
    return lvis


def _read(path: str | os.PathLike[str]) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a JSON file: {str(error).splitlines()[0]}") from error


def _check(results: Any, image_ids: set[Any], needed: str) -> None:
    if not isinstance(results, Sequence):
        raise DataError(f"results: expected a list of detections, got {type(results).__name__}")
    for number, entry in enumerate(results):
        missing = [key for key in ("image_id", "category_id", "score", needed) if key not in entry]
        if missing:
            raise DataError(f"results: entry {number} has no {missing[0]!r}")
        if entry["image_id"] not in image_ids:
            raise DataError(f"results: entry {number} is of image {entry['image_id']!r}, which the annotations lack")
