"""What is refused, in which sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mrcnn.app.uploads import MAX_MEGABYTES, MAX_PIXELS, check_shape, read_upload, shown_name
from mrcnn.errors import InputError, MrcnnError


def png(size=(6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A few bytes that claim to be a large image: what a decompression bomb looks like from outside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


REFUSED = {
    "text.png": (b"not an image at all", r"text\.png: not an image in a known format"),
    "empty.png": (b"", r"empty\.png: expected an image, the file is empty"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', r"not an image"),
    "page.pdf": (b"%PDF-1.7\n", r"PostScript and PDF are programs"),
    "bomb.png": (png_of_size(60_000, 60_000), r"bomb\.png: 60000 x 60000 pixels .* at most 40 megapixels"),
    "wide.png": (png_of_size(200_000, 1), r"wide\.png: 1 x 200000 pixels"),
    "cut.png": (png((300, 200))[:-60], r"cut\.png: the image is damaged or cut off"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused_in_one_sentence_without_the_server_s_folders(tmp_path, name):
    content, message = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MrcnnError, match=message) as refusal:
        read_upload(path)
    assert str(tmp_path) not in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_large_file_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(png())
        file.truncate(30_000_000)  # no disk is filled
    with pytest.raises(InputError, match=rf"large\.png: 30 MB, at most {MAX_MEGABYTES} MB"):
        read_upload(path)
    with pytest.raises(MrcnnError, match=r"gone\.png: the upload did not arrive"):
        read_upload(tmp_path / "gone.png")


def test_an_image_is_read_whatever_it_is_called(tmp_path):
    path = tmp_path / "upload.bin"
    path.write_bytes(png())
    pixels = read_upload(path, "leaf.jpg")
    assert pixels.shape == (4, 6, 3) and pixels.dtype == np.uint8 and pixels[0, 0].tolist() == [10, 200, 30]


def test_the_largest_image():
    check_shape("a", MAX_PIXELS // 8000, 8000)
    with pytest.raises(InputError):
        check_shape("a", MAX_PIXELS // 8000 + 1, 8000)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.png", "x.png"),
        ("a\nb\x1b[2J.png", "a\\nb\\x1b[2J.png"),
        ("..", "image"),
        ("", "image"),
        ("é" * 200 + ".png", "é" * 68 + "..." + "é" * 5 + ".png"),
    ],
)
def test_names_lose_their_tricks(name, expected):
    assert shown_name(name) == expected
