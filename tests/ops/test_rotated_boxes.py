from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops import boxes as upright
from mrcnn.ops import rotated_boxes as rotated


def random_rotated(rng: np.random.Generator, number: int, extent: float = 60.0) -> np.ndarray:
    centers, sides = rng.uniform(0, extent, (number, 2)), rng.uniform(2, extent / 2, (number, 2))
    return np.concatenate([centers, sides, rng.uniform(-200, 200, (number, 1))], axis=1).astype(np.float32)


def as_upright(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], axis=1)


def test_corners_of_a_quarter_turn_and_of_thirty_degrees() -> None:
    # Counterclockwise on the screen: what lay to the right (x) comes to lie on top (smaller y).
    corners = rotated.rotated_corners(tf.constant([[5.0, 5.0, 2.0, 4.0, 90.0], [0.0, 0.0, 2.0, 4.0, 30.0]])).numpy()
    np.testing.assert_allclose(corners[0], [[7, 4], [3, 4], [3, 6], [7, 6]], atol=1e-5)
    sine, cosine = 0.5, 3**0.5 / 2
    expected = [(cosine * v - sine * u, sine * v + cosine * u) for v, u in ((-1, -2), (-1, 2), (1, 2), (1, -2))]
    np.testing.assert_allclose(corners[1], expected, atol=1e-6)


def test_bounds_and_area(rng: np.random.Generator) -> None:
    boxes = random_rotated(rng, 20)
    corners = rotated.rotated_corners(boxes).numpy()
    np.testing.assert_allclose(
        rotated.rotated_bounds(boxes), np.concatenate([corners.min(1), corners.max(1)], axis=1), atol=1e-5
    )
    y, x = corners[..., 0].astype(np.float64), corners[..., 1].astype(np.float64)
    shoelace = 0.5 * abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1))
    np.testing.assert_allclose(rotated.rotated_area(boxes), shoelace, rtol=1e-4)
    assert rotated.rotated_area([[0.0, 0, -1, 5, 0], [0, 0, 0, 5, 0]]).numpy().tolist() == [0, 0]


def test_deltas_lead_back_and_are_those_of_upright_boxes_without_a_turn(rng: np.random.Generator) -> None:
    boxes, reference = random_rotated(rng, 30), random_rotated(rng, 30)
    weights = (10.0, 10.0, 5.0, 5.0, 1.0)
    deltas = rotated.encode_rotated_deltas(boxes, reference, weights)
    assert (abs(deltas[:, 4].numpy()) <= np.pi + 1e-5).all()
    decoded = rotated.decode_rotated_deltas(deltas, reference, weights)
    np.testing.assert_allclose(decoded, rotated.normalize_angles(boxes), rtol=1e-4, atol=2e-4)
    boxes[:, 4] = reference[:, 4] = 0
    deltas = rotated.encode_rotated_deltas(boxes, reference)
    expected = upright.encode_deltas(as_upright(boxes), as_upright(reference))
    np.testing.assert_allclose(deltas[:, :4], expected, rtol=1e-4, atol=1e-5)
    assert (deltas[:, 4].numpy() == 0).all()


def test_deltas_of_empty_boxes_are_finite_with_their_gradients() -> None:
    boxes = tf.constant([[5.0, 5, 0, 4, 30], [5, 5, 3, 4, 0]])
    with tf.GradientTape() as tape:
        tape.watch(boxes)
        deltas = rotated.encode_rotated_deltas(boxes, tf.reverse(boxes, [0]))
    assert np.isfinite(deltas).all() and (deltas[:, :4].numpy() == 0).all()
    assert np.isfinite(tape.gradient(deltas, boxes)).all()


def test_growth_is_bounded() -> None:
    box = rotated.decode_rotated_deltas([[0.0, 0, 50, 50, 0]], [[0.0, 0, 2, 4, 170]])
    np.testing.assert_allclose(box, [[0, 0, 125, 250, 170]], rtol=1e-5)


def test_only_nearly_upright_boxes_are_clipped() -> None:
    boxes = [[5.0, 5, 20, 6, 0], [5, 5, 20, 6, 359.5], [5, 5, 20, 6, 45], [100, 5, 4, 4, 0]]
    clipped = rotated.clip_rotated_boxes(boxes, [12, 30]).numpy()
    np.testing.assert_allclose(
        clipped, [[6, 5, 12, 6, 0], [6, 5, 12, 6, -0.5], [5, 5, 20, 6, 45], [12, 5, 0, 4, 0]], atol=1e-4
    )


def test_scaling_by_one_factor_and_by_two(rng: np.random.Generator) -> None:
    boxes = random_rotated(rng, 10)
    np.testing.assert_allclose(
        rotated.rotated_corners(rotated.scale_rotated_boxes(boxes, [0.5, 0.5])),
        0.5 * rotated.rotated_corners(boxes).numpy(),
        atol=1e-4,
    )
    # A side keeps the length that the stretched image gives it; an upright box stays one.
    turned = rotated.scale_rotated_boxes([[2.0, 4, 6, 8, 90], [2, 4, 6, 8, 0]], [2.0, 3.0]).numpy()
    np.testing.assert_allclose(turned, [[4, 12, 18, 16, 90], [4, 12, 12, 24, 0]], rtol=1e-5)


def test_anchors_lie_row_by_row() -> None:
    cells = rotated.rotated_cell_anchors([8], [1.0, 4.0], [0, 30])
    np.testing.assert_allclose(cells, [[0, 0, 8, 8, 0], [0, 0, 8, 8, 30], [0, 0, 16, 4, 0], [0, 0, 16, 4, 30]])
    anchors = rotated.rotated_grid_anchors(2, 3, 8, cells, offset=0.5).numpy()
    assert anchors.shape == (24, 5)
    np.testing.assert_allclose(anchors[4 * 4 + 3], [12, 12, 16, 4, 30])


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5)])
def test_empty(shape: tuple[int, ...]) -> None:
    boxes = tf.zeros(shape)
    assert rotated.rotated_corners(boxes).shape == (*shape[:-1], 4, 2)
    for result in (
        rotated.encode_rotated_deltas(boxes, boxes), rotated.decode_rotated_deltas(boxes, boxes),
        rotated.clip_rotated_boxes(boxes, [4, 4]), rotated.normalize_angles(boxes),
    ):  # fmt: skip
        assert result.shape == shape
