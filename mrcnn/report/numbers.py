"""The numbers of an evaluation report as plain data: all that the page shows but the images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn._version import __version__
from mrcnn.evaluation import EvaluationResult, analyze_errors, confusion_matrix, find_label_issues
from mrcnn.evaluation.average_precision import IOU_THRESHOLDS
from mrcnn.evaluation.calibration import Calibration, overlap_by_score, quality_calibration, score_calibration
from mrcnn.evaluation.error_analysis import ERRORS, ErrorAnalysis
from mrcnn.evaluation.image_quality import image_quality
from mrcnn.evaluation.label_issues import LabelIssue
from mrcnn.evaluation.matching import match_detections, match_images
from mrcnn.evaluation.operating_point import best_f1
from mrcnn.evaluation.pairs import ImagePairs
from mrcnn.evaluation.subgroups import (
    BORDER,
    CROWDING,
    SIZES,
    border_groups,
    crowding_groups,
    group_precision,
    size_groups,
)

WRITTEN_BY = "mrcnn evaluate"
MAX_ISSUES = 500
GRID = 20
_GROUPS = (("size", SIZES, size_groups), ("crowding", CROWDING, crowding_groups), ("border", BORDER, border_groups))


def report_numbers(
    images: Sequence[ImagePairs],
    result: EvaluationResult,
    boundary: EvaluationResult | None,
    class_names: Sequence[str],
    files: Mapping[int | str, str],
) -> dict[str, Any]:
    """Everything as JSON can hold it; NaN, and COCO's -1 where there is no object, become None.

    Args:
        images: of `pair_image`, in the order of the evaluation.
        result: of that evaluation.
        boundary: the same of kind "boundary"; None: there are no masks.
        class_names: of the classes 1..C.
        files: name of each image's file, by image id.
    """
    table = match_images(images)
    point = best_f1(table)
    threshold = point.threshold if math.isfinite(point.threshold) else 0.5
    analysis = analyze_errors(images)
    labels = list(result.per_class)
    rows = {}
    for class_id, label in enumerate(labels, start=1):
        row = dict(result.per_class[label])
        if boundary is not None:
            row |= {k: v for k, v in boundary.per_class[label].items() if k.startswith("boundary/")}
        rows[label] = {k: _number(v) for k, v in row.items()} | {"best_f1": _fields(best_f1(table, [class_id]))}
    return {
        "written_by": f"{WRITTEN_BY} {__version__}",
        "overlaps_of": "mask" if any(image.of_masks for image in images) else "box",
        "images": result.num_images,
        "objects": result.num_objects,
        "crowd_regions": result.num_crowd,
        "detections": len(result.detections),
        "class_names": list(class_names),
        "classes": labels,
        "numbers": {k: _number(v) for k, v in (result.numbers | (boundary.numbers if boundary else {})).items()},
        "best_f1": _fields(point),
        "per_class": rows,
        "curves": _curves(result),
        "confusion": {
            "score_threshold": _number(threshold),
            "iou_threshold": 0.5,
            "matrix": confusion_matrix(images, len(class_names), threshold).tolist(),
        },
        "errors": _errors(analysis, images),
        "groups": _groups(images),
        "calibration": _calibrations(images),
        "image_results": _image_results(images, analysis, threshold, files),
        "label_issues": [_issue(issue, images) for issue in find_label_issues(images)[:MAX_ISSUES]],
        "matches": [_matches(image) for image in images],
    }


def _number(value: Any) -> Any:
    """A number to six decimals, None for what is not finite and for COCO's -1; anything else as it is."""
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) and value > -1 else None
    return int(value) if isinstance(value, np.integer) else value


def _fields(point: Any) -> dict[str, Any]:
    return {name: _number(value) for name, value in vars(point).items()}


def _list(values: Any) -> list[Any]:
    return [_number(v) for v in np.asarray(values).tolist()]


def _curves(result: EvaluationResult) -> dict[str, Any]:
    """Of each kind the mean precision, and of each class that at IoU 0.50, at every recall."""
    curves: dict[str, Any] = {}
    for kind, curve in result.curves.items():
        curves[kind] = {
            "recall": _list(curve["recall"]),
            "precision": {name: _list(values) for name, values in curve["precision"].items()},
            "per_class": {label: _list(values["0.50"]) for label, values in curve["per_class"].items()},
        }
    return curves


def _errors(analysis: ErrorAnalysis, images: Sequence[ImagePairs]) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for kind in ERRORS:
        counts = Counter(error.image for error in analysis.errors if error.kind == kind)
        kinds[kind] = {
            "ap_gain": _number(analysis.delta[kind]),
            "count": analysis.count(kind),
            "images": [[images[place].image_id, number] for place, number in counts.most_common()],
        }
    return {
        "ap50": _number(analysis.average_precision),
        "kinds": kinds,
        "false_positives": _number(analysis.false_positives),
        "false_negatives": _number(analysis.false_negatives),
    }


def _groups(images: Sequence[ImagePairs]) -> list[dict[str, Any]]:
    rows = []
    for by, names, groups in _GROUPS:
        for place, name in enumerate(names):
            ap, ap50, number = group_precision(images, groups, place)
            rows.append({"by": by, "group": name, "objects": number, "AP": _number(ap), "AP50": _number(ap50)})
    return rows


def _calibrations(images: Sequence[ImagePairs]) -> dict[str, Any]:
    def plain(table: Calibration) -> dict[str, Any]:
        return {name: _list(v) if isinstance(v, np.ndarray) else _number(v) for name, v in vars(table).items()}

    scores, overlaps = overlap_by_score(images)
    grid, _, _ = np.histogram2d(scores, overlaps, bins=GRID, range=[[0, 1], [0, 1]])
    return {
        "score": plain(score_calibration(images)),
        "quality": plain(quality_calibration(images)) | {"grid": grid.astype(int).tolist()},
    }


def _image_results(
    images: Sequence[ImagePairs], analysis: ErrorAnalysis, threshold: float, files: Mapping[int | str, str]
) -> list[dict[str, Any]]:
    """Quality and counts of every image at the score threshold."""
    counts: list[Counter[str]] = [Counter() for _ in images]
    for error in analysis.errors:
        if error.score is None or error.score >= threshold:
            counts[error.image][error.kind] += 1
    rows = []
    for image, errors in zip(images, counts, strict=True):
        quality = image_quality(image, threshold)
        row = {"image_id": image.image_id, "file": files.get(image.image_id, str(image.image_id))}
        rows.append(row | _fields(quality) | {"errors": dict(errors)})
    return rows


def _issue(issue: LabelIssue, images: Sequence[ImagePairs]) -> dict[str, Any]:
    image = images[issue.image]
    boxes = [] if issue.gt is None else [image.gt_boxes[issue.gt]]
    boxes += [] if issue.detection is None else [image.boxes[issue.detection]]
    low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
    return {
        "kind": issue.kind,
        "suspicion": _number(issue.suspicion),
        "image_id": image.image_id,
        "box": [round(float(v), 1) for v in (*low, *high)],
        "gt": issue.gt,
        "detection": issue.detection,
        "annotated": None if issue.gt is None else int(image.gt_class_ids[issue.gt]),
        "predicted": None if issue.detection is None else int(image.class_ids[issue.detection]),
        "score": None if issue.detection is None else _number(image.scores[issue.detection]),
    }


def _matches(image: ImagePairs) -> dict[str, Any]:
    """What `compare` needs of an image: its objects by class, and of each detection which thresholds it is right at.

    A detection is [class, score, correct, ignored]; the last two have bit t set for the IoU threshold 0.5 + 0.05 t.
    """
    correct = np.zeros(len(image.scores), np.int64)
    ignored = np.zeros(len(image.scores), np.int64)
    for bit, threshold in enumerate(IOU_THRESHOLDS):
        matched, left_out = match_detections(image, threshold)
        correct |= ((matched >= 0) & ~left_out).astype(np.int64) << bit
        ignored |= left_out.astype(np.int64) << bit
    counts = Counter(image.gt_class_ids[~image.gt_crowd].tolist())
    rows = zip(image.class_ids.tolist(), image.scores.tolist(), correct.tolist(), ignored.tolist(), strict=True)
    return {
        "image_id": image.image_id,
        "objects": {str(class_id): number for class_id, number in sorted(counts.items())},
        "detections": [[c, _number(s), right, out] for c, s, right, out in rows],
    }
