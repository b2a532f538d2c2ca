"""Metrics: instances in, numbers out. Importing this package does not import pycocotools; the first use does."""

from __future__ import annotations

from mrcnn.evaluation.class_names import compare_class_names
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.coco_files import evaluate_coco_files
from mrcnn.evaluation.coco_results import to_coco_results
from mrcnn.evaluation.metric import Metric, as_instances, find_metric
from mrcnn.evaluation.overlap import box_iou, mask_iou
from mrcnn.evaluation.result import EvaluationResult

__all__ = [
    "CocoMetric",
    "EvaluationResult",
    "Metric",
    "as_instances",
    "box_iou",
    "compare_class_names",
    "evaluate_coco_files",
    "find_metric",
    "mask_iou",
    "to_coco_results",
]
