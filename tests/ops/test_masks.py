import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.masks import crop_masks, project_masks
from mrcnn.structures.masks import crop_binary_mask, paste_mask, paste_masks
from tests.ops.execution import in_every_mode
from tests.reference import masks as reference


def ellipse(height, width, box):
    """Pixels of an image whose center lies in the ellipse that fills the box."""
    y, x = np.mgrid[:height, :width] + 0.5
    v = (y - (box[0] + box[2]) / 2) / ((box[2] - box[0]) / 2)
    u = (x - (box[1] + box[3]) / 2) / ((box[3] - box[1]) / 2)
    return u * u + v * v <= 1


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def assert_equal_off_the_threshold(mask, values, threshold=0.5):
    """Equality except where rounding may decide."""
    clear = np.abs(values - threshold) > 1e-3
    assert clear.mean() > 0.6
    np.testing.assert_array_equal(np.asarray(mask).astype(bool)[clear], (values >= threshold)[clear])


def random_masks(rng, n, side):
    """Smooth shapes that are neither full nor empty."""
    coarse = tf.image.resize(rng.uniform(size=(n, 4, 4, 1)), (side, side), "bicubic").numpy()[..., 0]
    return (coarse > 0.5).astype(np.uint8)


def test_crop_equals_reference_in_every_mode(rng):
    gt_masks = random_masks(rng, 6, 10).reshape(2, 3, 10, 10)
    gt_boxes = np.tile(np.array([[2, 3, 30, 25], [10.5, 0.2, 22.1, 40], [5, 5, 9, 9]], np.float32), (2, 1, 1))
    index = np.array([[0, 1, 2, 1, 0], [2, 1, 0, 0, 1]], np.int32)
    boxes = np.take_along_axis(gt_boxes, index[..., None], axis=1) + rng.uniform(-4, 4, (2, 5, 4))
    boxes = boxes.astype(np.float32)
    cropped = in_every_mode(lambda *x: crop_masks(*x, 7), gt_masks, gt_boxes, index, boxes)
    assert cropped.dtype == np.float32
    assert set(np.unique(cropped)) == {0, 1}
    values = [
        [reference.crop(gt_masks[b, index[b, s]], gt_boxes[b, index[b, s]], boxes[b, s], 7) for s in range(5)]
        for b in range(2)
    ]
    assert_equal_off_the_threshold(cropped, np.array(values))


def test_crop_to_its_own_box_and_size_is_the_mask(rng):
    masks = random_masks(rng, 4, 14)[None]
    boxes = np.array([[[1.3, 2.7, 30.1, 18.9], [0, 0, 1, 1], [5, 5, 700, 800], [0.1, 0.2, 0.3, 0.4]]], np.float32)
    np.testing.assert_array_equal(crop_masks(masks, boxes, [[0, 1, 2, 3]], boxes, 14), masks)


def test_crop_of_half_covered_cells_counts_them_whatever_the_offset(rng):
    masks = np.zeros((1, 1, 8, 8), np.uint8)
    masks[..., 1::2] = 1  # every 4 x 4 cell averages one column of zeros and one of ones
    for offset in rng.uniform(0, 1000, 20):
        box = (np.array([[[0, 0, 37.7, 12.3]]]) + offset).astype(np.float32)
        np.testing.assert_array_equal(crop_masks(masks, box, [[0]], box, 4), np.ones((1, 1, 4, 4)))


def test_crop_is_zero_outside_the_object():
    cropped = crop_masks(
        np.ones((1, 1, 5, 5), np.uint8), [[[10.0, 10, 20, 20]]], [[0, 0]], [[[10.0, 0, 20, 20], [50, 50, 60, 60]]], 4
    )
    np.testing.assert_array_equal(cropped[0, 0], [[0, 0, 1, 1]] * 4)
    np.testing.assert_array_equal(cropped[0, 1], np.zeros((4, 4)))


def test_crop_of_empty_boxes_and_no_rois():
    masks = np.ones((1, 2, 5, 5), np.uint8)
    gt_boxes = [[[0.0, 0, 0, 0], [3, 3, 3, 9]]]
    cropped = crop_masks(masks, gt_boxes, [[0, 1, 1]], [[[0.0, 0, 9, 9], [0, 0, 9, 9], [3, 3, 3, 3]]], 4)
    np.testing.assert_array_equal(cropped, np.zeros((1, 3, 4, 4)))
    assert crop_masks(masks, gt_boxes, tf.zeros([1, 0], tf.int32), tf.zeros([1, 0, 4]), 4).shape == (1, 0, 4, 4)


@pytest.mark.parametrize(
    "box", [(3.2, 4.1, 17.9, 21.4), (-5.5, -3, 12, 60), (0, 0, 24, 30), (7.3, 8.2, 8.1, 8.9), (30, 40, 50, 60)]
)
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_paste_equals_reference(rng, box, threshold):
    mask = rng.uniform(size=(7, 7)).astype(np.float32)
    pasted = paste_mask(mask, np.array(box), 24, 30, threshold)
    assert_equal_off_the_threshold(pasted, reference.paste(mask, box, 24, 30), threshold)


def test_paste_of_a_full_mask_fills_exactly_the_pixels_of_its_box():
    pasted = paste_mask(np.ones((28, 28)), np.array([2, 3, 9, 12]), 20, 20)
    expected = np.zeros((20, 20), bool)
    expected[2:9, 3:12] = True
    np.testing.assert_array_equal(pasted, expected)


def test_paste_of_nothing_and_of_unusable_boxes():
    assert paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), 5, 6).shape == (0, 5, 6)
    boxes = np.array([[2, 2, 2, 5], [4, 4, 1, 1], [np.nan, 0, 4, 4], [0, 0, np.inf, 4], [-9, -9, -2, -2]])
    assert not paste_masks(np.ones((5, 8, 8)), boxes, 5, 6).any()


@pytest.mark.parametrize("box", [(10.3, 20.6, 90.2, 70.9), (0, 0, 100, 120), (40, 10, 72, 110)])
def test_crop_then_paste_returns_the_shape(box):
    shape = ellipse(100, 120, box)
    side = 28
    small = crop_binary_mask(shape, box, side)
    assert iou(paste_mask(small, np.array(box), 100, 120), shape) >= 0.95
    target = crop_masks(small[None, None], np.array([[box]], np.float32), [[0]], np.array([[box]], np.float32), side)
    assert iou(paste_mask(target[0, 0].numpy(), np.array(box), 100, 120), shape) >= 0.95


@pytest.mark.parametrize("box", [(1.5, 2.25, 11.0, 9.75), (3, 3, 5, 4), (-3, -2, 20, 9), (0, 0, 12, 14)])
@pytest.mark.parametrize("side", [3, 8])
def test_crop_binary_mask_equals_reference(rng, box, side):
    mask = rng.uniform(size=(12, 14)) < 0.5
    cropped = crop_binary_mask(mask, box, side)
    assert cropped.dtype == np.uint8
    assert_equal_off_the_threshold(cropped, reference.coverage(mask, box, side))


def test_crop_binary_mask_of_one_pixel():
    mask = np.zeros((5, 5), np.uint8)
    mask[2, 3] = 1
    np.testing.assert_array_equal(crop_binary_mask(mask, (2, 3, 3, 4), 6), np.ones((6, 6)))


@pytest.mark.parametrize("box", [(2, 2, 2, 4), (3, 3, 1, 1), (np.nan, 0, 1, 1), (50, 50, 60, 60)])
def test_crop_binary_mask_of_unusable_boxes(box):
    np.testing.assert_array_equal(crop_binary_mask(np.ones((5, 5), np.uint8), box, 4), np.zeros((4, 4)))


@pytest.mark.parametrize(
    "box", [(3.2, 4.1, 17.9, 21.4), (-5.5, -3, 12, 60), (0, 0, 24, 30), (7.3, 8.2, 8.1, 8.8), (30, 40, 50, 60)]
)
def test_padded_integer_paste_equals_reference(rng, box):
    mask = rng.uniform(size=(1, 7, 7)).astype(np.float32)
    pasted = paste_masks(mask, np.array([box]), 24, 30, convention="padded_integer")
    assert_equal_off_the_threshold(pasted[0], reference.paste_padded_integer(mask[0], box, 24, 30))


@pytest.mark.parametrize("box", [(3, 4, 18, 21), (-5, -3, 12, 60), (0, 0, 24, 30), (7, 8, 8, 9), (30, 40, 50, 60)])
def test_integer_resize_paste_equals_reference(rng, box):
    mask = rng.uniform(size=(1, 7, 7)).astype(np.float32)
    pasted = paste_masks(mask, np.array([box]), 24, 30, convention="integer_resize")
    assert_equal_off_the_threshold(pasted[0], reference.paste_integer_resize(mask[0], box, 24, 30))


def test_pasted_full_masks_by_hand():
    """Stretched over its box the mask fills it; a border of zeros takes what lies nearer to the border."""
    ones, box = np.ones((1, 4, 4)), np.array([[2, 2, 6, 6]])
    expected = np.zeros((10, 10), bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(paste_masks(ones, box, 10, 10, convention="integer_resize")[0], expected)
    # The box grows to 1 .. 7, seven pixels for six cells: pixel p lies at (p - 0.5) * 6 / 7 - 0.5.
    inside = [0.5 < (p - 0.5) * 6 / 7 - 0.5 < 4.5 for p in range(10)]
    np.testing.assert_array_equal(
        paste_masks(ones, box, 10, 10, convention="padded_integer")[0], np.outer(inside, inside)
    )


@pytest.mark.parametrize("convention", ["padded_integer", "integer_resize"])
def test_paste_conventions_of_nothing_and_of_unusable_boxes(convention):
    assert paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), 5, 6, convention=convention).shape == (0, 5, 6)
    boxes = np.array([[np.nan, 0, 4, 4], [0, 0, np.inf, 4], [-90, -90, -80, -80], [50, 50, 60, 60]])
    assert not paste_masks(np.ones((4, 8, 8)), boxes, 5, 6, convention=convention).any()


ROIS = [(3.2, 4.1, 17.9, 21.4), (0, 0, 20, 26), (5.3, 5.2, 5.9, 6.1), (-3, -4, 9.5, 40), (15, 20, 24, 30), (9, 9, 9, 9)]


@pytest.mark.parametrize("aligned", [True, False])
def test_projected_masks_equal_reference(rng, aligned):
    masks = (rng.uniform(size=(2, 3, 24, 30)) < 0.6).astype(np.uint8)
    masks[:, :, 20:] = masks[:, :, :, 26:] = 0  # padding
    index = np.array([[0, 1, 2, 0, 1, 2], [2, 1, 0, 0, 0, 1]], np.int32)
    boxes = np.array([ROIS, ROIS[::-1]], np.float32)
    content = np.array([[20, 26]] * 2, np.int32)
    shares = project_masks(masks, index, boxes, 5, aligned, True, content)
    halves = project_masks(masks, index, boxes, 5, aligned, False, content)
    for b in range(2):
        for s in range(6):
            expected = reference.project(masks[b, index[b, s], :20, :26], boxes[b, s], 5, aligned)
            np.testing.assert_allclose(shares[b, s], expected, atol=1e-5)
            assert_equal_off_the_threshold(halves[b, s].numpy().astype(bool), expected)


def test_projection_of_a_large_roi_sees_every_pixel():
    """A bin of 40 x 40 pixels of which one in 16 is set; a fixed number of samples would miss or overrate them."""
    mask = np.zeros((1, 1, 80, 80), np.uint8)
    mask[:, :, ::4, ::4] = 1
    shares = project_masks(mask, [[0]], [[[0.5, 0.5, 80.5, 80.5]]], 2, True, True)
    # Samples lie between pixels; bins share row 40 by halves, and row 80 would be beyond the mask.
    np.testing.assert_allclose(shares[0, 0], np.outer([10, 9.5], [10, 9.5]) / 40**2, rtol=1e-5)


def test_projection_in_a_graph_and_of_no_rois(rng):
    masks = (rng.uniform(size=(1, 2, 24, 30)) < 0.6).astype(np.uint8)
    boxes = np.array([ROIS], np.float32)
    specs = [tf.TensorSpec([None] * 4, tf.uint8), tf.TensorSpec([None] * 2, tf.int32), tf.TensorSpec([None] * 3)]
    run = tf.function(lambda m, i, b: project_masks(m, i, b, 5, False, True), input_signature=specs)
    index = np.zeros((1, 6), np.int32)
    np.testing.assert_allclose(run(masks, index, boxes), project_masks(masks, index, boxes, 5, False, True), atol=1e-6)
    assert run(masks, index[:, :0], boxes[:, :0]).shape == (1, 0, 5, 5)
