"""AP by the overlap of rotated boxes."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.evaluation import CocoMetric, evaluate_coco_files
from mrcnn.evaluation.coco_eval import rotated_bbox
from mrcnn.evaluation.coco_results import to_coco_results
from mrcnn.structures.instances import Instances
from mrcnn.structures.rotated import minimum_area_boxes
from tests.ops.test_rotated_iou import slow_iou
from tests.rotated_model import inside

SHAPE = (100, 120)
BARS = np.float32([[40, 50, 12, 60, 40], [70, 80, 10, 30, -60], [20, 20, 12, 12, 0]])


def bars(boxes: np.ndarray, **fields: object) -> Instances:
    masks = np.array([inside(box, *SHAPE) for box in boxes]).reshape(-1, *SHAPE)
    bounds = [(*np.argwhere(m).min(0), *(np.argwhere(m).max(0) + 1)) for m in masks]
    bounds = np.array(bounds, np.float32).reshape(-1, 4)
    return Instances(bounds, np.ones(len(boxes)), SHAPE, masks=masks, **fields)


def answer(boxes: np.ndarray, scores: list[float]) -> Instances:
    return bars(boxes, rotated_boxes=boxes, scores=np.array(scores))


def numbers_of(ground_truth: Instances, detections: Instances) -> dict[str, float]:
    metric = CocoMetric(["bar"])
    metric.update(1, ground_truth, detections)
    return metric.compute()


def test_a_perfect_answer_and_none() -> None:
    objects = bars(BARS)
    own = minimum_area_boxes(objects.masks)
    perfect = numbers_of(objects, answer(own, [0.9, 0.8, 0.7]))
    assert perfect["rotated/AP"] == pytest.approx(1) == perfect["rotated/AP75"]
    assert numbers_of(objects, answer(BARS[:0], []))["rotated/AP"] == 0
    assert "rotated/AP" not in numbers_of(objects, bars(BARS, scores=[0.9, 0.8, 0.7]))


def test_equals_the_area_under_the_curve_of_slow_overlaps() -> None:
    """Three detections of two objects; at each threshold the curve is known from the overlaps."""
    objects = bars(BARS[:2], rotated_boxes=BARS[:2])
    boxes = np.float32([[40, 52, 12, 58, 44], [20, 90, 10, 30, 10], [71, 80, 11, 30, -50]])
    numbers = numbers_of(objects, answer(boxes, [0.9, 0.8, 0.7]))
    first, last = slow_iou(boxes[0], BARS[0]), slow_iou(boxes[2], BARS[1])
    assert 0.5 < last < 0.8 and 0.5 < first < 0.8

    def precision(threshold: float) -> float:
        hits = [first >= threshold, False, last >= threshold]
        recall, at = np.cumsum(hits) / 2, np.cumsum(hits) / np.arange(1, 4)
        best = np.maximum.accumulate(at[::-1])[::-1]
        levels = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-9)
        return float(np.mean([best[i] if i < 3 else 0 for i in levels]))

    thresholds = np.linspace(0.5, 0.95, 10)
    assert numbers["rotated/AP"] == pytest.approx(np.mean([precision(t) for t in thresholds]), abs=1e-6)
    assert numbers["rotated/AP50"] == pytest.approx(precision(0.5), abs=1e-6)


def test_where_axis_aligned_boxes_agree_and_rotated_ones_do_not() -> None:
    crossed = BARS[:1] * np.float32([1, 1, 1, 1, -1])
    numbers = numbers_of(bars(BARS[:1]), answer(crossed, [0.9]))
    assert numbers["box/AP50"] == pytest.approx(1) and numbers["rotated/AP50"] == 0


def test_what_lies_in_a_crowd_region_is_ignored() -> None:
    objects = bars(BARS[:2], is_crowd=[False, True], rotated_boxes=BARS[:2])
    part = BARS[1] * np.float32([1, 1, 1, 0.4, 1])  # within the region, and of low IoU with it
    numbers = numbers_of(objects, answer(np.stack([part, BARS[0]]), [0.9, 0.8]))
    assert numbers["rotated/AP50"] == pytest.approx(1)


def test_boxes_of_objects_without_a_mask() -> None:
    assert rotated_bbox(None, [3, 4, 10, 6]) == [8, 7, 10, 6, 0]
    assert rotated_bbox(np.zeros((9, 9), bool), [3, 4, 10, 6]) == [8, 7, 10, 6, 0]
    box = rotated_bbox(inside(BARS[0], *SHAPE), [0, 0, 1, 1])
    np.testing.assert_allclose(box, BARS[0][[1, 0, 3, 2, 4]], atol=1.5)
    objects = Instances([[10, 10, 20, 40]], [1], SHAPE)
    one = Instances([[10, 10, 20, 40]], [1], SHAPE, scores=[0.5], rotated_boxes=[[15, 25, 30, 10, 90]])
    assert numbers_of(objects, one)["rotated/AP"] == pytest.approx(1)


def test_files_hold_them_and_give_the_same_numbers() -> None:
    objects = bars(BARS[:2], rotated_boxes=BARS[:2])
    detections = answer(np.float32([[40, 52, 12, 58, 44], [71, 80, 11, 30, -50]]), [0.9, 0.7])
    results = to_coco_results(3, detections)
    assert to_coco_results(3, answer(BARS[:1], [0.9]))[0]["rotated_bbox"] == [50, 40, 60, 12, 40]
    annotations = {
        "images": [{"id": 3, "height": SHAPE[0], "width": SHAPE[1]}],
        "categories": [{"id": 1, "name": "bar"}],
        "annotations": [
            {"id": i, "image_id": 3, "category_id": 1, "bbox": [0, 0, 1, 1], "rotated_bbox": [x, y, w, h, angle]}
            for i, (y, x, h, w, angle) in enumerate(BARS[:2].tolist())
        ],
    }
    for annotation, mask in zip(annotations["annotations"], objects.masks, strict=True):
        annotation["area"] = int(mask.sum())
    numbers, expected = evaluate_coco_files(annotations, results, "rotated"), numbers_of(objects, detections)
    assert numbers == {name: pytest.approx(expected[f"rotated/{name}"], abs=1e-6) for name in numbers}
    assert numbers["AP50"] > 0.5 and len(numbers) == 12

    with pytest.raises(DataError, match="result 0 has no 'rotated_bbox'"):
        evaluate_coco_files(
            annotations, [{"image_id": 3, "category_id": 1, "score": 1, "bbox": [0, 0, 1, 1]}], "rotated"
        )
    annotations["annotations"][1]["rotated_bbox"] = [1, 2, 3, 4]
    with pytest.raises(DataError, match=r"annotation 1: rotated_bbox .* is not five finite numbers"):
        evaluate_coco_files(annotations, results, "rotated")


def test_only_them_where_only_they_are_asked_for() -> None:
    assert set(CocoMetric(["bar"], kinds=["rotated"]).compute()) == {
        f"rotated/{name}"
        for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    }
