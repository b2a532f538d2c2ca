from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms

from mrcnn.data.errors import DataError
from mrcnn.data.images import as_rgb, read_image
from tests.data.image_files import COLOR, GRAY, save

MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "RGBX", "I;16", "I")


@pytest.mark.parametrize("mode", MODES)
def test_pil_images_of_every_mode_become_rgb(mode: str) -> None:
    red = Image.new("RGB", (4, 3), (200, 40, 30))
    if mode in ("I;16", "I"):
        image, expected = Image.fromarray(np.full((3, 4), 257 * 90, np.uint16)), (90, 90, 90)
        image = image if mode == "I;16" else image.convert("I")
    elif mode in ("1", "L", "LA"):
        gray = red.convert("L")
        image, expected = gray.convert(mode), (gray.getpixel((0, 0)),) * 3
        expected = None if mode == "1" else expected
    else:
        palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
        image, expected = palette if mode in ("P", "PA") else red.convert(mode), (200, 40, 30)
        image = image.convert("PA") if mode == "PA" else image
        if mode == "LAB":
            image = ImageCms.profileToProfile(
                red, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
            )
    rgb = as_rgb(image)
    assert rgb.dtype == np.uint8 and rgb.shape == (3, 4, 3)
    if expected is not None:
        np.testing.assert_allclose(rgb[1, 1].astype(int), expected, atol=3)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pil_images_are_turned_as_their_files_are(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, options in (("p.png", {"exif": exif}), ("p.tif", {"tiffinfo": {0x0112: orientation}})):
        path = save(tmp_path, COLOR, name, **options)
        for load in (lambda image: None, Image.Image.load):
            with Image.open(path) as image:
                load(image)
                np.testing.assert_array_equal(as_rgb(image), read_image(path))


def test_arrays_and_tensors_become_rgb(tmp_path: Path) -> None:
    for gray in (GRAY, GRAY[..., None], tf.constant(GRAY), memoryview(GRAY)):
        np.testing.assert_array_equal(as_rgb(gray), np.stack([GRAY] * 3, axis=-1))
    for color in (COLOR, np.dstack([COLOR, GRAY]), tf.constant(COLOR), COLOR.tolist(), save(tmp_path, COLOR)):
        color = np.array(color, np.uint8) if isinstance(color, list) else color
        np.testing.assert_array_equal(as_rgb(color), COLOR)
    np.testing.assert_array_equal(as_rgb(GRAY.astype(np.uint16) * 257), np.stack([GRAY] * 3, axis=-1))
    np.testing.assert_array_equal(as_rgb(GRAY > 100)[..., 0], (GRAY > 100) * 255)
    np.testing.assert_array_equal(as_rgb(COLOR / np.float32(255), in_range=(0, 1)), COLOR)
    assert as_rgb(np.dstack([COLOR, COLOR]), bands=(6, 5, 4))[0, 0].tolist() == COLOR[0, 0, ::-1].tolist()


@pytest.mark.parametrize(
    "image, reason",
    [
        (np.zeros((2, 3, 4, 3), np.uint8), r"photo: expected one image, got a batch of shape \(2, 3, 4, 3\)"),
        (np.zeros((3, 40, 50), np.uint8), "photo: .*move the channels last"),
        (np.zeros((4, 4, 3)), r"photo: expected uint8, got float64 .*in_range=\(0, 1\)"),
        (np.zeros((4, 4, 5), np.uint8), "photo: .*choose bands"),
        (np.zeros((0, 4, 3), np.uint8), "photo: expected uint8"),
        (np.array(["a"]), "photo: expected uint8"),
        (None, "photo: expected uint8"),
        ([[1, 2], [3]], "photo: a list cannot be read as an array"),
        (Image.new("F", (3, 3)), "photo: floating-point image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(image, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        as_rgb(image, name="photo")
    assert "\n" not in str(error.value)
