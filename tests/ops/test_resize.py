import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.ops.resize import pad_image, padded_shape, resize_image, resized_shape


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (480, 640, (800, 1067)),
        (640, 480, (1067, 800)),
        (375, 1242, (402, 1333)),
        (800, 800, (800, 800)),
        (1, 1, (800, 800)),
        (1, 5000, (1, 1333)),
        (3000, 4000, (800, 1067)),
    ],
)
def test_resized_shape_of_hand_numbers(height, width, expected):
    assert resized_shape(height, width, 800, 1333) == expected


@pytest.mark.parametrize(
    "height, width, rounding, never_shrink, expected",
    [
        (480, 640, "floor", False, (320, 426)),
        (640, 480, "floor", False, (426, 320)),
        (480, 640, "half_up", False, (320, 427)),
        (300, 1000, "floor", False, (153, 512)),
        (480, 640, "half_even", True, (384, 512)),  # shrunk for the longer side alone
        (400, 500, "half_even", True, (400, 500)),  # the shorter side is above 320 and stays
        (400, 500, "floor", True, (400, 500)),
        (160, 200, "half_even", True, (320, 400)),
        (1, 9, "floor", False, (56, 512)),
        (1, 5000, "floor", False, (1, 512)),
    ],
)
def test_resized_shape_by_the_rules_of_others(height, width, rounding, never_shrink, expected):
    assert resized_shape(height, width, 320, 512, rounding, never_shrink) == expected


@pytest.mark.parametrize(
    "size, sides, expected",
    [
        ((480, 150), (300, 400), (400, 125)), ((808, 881), (256, 640), (256, 279)),
        ((1053, 305), (400, 512), (512, 148)), ((222, 171), (400, 1000), (519, 400)),
        ((667, 1271), (320, 1333), (320, 609)), ((427, 640), (800, 1333), (800, 1199)),
    ],
)  # fmt: skip
def test_floor_takes_the_scale_in_double_precision(size, sides, expected):
    """Sizes that torchvision 0.29 itself gave; with a scale in float32 most would lose a pixel."""
    assert resized_shape(*size, *sides, "floor") == expected


@pytest.mark.parametrize(
    "size, expected", [((44, 248), (236, 1333)), ((143, 806), (237, 1333)), ((344, 44), (1333, 170))]
)
def test_half_up_takes_the_steps_of_detectron2(size, expected):
    """Where 1333 / longer * shorter ends in one half but for rounding."""
    assert resized_shape(*size, 800, 1333) == expected


def test_half_even_rounding_of_hand_numbers():
    assert resized_shape(5, 10, 3, 100, "half_up") == (3, 6)
    assert resized_shape(4, 10, 5, 100, "half_up") == (5, 13)
    assert resized_shape(4, 10, 5, 100, "half_even") == (5, 12)


def test_padded_shape():
    assert padded_shape(800, 1067, 32) == (800, 1088)
    assert padded_shape(1, 33, 32) == (32, 64)


@pytest.mark.parametrize("shape", [(40, 60), (17, 90), (60, 20), (7, 5), (1, 1)])
def test_resize_equals_antialiased_bilinear_to_one_gray_level(rng, shape):
    image = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    expected = tf.image.resize(image.astype(np.float32), shape, "bilinear", antialias=True)
    resized = resize_image(image, shape)
    assert resized.dtype == np.uint8
    assert resized.shape == (*shape, 3)
    # Half a level from rounding the result, half from rounding between the two axes.
    assert np.abs(resized - expected.numpy()).max() <= 1.01


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_channels_are_resized_alike(rng, channels):
    image = rng.integers(0, 256, (9, 11, channels)).astype(np.uint8)
    resized = resize_image(image, (20, 6))
    assert resized.shape == (20, 6, channels)
    for i in range(channels):
        np.testing.assert_array_equal(resized[..., i], resize_image(image[..., i], (20, 6)))


def test_resize_keeps_what_fits_and_constant_images(rng):
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    assert resize_image(image, (9, 11)) is image
    assert (resize_image(np.full((9, 11, 3), 77, np.uint8), (30, 5)) == 77).all()
    assert (resize_image(np.full((1, 1, 3), 9, np.uint8), (64, 64)) == 9).all()


def test_resize_refuses_other_types():
    with pytest.raises(ValueError, match="uint8"):
        resize_image(np.zeros((4, 4, 3), np.float32), (8, 8))


def test_pad_keeps_the_image_upper_left(rng):
    image = rng.integers(1, 256, (3, 4, 3)).astype(np.uint8)
    padded = pad_image(image, 5, 8)
    assert padded.shape == (5, 8, 3)
    np.testing.assert_array_equal(padded[:3, :4], image)
    assert padded.sum() == image.sum()
    assert pad_image(image, 3, 4) is image


def test_pad_refuses_an_image_that_does_not_fit():
    with pytest.raises(ValueError, match="3 x 4"):
        pad_image(np.zeros((3, 4, 3), np.uint8), 8, 3)


def slow_linear(image, shape, black):
    """Bilinear values one by one, the edge repeated or black beyond it."""
    result = np.zeros((*shape, image.shape[2]))
    for i in range(shape[0]):
        for j in range(shape[1]):
            y = (i + 0.5) * image.shape[0] / shape[0] - 0.5
            x = (j + 0.5) * image.shape[1] / shape[1] - 0.5
            for row in (int(np.floor(y)), int(np.floor(y)) + 1):
                for column in (int(np.floor(x)), int(np.floor(x)) + 1):
                    weight = (1 - abs(y - row)) * (1 - abs(x - column))
                    near = min(max(row, 0), image.shape[0] - 1), min(max(column, 0), image.shape[1] - 1)
                    if not black or near == (row, column):
                        result[i, j] += weight * image[near]
    return result


@pytest.mark.parametrize("shape", [(14, 25), (5, 4), (9, 30), (1, 1)])
def test_linear_resize_equals_reference(rng, shape):
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    resized = resize_image(image, shape, "linear")
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, slow_linear(image, shape, False), atol=1e-3)
    np.testing.assert_allclose(resized, tf.image.resize(image, shape, "bilinear"), atol=1e-3)


@pytest.mark.parametrize("shape", [(14, 25), (5, 4), (9, 30), (1, 1), (9, 11)])
def test_linear_bytes_are_the_rounded_interpolation(rng, shape):
    """Weights of 11 bits and sums that lose their lowest ones: at most one gray level beside the exact value."""
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    resized = resize_image(image, shape, "linear_u8")
    assert resized.dtype == np.uint8
    assert np.abs(resized - slow_linear(image, shape, False)).max() <= 1.0
    assert (resize_image(np.full((9, 11, 3), 255, np.uint8), shape, "linear_u8") == 255).all()
    assert (resize_image(image[..., 0], shape, "linear_u8") == resized[..., 0]).all()


def test_linear_bytes_are_those_of_opencv():
    """tests/golden/data has what cv2.resize made of the image."""
    data = Path(__file__).parents[1] / "golden" / "data"
    image = np.asarray(Image.open(data / "000000491525.jpg").convert("RGB"))
    expected = np.asarray(Image.open(data / "000000491525_resized_cv2_320x427.png"))
    np.testing.assert_array_equal(resize_image(image, (320, 427), "linear_u8"), expected)


def exact_value(image, shape, row, column, channel):
    """Bilinear value of one target pixel as a fraction, black beyond the image."""
    y = Fraction(2 * row + 1, 2) * Fraction(image.shape[0], shape[0]) - Fraction(1, 2)
    x = Fraction(2 * column + 1, 2) * Fraction(image.shape[1], shape[1]) - Fraction(1, 2)
    value = Fraction(0)
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                value += (1 - abs(y - i)) * (1 - abs(x - j)) * int(image[i, j, channel])
    return value


def slope(image, shape, row, column, channel):
    """By how much the value grows along the longer axis, one pixel further; 0 on a source pixel."""
    value, sizes = Fraction(0), image.shape[:2]
    places = [
        Fraction(2 * i + 1, 2) * Fraction(n, m) - Fraction(1, 2)
        for i, n, m in zip((row, column), sizes, shape, strict=True)
    ]
    longer = 1 if sizes[1] >= sizes[0] else 0
    if places[longer].denominator == 1:
        return value
    for i in (math.floor(places[0]), math.floor(places[0]) + 1):
        for j in (math.floor(places[1]), math.floor(places[1]) + 1):
            if 0 <= i < sizes[0] and 0 <= j < sizes[1]:
                across = abs(places[1 - longer] - (i, j)[1 - longer])
                sign = 1 if (i, j)[longer] > places[longer] else -1
                value += sign * (1 - across) * int(image[i, j, channel])
    return value


@pytest.mark.parametrize(
    "size, shape",
    [((9, 11), (14, 25)), ((9, 11), (5, 4)), ((10, 15), (8, 12)), ((4, 6), (8, 3)), ((6, 4), (3, 8)), ((9, 6), (3, 2))],
)
def test_linear_black_cuts_the_exact_value_off(rng, size, shape):
    """A whole gray level counts as just below where the image gets brighter, as at a ratio of 5/4 every fourth does."""
    image = (rng.integers(0, 3, (*size, 2)).cumsum(axis=1) * 4 + 100).astype(np.uint8)
    image[size[0] // 2, size[1] // 2] = 0
    resized = resize_image(image, shape, "linear_black_u8")
    assert resized.dtype == np.uint8
    whole = 0
    for index in np.ndindex(resized.shape):
        value = exact_value(image, shape, *index)
        is_tie = value.denominator == 1
        whole += is_tie
        assert resized[index] == math.floor(value) - (is_tie and slope(image, shape, *index) > 0), (index, value)
    assert whole > 4 or size == (9, 11)


def test_linear_black_keeps_the_range_of_the_image():
    assert (resize_image(np.full((3, 3, 1), 77, np.uint8), (6, 6), "linear_black_u8") == 77).all()


def test_linear_keeps_pixels_of_an_image_that_fits(rng):
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    resized = resize_image(image, (9, 11), "linear")
    assert resized.dtype == np.float32
    np.testing.assert_array_equal(resized, image)


def test_centerd_padding_leaves_the_odd_pixel_below_and_right(rng):
    image = rng.integers(1, 256, (3, 4, 3)).astype(np.uint8)
    padded = pad_image(image, 6, 9, center=True)
    np.testing.assert_array_equal(padded[1:4, 2:6], image)
    assert (padded != 0).all(-1).sum() == 12


GOLDEN = Path(__file__).parents[1] / "golden" / "data"


def assert_only_ties_differ(ours, theirs, image, at):
    """At most 1 % of the values differ, by one gray level, and the exact value of each is a whole level."""
    differing = np.argwhere(np.abs(ours - theirs) > 1e-4)
    assert len(differing) <= 0.01 * ours.size
    for index in differing:
        value = exact_value(image, *at(index))
        assert value.denominator == 1
        assert sorted((ours[tuple(index)], round(float(theirs[tuple(index)]), 3))) == [value - 1, value]


def test_matterports_own_input():
    """The stored values of the canvas of 512 x 512, 5/4 smaller: none differs today."""
    golden = np.load(GOLDEN / "mp_mask_r50.npz")
    image = np.asarray(Image.open(GOLDEN / "000000491525.jpg").convert("RGB"))
    shape = resized_shape(*image.shape[:2], 320, 512, "half_even", True)
    canvas = pad_image(resize_image(image, shape, "linear_black_u8"), 512, 512, center=True)
    index = np.stack(np.unravel_index(golden["input/index"], canvas.shape), axis=1)
    theirs = golden["input/value"] + np.array([123.7, 116.8, 103.9])[index[:, 2]]
    top, left = (512 - shape[0]) // 2, (512 - shape[1]) // 2

    def at(which):
        row, column, channel = index[which[0]].tolist()
        return shape, row - top, column - left, channel

    assert_only_ties_differ(canvas[tuple(index.T)].astype(float), theirs, image, at)


def test_matterports_own_image(data_dir):
    """Every byte of an image that matterport resized for training, 5/2 smaller: 0.4 % differ."""
    theirs = np.asarray(Image.open(data_dir / "golden" / "000000491525_resized_mp_192x256.png").convert("RGB"))
    image = np.asarray(Image.open(GOLDEN / "000000491525.jpg").convert("RGB"))
    shape = theirs.shape[:2]
    ours = resize_image(image, shape, "linear_black_u8")
    assert_only_ties_differ(ours.astype(float), theirs.astype(float), image, lambda index: (shape, *index.tolist()))


def test_torchvisions_own_input():
    golden = np.load(GOLDEN / "tv_mask_r50_fpn.npz")
    image = np.asarray(Image.open(GOLDEN / "000000491525.jpg").convert("RGB"))
    shape = resized_shape(*image.shape[:2], 320, 512, "floor")
    assert shape == tuple(golden["resized_hw"])
    pixels = (resize_image(image, shape, "linear") / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    canvas = pad_image(pixels, *padded_shape(*shape, 32)).transpose(2, 0, 1)
    np.testing.assert_allclose(canvas.ravel()[golden["input/index"]], golden["input/value"], atol=1e-4)
