"""Metrics: instances in, numbers out. Importing this package does not import pycocotools; the first use does."""

from __future__ import annotations

from mrcnn.evaluation.coco import CocoMetric, evaluate_coco_files, to_coco_results
from mrcnn.evaluation.metric import Metric
from mrcnn.evaluation.result import EvaluationResult

__all__ = ["CocoMetric", "EvaluationResult", "Metric", "evaluate_coco_files", "to_coco_results"]
