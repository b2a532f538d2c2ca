from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.data.errors import DataError
from mrcnn.data.images import read_image
from mrcnn.data.tiff import read_bands, read_pages

SCHEMES = {"none": 1, "LZW": 5, "deflate": 8, "PackBits": 32773}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_samples_of_another_writer(tmp_path: Path, dtype: type, scheme: str, channels: int) -> None:
    """OpenCV writes strips with the predictors of integers and of floating point."""
    values = np.random.default_rng(0).integers(0, 200, (37, 53, channels)).astype(dtype)
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, SCHEMES[scheme], cv2.IMWRITE_TIFF_ROWSPERSTRIP, 10]
    cv2.imwrite(str(tmp_path / "p.tif"), values, flags)
    expected = values[..., [2, 1, 0, 3][:channels]] if channels > 1 else values
    with open(tmp_path / "p.tif", "rb") as file:
        (page,) = read_pages(file, "p.tif")
        assert (page.height, page.width, page.bands) == (37, 53, channels)
        read = read_bands(file, page, tuple(range(channels)), "p.tif")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, expected)


def tiled(order: str, planar: int, bands: np.ndarray, side: int = 16) -> bytes:
    """Uncompressed tiles, the last ones filled with 9, in either byte order."""
    height, width, samples = bands.shape
    down, across = -(-height // side), -(-width // side)
    padded = np.full((down * side, across * side, samples), 9, bands.dtype)
    padded[:height, :width] = bands
    planes = [padded[..., s : s + 1] for s in range(samples)] if planar == 2 else [padded]
    tiles = [
        plane[y * side : (y + 1) * side, x * side : (x + 1) * side].astype(bands.dtype.newbyteorder(order)).tobytes()
        for plane in planes
        for y in range(down)
        for x in range(across)
    ]
    size, data = len(tiles[0]), b"".join(tiles)
    entries = [
        (256, 3, [width]), (257, 3, [height]), (258, 3, [8 * bands.dtype.itemsize] * samples), (259, 3, [1]),
        (262, 3, [1]), (277, 3, [samples]), (284, 3, [planar]), (322, 3, [side]), (323, 3, [side]),
        (324, 4, [8 + i * size for i in range(len(tiles))]), (325, 4, [size] * len(tiles)),
        (338, 3, [0] * (samples - 1)),
    ]  # fmt: skip
    head, rest, place = b"", b"", 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, kind, numbers in entries:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'L'}", *numbers)
        inline = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{order}L", place + len(rest))
        head += struct.pack(f"{order}HHL", tag, kind, len(numbers)) + inline
        rest += packed if len(packed) > 4 else b""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 8 + len(data))
    return start + data + struct.pack(f"{order}H", len(entries)) + head + b"\0" * 4 + rest


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
def test_tiles_planes_and_byte_orders(order: str, planar: int) -> None:
    bands = np.random.default_rng(1).integers(0, 60000, (21, 35, 5)).astype(np.uint16)
    file = io.BytesIO(tiled(order, planar, bands))
    (page,) = read_pages(file, "p.tif")
    np.testing.assert_array_equal(read_bands(file, page, (4, 0, 2), "p.tif"), bands[..., [4, 0, 2]])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    content = tiled("<", 2, np.zeros((21, 35, 5), np.uint16))
    rng = np.random.default_rng(2)
    path = tmp_path / "p.tif"
    for length in (0, 3, 8, 100, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"p\.tif: "):
            read_image(path, bands=(1, 2, 3))
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(len(content) - 400, len(content), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(DataError):  # anything else fails the test
            assert read_image(path, bands=(1, 2, 3), max_pixels=10_000_000).dtype == np.uint8


def test_what_is_not_supported_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "j.tif", compression="jpeg")
    assert read_image(tmp_path / "j.tif").shape == (32, 32, 3)
    with pytest.raises(DataError, match=r"j\.tif: 3 bands of 8 bits in TIFF compression 7; expected none, LZW"):
        read_image(tmp_path / "j.tif", bands=(3, 2, 1))
    (tmp_path / "big.tif").write_bytes(b"MM\0\x2b\0\x08\0\0" + b"\0" * 8)
    with pytest.raises(DataError, match=r"big\.tif: a BigTIFF in big-endian byte order"):
        read_image(tmp_path / "big.tif")
