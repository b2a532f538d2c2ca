from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.rle import mask_to_rle
from mrcnn.evaluation.boundary import boundary_distance, boundary_iou, boundary_rle, mask_boundary
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.evaluation.coco_files import evaluate_coco_files
from mrcnn.structures.instances import Instances
from tests.evaluation.scene import instances, random_pair


def slow_boundary(mask, distance):
    """Pixels of the mask with a pixel outside it, or outside the image, among their neighbors up to `distance`."""
    height, width = mask.shape
    boundary = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for v in range(y - distance, y + distance + 1):
            for u in range(x - distance, x + distance + 1):
                if not (0 <= v < height and 0 <= u < width and mask[v, u]):
                    boundary[y, x] = True
    return boundary


def slow_iou(a, b, distance, crowd=False):
    values = []
    for p, q in ((a, b), (slow_boundary(a, distance), slow_boundary(b, distance))):
        union = p.sum() if crowd else (p | q).sum()
        values.append((p & q).sum() / union if union else 0.0)
    return min(values)


def slow_average_precision(images, num_classes):
    """COCO's definition by loops over ten thresholds and 101 recall levels, with boundary IoU."""
    values = []
    overlaps = []
    for ground_truth, prediction in images:
        distance = max(1, int(round(0.02 * np.sqrt(sum(side**2 for side in prediction.image_shape)))))  # noqa: RUF046
        crowd = ground_truth.is_crowd
        overlaps.append(
            [
                [slow_iou(p, g, distance, c) for g, c in zip(ground_truth.masks, crowd, strict=True)]
                for p in prediction.masks
            ]
        )
    for class_id in range(1, num_classes + 1):
        for threshold in np.linspace(0.5, 0.95, 10):
            rows, number = [], 0
            for (ground_truth, prediction), iou in zip(images, overlaps, strict=True):
                mine = [g for g in range(len(ground_truth)) if ground_truth.class_ids[g] == class_id]
                number += sum(not ground_truth.is_crowd[g] for g in mine)
                used = set()
                for d in np.argsort(-prediction.scores):
                    if prediction.class_ids[d] != class_id:
                        continue
                    free = [
                        g for g in mine if not ground_truth.is_crowd[g] and g not in used and iou[d][g] >= threshold
                    ]
                    if free:
                        used.add(max(free, key=lambda g: iou[d][g]))
                    elif any(ground_truth.is_crowd[g] and iou[d][g] >= threshold for g in mine):
                        continue
                    rows.append((prediction.scores[d], bool(free)))
            rows.sort(key=lambda row: -row[0])
            points = [
                (sum(r[1] for r in rows[:k]) / number, sum(r[1] for r in rows[:k]) / k) for k in range(1, len(rows) + 1)
            ]
            values.append(
                np.mean([max([p for r, p in points if r >= level], default=0) for level in np.linspace(0, 1, 101)])
            )
    return np.mean(values)


def test_boundary_equals_the_definition(rng):
    for distance in (1, 2, 5):
        mask = rng.uniform(size=(14, 17)) < 0.93
        np.testing.assert_array_equal(mask_boundary(mask, distance), slow_boundary(mask, distance))
        whole = np.zeros((30, 40), bool)
        whole[3:17, 23:40] = mask
        np.testing.assert_array_equal(mask_boundary(whole, distance), slow_boundary(whole, distance))
    assert mask_boundary(np.zeros((0, 3), bool), 2).shape == (0, 3)


@pytest.mark.parametrize("shape, distance", [((480, 640), 16), ((10, 10), 1), ((1024, 2048), 46)])
def test_distance(shape, distance):
    assert boundary_distance(shape) == distance


def test_overlap_is_the_lower_of_two(rng):
    ground_truth, prediction = random_pair(rng, number=4)
    distance = boundary_distance((100, 120))
    expected = [[slow_iou(p, g, distance) for g in ground_truth.masks] for p in prediction.masks]
    np.testing.assert_allclose(boundary_iou(prediction, ground_truth), expected, atol=1e-12)
    mask = prediction.masks[0]
    assert boundary_rle(mask_to_rle(mask)) == mask_to_rle(slow_boundary(mask, distance))
    empty = mask_to_rle(np.zeros((5, 6), bool))
    assert boundary_rle(empty) == empty


def test_boundary_average_precision_equals_the_slow_reference(rng):
    images = [random_pair(rng, (70, 90), classes=2, number=5, crowds=0.2) for _ in range(3)]
    metric = CocoMetric(["a", "b"], kinds=["mask", "boundary"])
    for number, pair in enumerate(images):
        metric.update(number, *pair)
    numbers = metric.compute()
    assert numbers["boundary/AP"] == pytest.approx(slow_average_precision(images, 2), abs=1e-6)
    assert 0 < numbers["boundary/AP"] < numbers["mask/AP"]
    assert "boundary/AP50" in metric.result().per_class["a"]


def test_files_and_images_without_masks():
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 2, 6, 6]}
    mask = np.zeros((10, 10), bool)
    mask[2:8, 2:8] = True
    annotations = {"images": [{"id": 1, "height": 10, "width": 10}], "categories": [{"id": 1}], "annotations": [box]}
    results = [{**box, "score": 0.9, "segmentation": mask_to_rle(mask)}]
    assert evaluate_coco_files(annotations, results, "boundary")["AP"] == pytest.approx(1)
    nothing = Instances.empty((10, 10))
    assert boundary_iou(nothing, instances([[0, 0, 5, 5]], masks=[mask], shape=(10, 10))).shape == (0, 1)
