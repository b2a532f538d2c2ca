from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import rotated_iou
from mrcnn.ops.boxes import pairwise_iou
from mrcnn.ops.rotated_iou import pairwise_rotated_iou, rotated_nms
from tests.ops.test_nms import kept
from tests.ops.test_rotated_boxes import as_upright, random_rotated


def corners(box: np.ndarray) -> list[np.ndarray]:
    center_y, center_x, height, width, angle = box.astype(np.float64)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    local = [(-height / 2, -width / 2), (-height / 2, width / 2), (height / 2, width / 2), (height / 2, -width / 2)]
    return [np.array([center_y + cosine * v - sine * u, center_x + sine * v + cosine * u]) for v, u in local]


def area(polygon: list[np.ndarray]) -> float:
    return 0.5 * abs(sum(a[1] * b[0] - a[0] * b[1] for a, b in zip(polygon, polygon[1:] + polygon[:1], strict=True)))


def slow_iou(a: np.ndarray, b: np.ndarray) -> float:
    """One polygon clipped by the sides of the other, one after the other (Sutherland and Hodgman), in float64."""
    polygon, other = corners(a), corners(b)
    for start, end in zip(other, other[1:] + other[:1], strict=True):

        def side(p: np.ndarray, start: np.ndarray = start, end: np.ndarray = end) -> float:
            return float((end - start)[1] * (p - start)[0] - (end - start)[0] * (p - start)[1])

        clipped = []
        for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if side(p) >= 0:
                clipped.append(p)
            if side(p) * side(q) < 0:
                clipped.append(p + (q - p) * side(p) / (side(p) - side(q)))
        polygon = clipped
        if not polygon:
            return 0.0
    common = area(polygon)
    return common / (area(corners(a)) + area(corners(b)) - common)


def test_equals_clipping_of_polygons(rng: np.random.Generator) -> None:
    a, b = random_rotated(rng, 24), random_rotated(rng, 17)
    expected = np.array([[slow_iou(x, y) for y in b] for x in a])
    assert 0.2 < (expected > 0).mean() < 0.9
    np.testing.assert_allclose(pairwise_rotated_iou(a, b), expected, atol=2e-6)


def test_many_pairs_in_chunks_and_in_a_graph(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random_rotated(rng, 12), random_rotated(rng, 9)
    whole = pairwise_rotated_iou(a, b).numpy()
    monkeypatch.setattr(rotated_iou, "_CHUNK", 7)
    np.testing.assert_allclose(pairwise_rotated_iou(a, b), whole, atol=1e-6)
    shape = tf.TensorSpec([None, 5], tf.float32)
    np.testing.assert_allclose(
        tf.function(pairwise_rotated_iou, input_signature=[shape, shape])(a, b), whole, atol=1e-6
    )


def test_hand_numbers() -> None:
    square = [0.0, 0, 2, 2, 0]
    others = [
        square, [0, 0, 2, 2, 90], [0, 0, 2, 2, -270], [0, 0, 1, 1, 10], [0, 0, 2, 4, 90], [0, 2, 2, 2, 0],
        [0, 1, 2, 2, 0], [0, 0, 2, 2, 45],
    ]  # fmt: skip
    octagon = 8 * (2**0.5 - 1)
    expected = [1, 1, 1, 1 / 4, 1 / 2, 0, 1 / 3, octagon / (8 - octagon)]
    np.testing.assert_allclose(pairwise_rotated_iou([square], others)[0], expected, atol=1e-5)


def test_equal_boxes_anywhere_and_however_thin(rng: np.random.Generator) -> None:
    boxes = random_rotated(rng, 60, extent=4000)
    boxes[:20, 2] = 1.0
    np.testing.assert_allclose(np.diag(pairwise_rotated_iou(boxes, boxes)), 1, atol=1e-3)
    half = boxes + np.float32([0, 0, 0, 0, 180])
    np.testing.assert_allclose(np.diag(pairwise_rotated_iou(boxes, half)), 1, atol=2e-3)


def test_without_a_turn_it_is_the_iou_of_boxes(rng: np.random.Generator) -> None:
    boxes = random_rotated(rng, 20)
    boxes[:, 4] = 0
    np.testing.assert_allclose(
        pairwise_rotated_iou(boxes, boxes), pairwise_iou(as_upright(boxes), as_upright(boxes)), atol=1e-5
    )


def test_empty_boxes_and_boxes_that_are_not_finite_overlap_nothing() -> None:
    bad = [[1.0, 1, 0, 4, 0], [1, 1, -2, 4, 0], [np.nan, 1, 2, 2, 0], [1, 1, np.inf, 2, 0], [1, 1, 2, 2, np.nan]]
    assert (pairwise_rotated_iou(bad, [*bad, [1.0, 1, 2, 2, 20]]).numpy() == 0).all()
    assert pairwise_rotated_iou(np.zeros((0, 5)), bad).shape == (0, 5)
    assert pairwise_rotated_iou(bad, np.zeros((0, 5))).shape == (5, 0)


@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("num_groups", [None, 3])
def test_nms_equals_the_greedy_loop(rng: np.random.Generator, threshold: float, num_groups: int | None) -> None:
    boxes, scores = random_rotated(rng, 40), rng.permutation(40).astype(np.float32) / 40
    groups = None if num_groups is None else rng.integers(0, num_groups, 40)
    winners: list[int] = []
    for i in np.argsort(-scores):
        rivals = [j for j in winners if groups is None or groups[j] == groups[i]]
        if scores[i] > 0.1 and all(slow_iou(boxes[i], boxes[j]) <= threshold for j in rivals):
            winners.append(int(i))
    assert len(winners) < 36
    assert kept(rotated_nms(boxes, scores, groups, threshold, 40, 0.1)) == winners
    assert kept(rotated_nms(boxes, scores, groups, threshold, 5, 0.1)) == winners[:5]


def test_what_never_wins() -> None:
    boxes = np.array([[9, 9, 4, 4, 0], [1, 1, 2, 2, 0], [np.nan, 0, 4, 4, 0], [0, 0, 4, 4, np.inf]], np.float32)
    scores = np.array([np.nan, 0.1, 0.9, 0.8], np.float32)
    assert kept(rotated_nms(boxes, scores, None, 0.5, 4)) == [1]
    assert kept(rotated_nms(boxes[[1, 1]], scores[[2, 1]], None, 0.5, 2, valid=[False, True])) == [1]
    assert kept(rotated_nms(boxes[:0], scores[:0], None, 0.5, 3)) == []
