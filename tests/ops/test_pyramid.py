import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.pyramid import Windows, assign_levels, divide, gather_patches, window_entries
from tests.ops.execution import in_every_mode, random_boxes
from tests.ops.extremes import ENDS
from tests.reference import roi_align as reference


def squares(*sides):
    sides = np.array(sides, np.float32)
    return np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=-1)


def test_levels_of_hand_numbers():
    sides = np.array([1, 111, 112, 223, 224, 447, 448, 895, 896, 5000], np.float32)
    boxes = np.stack([np.zeros(10), np.zeros(10), sides, sides], axis=-1)
    np.testing.assert_array_equal(assign_levels(boxes, 2, 5), [2, 2, 3, 3, 4, 4, 5, 5, 5, 5])


def test_levels_equal_reference_in_every_mode(rng):
    boxes = random_boxes(rng, 200, extent=1000, largest=1200)
    boxes[:3] = [[5, 5, 5, 9], [9, 9, 4, 4], [0, 0, 0, 0]]
    levels = in_every_mode(lambda b: assign_levels(b, 2, 5), boxes)
    np.testing.assert_array_equal(levels, [reference.level_of(box, 2, 5) for box in boxes.astype(np.float64)])


def test_epsilon_inside_or_after_the_logarithm():
    # log2(55.99 / 224 + 0.001) > -2, while log2(55.99 / 224) + 0.0001 < -2 < log2(55.99 / 224) + 0.001.
    box = squares(55.99)
    assert assign_levels(box, 1, 5, rule="floor_inside", epsilon=1e-3) == 2
    assert assign_levels(box, 1, 5, rule="floor_after", epsilon=1e-3) == 2
    assert assign_levels(box, 1, 5, rule="floor_after", epsilon=1e-4) == 1
    assert assign_levels(box, 1, 5, rule="floor_inside", epsilon=1e-8) == 1


@pytest.mark.parametrize(("rule", "epsilon"), [("floor_inside", 1e-8), ("floor_after", 1e-6), ("floor_inside", 1e-6)])
def test_canonical_sizes_lie_on_their_levels_under_every_floor_rule(rule, epsilon):
    boxes = squares(0, 56, 111.9, 112, 223.9, 224, 447.9, 448, 1e6)
    boxes[0] = [9, 9, 4, 4]
    levels = in_every_mode(lambda b: assign_levels(b, 2, 5, rule=rule, epsilon=epsilon), boxes)
    np.testing.assert_array_equal(levels, [2, 2, 2, 3, 3, 4, 4, 5, 5])


def test_rounded_level_is_measured_against_the_image():
    # 1024 x 1024: side 223.78 px of 1023 between the outer pixels is 224 of 1024; half levels at factors of sqrt(2).
    edge = 224 * 1023 / 1024
    boxes = squares(0, edge / 2**1.49, edge / 2**1.51, edge / 2**0.49, edge, edge * 2**0.51, edge * 2**1.51, 1e5)
    levels = in_every_mode(
        lambda b, s: assign_levels(b, 2, 5, rule="round_image_area", image_shape=s), boxes, np.array([1024, 1024])
    )
    np.testing.assert_array_equal(levels, [2, 3, 2, 4, 4, 5, 5, 5])


@pytest.mark.parametrize("rule", ["floor_inside", "floor_after", "round_image_area"])
def test_levels_to_the_ends_of_float32(rule):
    """Areas that are infinite, that vanish, and zero times infinity."""
    boxes = np.stack(np.meshgrid(ENDS, ENDS, ENDS, ENDS), axis=-1).reshape(-1, 4)
    shape = np.array([1024, 1024], np.int32)

    def levels_of(boxes, shape):
        return assign_levels(boxes, 2, 5, rule=rule, image_shape=shape)

    with np.errstate(over="ignore", invalid="ignore"):  # a side is a float32: infinite beyond its ends
        height, width = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).astype(np.float64).T
        side = np.fmax(np.sqrt(height * width), 1e-30)
    if rule == "round_image_area":
        expected = 4 + np.round(np.log2(side / 1023 / (224 / 1024)))
    else:
        expected = np.floor(4 + np.log2(side / 224) + 1e-6)
    np.testing.assert_array_equal(in_every_mode(levels_of, boxes, shape), expected.clip(2, 5))


def test_rules_are_checked():
    with pytest.raises(ValueError, match="image_shape"):
        assign_levels(squares(1), 2, 5, rule="round_image_area")
    with pytest.raises(ValueError, match=r"floor_inside.*'middle'"):
        assign_levels(squares(1), 2, 5, rule="middle")


def test_window_entries_of_hand_numbers():
    # A map of 5 columns: a 2 x 2 window at cell 6, an empty one, a row of three at 0.
    windows = Windows(*(tf.constant(field) for field in ([6, 9, 0], [5, 5, 5], [2, 0, 1], [2, 4, 3])))
    entries = window_entries(windows)
    np.testing.assert_array_equal(entries.bin, [0, 0, 0, 0, 2, 2, 2])
    np.testing.assert_array_equal(entries.cell, [6, 7, 11, 12, 0, 1, 2])
    np.testing.assert_array_equal(entries.y, [0, 0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(entries.x, [0, 1, 0, 1, 0, 1, 2])


def test_division_is_rounded_once_in_every_mode():
    x = np.arange(1, 3000, dtype=np.float32)
    for divisor in (3, 7, 14, 28):
        quotient = in_every_mode(lambda v, d=divisor: divide(v, d), x, atol=0, xla=False)
        np.testing.assert_array_equal(quotient, x / np.float32(divisor))


@pytest.mark.parametrize("side", [1, 3, 5])
def test_patches_are_the_cells_around_with_zeros_beyond_the_border(rng, side):
    levels = [rng.normal(size=(2, *shape, 3)).astype(np.float32) for shape in ((4, 5), (2, 3), (1, 1))]
    cell = np.stack([rng.permutation(27), rng.permutation(27)]).astype(np.int32)  # all 20 + 6 + 1, in any order

    def patches_of(*inputs):
        maps = [tf.ensure_shape(x, [None, None, None, 3]) for x in inputs[:3]]
        return gather_patches(maps, inputs[3], side)

    patches = in_every_mode(patches_of, *levels, cell)
    margin = side // 2
    for b in range(2):
        expected = []
        for level in levels:
            padded = np.pad(level[b], ((margin, margin), (margin, margin), (0, 0)))
            height, width = level.shape[1:3]
            expected += [padded[y : y + side, x : x + side] for y in range(height) for x in range(width)]
        np.testing.assert_array_equal(patches[b], np.stack(expected)[cell[b]])


def test_gradient_of_patches_adds_up_where_they_overlap():
    level = tf.Variable(tf.zeros([1, 3, 3, 1]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(gather_patches([level], tf.constant([[0, 4, 4]]), 3))
    result = tf.convert_to_tensor(tape.gradient(total, level))[0, :, :, 0]
    np.testing.assert_array_equal(result, [[3, 3, 2], [3, 3, 2], [2, 2, 2]])
