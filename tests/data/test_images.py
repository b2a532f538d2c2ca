from __future__ import annotations

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mrcnn.data.errors import DataError
from mrcnn.data.images import image_shape, read_image, stored_shape
from tests.data.image_files import COLOR, GRAY, save, write_tiff


def test_rgb_as_is(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, COLOR))
    np.testing.assert_array_equal(image, COLOR)
    image[0, 0] = 0  # the caller's own array


def test_gray_three_times(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, GRAY))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.stack([GRAY] * 3, axis=-1))


def test_bilevel_and_gray_with_alpha(tmp_path: Path) -> None:
    Image.fromarray(GRAY > 100).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png")[..., 0], (GRAY > 100) * 255)
    Image.fromarray(GRAY).convert("LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png")[..., 1], GRAY)


def test_16_bit_full_range_onto_full_range(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535, 128, 129]], np.uint16)
    for name in ("p.png", "p.tif"):
        np.testing.assert_array_equal(read_image(save(tmp_path, values, name))[0, :, 0], [0, 1, 255, 0, 1])


def test_32_bit(tmp_path: Path) -> None:
    fits = save(tmp_path, np.array([[0, 65535]], np.int32), "fits.tif")
    np.testing.assert_array_equal(read_image(fits)[0, :, 0], [0, 255])
    with pytest.raises(DataError, match=r"large.tif.*70000"):
        read_image(save(tmp_path, np.array([[0, 70000]], np.int32), "large.tif"))
    with pytest.raises(DataError, match=r"float.tif.*floating-point"):
        read_image(save(tmp_path, np.array([[0.5]], np.float32), "float.tif"))


def test_transparency_is_dropped(tmp_path: Path) -> None:
    rgba = np.concatenate([COLOR, np.zeros((3, 4, 1), np.uint8)], axis=-1)
    np.testing.assert_array_equal(read_image(save(tmp_path, rgba)), COLOR)


def test_palette_and_cmyk(tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 3), (250, 0, 0))
    red.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), np.asarray(red))
    red.convert("CMYK").save(tmp_path / "c.jpg", quality=100)
    np.testing.assert_allclose(read_image(tmp_path / "c.jpg").astype(int), np.asarray(red).astype(int), atol=3)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:, :8] = 255  # white on the left is shown on top
    path = save(tmp_path, stored, f"p.{suffix}", exif=exif)
    assert image_shape(path) == (16, 8)
    shown = read_image(path)
    assert shown.shape == (16, 8, 3)
    assert shown[:4].min() > 250
    assert shown[-4:].max() < 5
    assert read_image(path, (16, 8)).shape == (16, 8, 3)
    assert read_image(path, (8, 16)).shape == (8, 16, 3)  # a record made without EXIF
    with pytest.raises(DataError, match=r"16 x 8.*its record says 16 x 16"):
        read_image(path, (16, 16))


def test_one_pixel_and_twelve_megapixels(tmp_path: Path) -> None:
    assert read_image(save(tmp_path, np.full((1, 1), 7, np.uint8))).tolist() == [[[7, 7, 7]]]
    Image.new("L", (4032, 3024), 9).save(tmp_path / "large.png")
    large = read_image(tmp_path / "large.png")
    assert large.shape == (3024, 4032, 3)
    assert large[-1, -1].tolist() == [9, 9, 9]


def test_refusals_name_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg"):
        whole = Path(save(tmp_path, noise, name)).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=rf"{name}.*damaged or cut off"):
            read_image(tmp_path / name)
    (tmp_path / "text.png").write_text("<html>")
    (tmp_path / "empty.png").write_bytes(b"")
    for name, reason in (
        ("text.png", "not an image"),
        ("empty.png", "the file is empty"),
        ("none.png", "no such image"),
        ("", "found a folder"),
    ):
        with pytest.raises(DataError, match=rf"{name}.*{reason}"):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match=r"p.png.*3 x 4.*4 x 3"):
        read_image(save(tmp_path, GRAY), (4, 3))


def test_a_jpeg_comes_smaller_where_that_is_enough(tmp_path: Path) -> None:
    y, x = np.mgrid[:120, :200]
    smooth = np.stack([y, x, 200 - x], axis=-1).astype(np.uint8)
    path = save(tmp_path, smooth, "p.jpg", quality=95)
    for least, expected in (
        ((120, 200), (120, 200)),
        ((61, 40), (120, 200)),
        ((60, 100), (60, 100)),
        ((20, 45), (30, 50)),
    ):
        image = read_image(path, (120, 200), least)
        assert image.shape == (*expected, 3), least
        factor = 120 // expected[0]
        mean = smooth.reshape(expected[0], factor, expected[1], factor, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(image, mean, atol=4)
    with pytest.raises(DataError, match=r"120 x 200.*its record says 60 x 100"):
        read_image(path, (60, 100), (30, 50))
    assert read_image(save(tmp_path, smooth), None, (30, 50)).shape == (120, 200, 3)  # a PNG has no smaller form
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    path = save(tmp_path, smooth, "turned.jpg", exif=exif)
    assert read_image(path, None, (100, 60)).shape == (100, 60, 3)
    assert read_image(path, None, (60, 100)).shape == (200, 120, 3)
    assert read_image(path, (120, 200), (60, 100)).shape == (60, 100, 3)  # a record made without EXIF


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    """By Pillow: independent of `read_image`."""
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u8", "u16", "deflate", "planes", "jpeg"])
def test_orientation_of_tiff_and_jpeg_alike(tmp_path: Path, orientation: int, kind: str) -> None:
    stored = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3) if kind != "u16" else None
    path = tmp_path / ("p.jpg" if kind == "jpeg" else "p.tif")
    if kind == "jpeg":
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).save(path, exif=exif, quality=100, subsampling=0)
        stored = np.asarray(Image.open(path))
    elif kind == "u16":
        values = np.arange(96, dtype=np.uint16).reshape(8, 12) * 600
        Image.fromarray(values).save(path, tiffinfo={0x0112: orientation})
        stored = np.repeat(np.rint(values / 257).astype(np.uint8)[..., None], 3, axis=2)
    elif kind == "planes":
        write_tiff(path, stored.astype(np.uint16) * 257, photometric=1, planar=2, orientation=orientation)
    else:
        compression = {"deflate": "tiff_adobe_deflate"}.get(kind)
        Image.fromarray(stored).save(path, tiffinfo={0x0112: orientation}, compression=compression)
    shown = turned(stored, orientation)
    assert stored_shape(path) == ((8, 12), orientation)
    assert image_shape(path) == shown.shape[:2]
    np.testing.assert_array_equal(read_image(path), shown)
    np.testing.assert_array_equal(read_image(path, shown.shape[:2]), shown)
    if orientation > 4:  # the record's size says that it was made without the tag
        np.testing.assert_array_equal(read_image(path, (8, 12)), stored)


def test_12_bit_data_in_a_16_bit_file_is_named_and_can_be_scaled(tmp_path: Path, caplog) -> None:
    values = np.array([[0, 1020, 2040, 4080]], np.uint16)
    for name in ("cells.tif", "cells.png"):
        path = save(tmp_path, values, name)
        with caplog.at_level(logging.WARNING, "mrcnn"):
            assert read_image(path)[0, :, 0].tolist() == [0, 4, 8, 16]  # the same intensity, the same value
        assert f"{name}: the brightest value is 4080 of 65535" in caplog.text and "in_range=12" in caplog.text
        assert read_image(path, in_range=12)[0, :, 0].tolist() == [0, 64, 127, 254]
        assert read_image(path, in_range="bits")[0, :, 0].tolist() == [0, 64, 127, 254]
        assert read_image(path, in_range="image")[0, :, 0].tolist() == [0, 64, 128, 255]
        assert read_image(path, in_range=(1020, 2040))[0, :, 0].tolist() == [0, 0, 255, 255]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        read_image(path)
        read_image(save(tmp_path, values * 16, "full.png"))
        read_image(save(tmp_path, values * 0, "black.png"))
        read_image(save(tmp_path, GRAY // 30, "dark.png"))
    assert caplog.text == ""  # once a file; not where the range is used, nothing is there, or 8 bits are all there is


def test_a_folder_of_dark_files_is_named_a_few_times(tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "mrcnn"):
        for i in range(10):
            read_image(save(tmp_path, np.full((2, 2), 900, np.uint16), f"{i}.png"))
    assert len(caplog.messages) == 3
    assert "further files" in caplog.messages[-1]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_color_can_be_scaled(tmp_path: Path, suffix: str, caplog) -> None:
    values = np.zeros((2, 3, 3), np.uint16)
    values[..., 0], values[..., 1], values[..., 2] = 4080, 2040, 255
    path = tmp_path / f"c.{suffix}"
    cv2.imwrite(str(path), values[..., ::-1])
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert read_image(path)[0, 0].tolist() == [15, 7, 0]
    assert "brightest value is 4080 of 65535" in caplog.text
    assert read_image(path, in_range=12)[0, 0].tolist() == [254, 127, 16]
    assert read_image(path, in_range="image")[0, 0].tolist() == [255, 119, 0]


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(DataError, match=r"p\.png: expected an image, found a pipe"):
        read_image(tmp_path / "p.png")
