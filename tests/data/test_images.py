from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms, ImageOps

from mrcnn.base_config import ConfigError
from mrcnn.data.errors import DataError
from mrcnn.data.images import ReadOptions, as_rgb, image_shape, read_image, stored_shape

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOR = np.stack([GRAY, GRAY + 5, 255 - GRAY], axis=-1)


def save(folder: Path, array: np.ndarray, name: str = "p.png", **options) -> str:
    path = str(folder / name)
    Image.fromarray(array).save(path, **options)
    return path


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


def write_tiff(
    path: Path, bands: np.ndarray, *, photometric: int = 1, planar: int = 1, orientation: int = 1, extra: bytes = b""
) -> None:
    """An uncompressed TIFF of one strip (a strip a band), written by hand. `extra`: text of GDAL's metadata tag."""
    height, width, samples = bands.shape
    data = (np.moveaxis(bands, 2, 0) if planar == 2 else bands).astype(bands.dtype.newbyteorder("<")).tobytes()
    strips = samples if planar == 2 else 1
    size = len(data) // strips
    code = {"u": 1, "i": 2, "f": 3}[bands.dtype.kind]
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [bands.dtype.itemsize * 8] * samples), (259, 3, [1]),
        (262, 3, [photometric]), (273, 4, [8 + i * size for i in range(strips)]), (274, 3, [orientation]),
        (277, 3, [samples]), (278, 4, [height]), (279, 4, [size] * strips), (284, 3, [planar]),
        (338, 3, [0] * (samples - (3 if photometric == 2 else 1))), (339, 3, [code] * samples),
        (42112, 2, list(extra + b"\0") if extra else []),
    ]  # fmt: skip
    entries = [entry for entry in entries if entry[2]]
    head, rest, place = b"", b"", 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{ {2: 'B', 3: 'H', 4: 'L'}[kind] }", *values)
        inline = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<L", place + len(rest))
        head += struct.pack("<HHL", tag, kind, len(values)) + inline
        rest += packed if len(packed) > 4 else b""
    directory = struct.pack("<H", len(entries)) + head + struct.pack("<L", 0) + rest
    path.write_bytes(b"II*\0" + struct.pack("<L", 8 + len(data)) + data + directory)


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


@pytest.mark.parametrize("dtype, white", [(np.uint8, 0), (np.uint16, 0), (np.float32, 0)])
def test_a_tiff_whose_white_is_zero(tmp_path: Path, dtype: type, white: int) -> None:
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    write_tiff(tmp_path / "w.tif", np.array([[[white], [top]]], dtype), photometric=0)
    in_range = (0, 1) if dtype is np.float32 else "dtype"
    assert read_image(tmp_path / "w.tif", in_range=in_range)[0, :, 0].tolist() == [255, 0]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bits.tif", compression="group4")
    assert read_image(tmp_path / "bits.tif")[0, :, 0].tolist() == [255, 0]


def test_negative_and_floating_point_values_need_a_range(tmp_path: Path) -> None:
    write_tiff(tmp_path / "i.tif", np.array([[[-100], [300]]], np.int16))
    with pytest.raises(DataError, match=r"i\.tif: values from -100 to 300; expected 0 to 65535, or .*in_range"):
        read_image(tmp_path / "i.tif")
    assert read_image(tmp_path / "i.tif", in_range="image")[0, :, 0].tolist() == [0, 255]
    write_tiff(tmp_path / "f.tif", np.array([[[0.0], [0.5], [np.nan], [np.inf]]], np.float32))
    with pytest.raises(DataError, match=r"f\.tif: floating-point image.*in_range"):
        read_image(tmp_path / "f.tif")
    assert read_image(tmp_path / "f.tif", in_range=(0, 1))[0, :, 0].tolist() == [0, 128, 0, 255]
    assert read_image(tmp_path / "f.tif", in_range="image")[0, :, 0].tolist() == [0, 255, 0, 255]


def test_bands_are_named_and_chosen(tmp_path: Path, caplog) -> None:
    values = np.stack([np.full((3, 4), v, np.uint16) for v in (257 * 80, 257 * 90, 257 * 100, 257 * 110)], axis=-1)
    for planar in (1, 2):
        path = tmp_path / f"plain{planar}.tif"
        write_tiff(path, values, planar=planar)
        with caplog.at_level(logging.WARNING, "mrcnn"):
            assert read_image(path)[0, 0].tolist() == [80, 90, 100]
        assert f"{path.name}: has 4 bands, 1, 2, 3, 4; 1, 2 and 3 are read as red, green and blue" in caplog.text
        assert read_image(path, bands=(4, 3, 2))[0, 0].tolist() == [110, 100, 90]
        assert read_image(path, bands=(4,))[0, 0].tolist() == [110, 110, 110]
    items = b"".join(
        b'<Item name="DESCRIPTION" sample="%d" role="description">%s</Item>' % (i, name)
        for i, name in enumerate((b"Blue", b"Green", b"Red", b"NIR"))
    )
    caplog.clear()
    write_tiff(tmp_path / "named.tif", values, extra=b"<GDALMetadata>" + items + b"</GDALMetadata>")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert read_image(tmp_path / "named.tif")[0, 0].tolist() == [100, 90, 80]
    assert caplog.text == ""
    assert read_image(tmp_path / "named.tif", bands=("nir", "red", 2))[0, 0].tolist() == [110, 100, 90]
    with pytest.raises(DataError, match=r"named\.tif: no band 'swir'; there are Blue, Green, Red, NIR"):
        read_image(tmp_path / "named.tif", bands=("swir",))
    with pytest.raises(DataError, match="no band 5"):
        read_image(tmp_path / "named.tif", bands=(1, 2, 5))
    assert read_image(save(tmp_path, COLOR), bands=(3, 2, 1))[0, 0].tolist() == COLOR[0, 0, ::-1].tolist()


def test_pages_are_named_and_chosen(tmp_path: Path, caplog) -> None:
    pages = [Image.new("L", (4 + i, 3), 10 * i) for i in range(3)]
    for name in ("p.tif", "p.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with caplog.at_level(logging.WARNING, "mrcnn"):
            assert read_image(tmp_path / name).max() == 0
        assert f"{name}: has 3 pages, the first is read" in caplog.text
    assert read_image(tmp_path / "p.tif", page=3).shape == (3, 6, 3)
    assert image_shape(tmp_path / "p.tif", page=2) == (3, 5)
    assert read_image(tmp_path / "p.gif", page=3)[0, 0, 0] == pytest.approx(20, abs=2)
    with pytest.raises(DataError, match=r"p\.tif: no page 4; there are 3"):
        read_image(tmp_path / "p.tif", page=4)
    with pytest.raises(DataError, match="no page 2; there are 1"):
        read_image(save(tmp_path, GRAY), page=2)


def test_reduced_copies_are_no_pages(tmp_path: Path, caplog) -> None:
    whole, reduced = Image.new("L", (8, 6), 7), Image.new("L", (4, 3), 7)
    reduced.encoderinfo = {"tiffinfo": {254: 1}}
    whole.save(tmp_path / "p.tif", save_all=True, append_images=[reduced])
    with Image.open(tmp_path / "p.tif") as image:
        image.seek(1)
        assert image.tag_v2[254] == 1
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert read_image(tmp_path / "p.tif").shape == (6, 8, 3)
    assert caplog.text == ""


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    for name in ("p.png", "p.tif"):
        path = save(tmp_path, GRAY, name)
        with pytest.raises(DataError, match=rf"{name}: 3 x 4 .* is 12 pixels, at most 11 are read; raise max_pixels"):
            read_image(path, max_pixels=11)
        assert read_image(path, max_pixels=None).shape == (3, 4, 3)
    Image.new("1", (20000, 10000)).save(tmp_path / "bomb.png")
    assert image_shape(tmp_path / "bomb.png") == (10000, 20000)
    with pytest.raises(DataError, match=r"bomb\.png: .*200000000 pixels, at most 178956970"):
        read_image(tmp_path / "bomb.png")


def test_options_are_checked_and_survive_plain_data() -> None:
    for options in (
        ReadOptions(),
        ReadOptions((0.0, 4095.0), (4, "red", 2), 3, None),
        ReadOptions("image"),
        ReadOptions(12),
    ):
        assert ReadOptions.from_dict(options.to_dict()) == options
    for bad in ({"in_range": "all"}, {"in_range": (5, 5)}, {"in_range": 0}, {"page": 0}, {"bands": (1, 2)}):
        with pytest.raises(DataError, match=r"page|bands|in_range"):
            ReadOptions(**bad)
        with pytest.raises(ConfigError):
            ReadOptions.from_dict(bad)


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


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(DataError, match=r"p\.png: expected an image, found a pipe"):
        read_image(tmp_path / "p.png")
