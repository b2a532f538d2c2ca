import numpy as np
import pytest
import tensorflow as tf

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


def test_padded_shape():
    assert padded_shape(800, 1067, 32) == (800, 1088)
    assert padded_shape(1, 33, 32) == (32, 64)


@pytest.mark.parametrize("shape", [(40, 60), (17, 90), (60, 20), (7, 5), (1, 1)])
def test_resize_equals_antialiased_bilinear_to_one_grey_level(rng, shape):
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


def test_resize_keeps_what_fits_and_constant_pictures(rng):
    image = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    assert resize_image(image, (9, 11)) is image
    assert (resize_image(np.full((9, 11, 3), 77, np.uint8), (30, 5)) == 77).all()
    assert (resize_image(np.full((1, 1, 3), 9, np.uint8), (64, 64)) == 9).all()


def test_resize_refuses_other_types():
    with pytest.raises(ValueError, match="uint8"):
        resize_image(np.zeros((4, 4, 3), np.float32), (8, 8))


def test_pad_keeps_the_picture_upper_left(rng):
    image = rng.integers(1, 256, (3, 4, 3)).astype(np.uint8)
    padded = pad_image(image, 5, 8)
    assert padded.shape == (5, 8, 3)
    np.testing.assert_array_equal(padded[:3, :4], image)
    assert padded.sum() == image.sum()
    assert pad_image(image, 3, 4) is image


def test_pad_refuses_a_picture_that_does_not_fit():
    with pytest.raises(ValueError, match="3 x 4"):
        pad_image(np.zeros((3, 4, 3), np.uint8), 8, 3)
