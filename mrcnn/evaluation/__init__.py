"""Metrics: instances in, numbers out. Importing this package does not import pycocotools; the first use does.

`coco` and `panoptic` are benchmarks' own numbers. What explains them takes the same `ImagePairs`, one module for each
measure: `error_analysis`, `confusion`, `calibration`, `operating_point`, `subgroups`, `label_issues`.
"""

from __future__ import annotations

from mrcnn.evaluation.boundary import boundary_iou
from mrcnn.evaluation.calibration import quality_calibration, score_calibration
from mrcnn.evaluation.class_names import compare_class_names
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.coco_files import evaluate_coco_files
from mrcnn.evaluation.coco_results import to_coco_results
from mrcnn.evaluation.confusion import confusion_matrix
from mrcnn.evaluation.error_analysis import analyze_errors
from mrcnn.evaluation.label_issues import find_label_issues
from mrcnn.evaluation.lvis import evaluate_lvis_files
from mrcnn.evaluation.metric import Metric, as_instances, find_metric
from mrcnn.evaluation.overlap import box_iou, mask_iou
from mrcnn.evaluation.pairs import pair_image
from mrcnn.evaluation.result import EvaluationResult

__all__ = [
    "CocoMetric",
    "EvaluationResult",
    "Metric",
    "analyze_errors",
    "as_instances",
    "boundary_iou",
    "box_iou",
    "compare_class_names",
    "confusion_matrix",
    "evaluate_coco_files",
    "evaluate_lvis_files",
    "find_label_issues",
    "find_metric",
    "mask_iou",
    "pair_image",
    "quality_calibration",
    "score_calibration",
    "to_coco_results",
]
