from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.data.images import read_image
from mrcnn.export.image_bytes import decode_image, image_shape

shape_of = tf.function(image_shape, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
decode = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def smooth(mode, height=37, width=53):
    """An image of the given mode that is no noise, so that JPEG keeps it."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([3 * y, 4 * x, 255 - 2 * y - x], axis=-1).clip(0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((y * 1000 + x * 17).astype(np.uint16))
    image = Image.fromarray(rgb)
    if mode == "RGBA":
        image.putalpha(Image.fromarray((x * 4).clip(0, 255).astype(np.uint8)))
        return image
    if mode == "LA":
        return Image.merge("LA", [image.convert("L"), image.convert("L")])
    return image.convert(mode)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FILES = {
    **{f"png {mode}": (smooth(mode), "PNG", {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")},
    "jpeg RGB": (smooth("RGB"), "JPEG", {"quality": 85}),
    "jpeg gray": (smooth("L"), "JPEG", {}),
    "jpeg progressive": (smooth("RGB"), "JPEG", {"progressive": True}),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_read_image(name, tmp_path):
    image, kind, options = FILES[name]
    content = encoded(image, kind, **options)
    (tmp_path / "image").write_bytes(content)
    expected = read_image(tmp_path / "image")
    assert shape_of(content).numpy().tolist() == [37, 53]
    result = decode(content).numpy()
    assert result.shape == expected.shape
    # Decoders of JPEG may round a level apart
    assert np.abs(result.astype(int) - expected).max() <= (1 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9, 600])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_exif_orientation_is_applied_as_by_read_image(orientation, endian, kind, tmp_path):
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "a maker, before it in the directory"
    exif[0x0112] = orientation
    exif[0x0131] = "some software, after it"
    content = encoded(smooth("RGB"), kind, exif=exif.tobytes())
    (tmp_path / "image").write_bytes(content)
    expected = read_image(tmp_path / "image")
    assert expected.shape[:2] == ((53, 37) if 5 <= orientation <= 8 else (37, 53))
    assert shape_of(content).numpy().tolist() == list(expected.shape[:2])
    assert np.abs(decode(content).numpy().astype(int) - expected).max() <= (1 if kind == "JPEG" else 0)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


TURNED = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 6, 0)
TURNED_LONG = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x0112, 4, 1, 6)


@pytest.mark.parametrize(
    "exif, before",
    [
        (TURNED, chunk(b"tEXt", b"Comment\0" + b"x" * 200_000)),  # behind what is looked at in a JPEG
        (TURNED_LONG, b""),
        (TURNED, b"".join(chunk(b"tEXt", b"Comment\0%d" % n) for n in range(20))),
        (TURNED[:11], b""),
        (b"", b""),
        (b"II*\0\xff\xff\xff\xff", b""),
        (None, b""),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "P", "1", "I;16"])
def test_orientation_of_a_png(mode, exif, before, tmp_path):
    content = encoded(smooth(mode), "PNG")
    middle = before + (b"" if exif is None else chunk(b"eXIf", exif))
    content = content[:33] + middle + content[33:]
    (tmp_path / "image.png").write_bytes(content)
    expected = read_image(tmp_path / "image.png")
    assert shape_of(content).numpy().tolist() == list(expected.shape[:2])
    assert np.array_equal(decode(content).numpy(), expected)


def test_a_png_whose_chunks_are_damaged_is_no_crash():
    content = encoded(smooth("RGB"), "PNG")
    for middle in (b"\xff\xff\xff\xffeXIf", b"\0\xff\xff\xfftEXt", b"\0\0\0\x08eXIfMM"):
        assert shape_of(content[:33] + middle).numpy().tolist() == [37, 53]


@pytest.mark.parametrize("tail", [b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\x08\0\0\0\x01\0"])
def test_damaged_exif_is_no_orientation(tail):
    content = encoded(smooth("RGB"), "JPEG")
    segment = b"Exif\0\0" + tail
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    assert decode(content).shape == (37, 53, 3)


def bomb_png(height=60_000, width=60_000):
    """A valid PNG file that claims to be of that size."""

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def bomb_jpeg(height=60_000, width=60_000):
    """A JPEG file whose header was changed to claim that size."""
    content = bytearray(encoded(smooth("RGB"), "JPEG"))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("bomb", [bomb_png, bomb_jpeg])
def test_the_size_of_a_bomb_is_read_without_decoding_it(bomb):
    assert shape_of(bomb()).numpy().tolist() == [60_000, 60_000]


PNG = encoded(smooth("RGB"), "PNG")
JPEG = encoded(smooth("RGB"), "JPEG")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "expected a JPEG or PNG file"),
        (b"GIF89a" + b"\0" * 50, "expected a JPEG or PNG file"),
        (PNG[:20], "a PNG file without a whole header"),
        (PNG[:8] + b"\0\0\0\rJUNK" + PNG[16:], "a PNG file without a whole header"),
        (JPEG[:20], "JPEG"),
    ],
)
def test_a_damaged_header_is_an_error(content, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        shape_of(content)


@pytest.mark.parametrize("content", [PNG[: len(PNG) // 2], JPEG[:-50]], ids=["png", "jpeg"])
def test_a_file_cut_off_is_an_error(content):
    assert shape_of(content).numpy().tolist() == [37, 53]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?i)invalid (png|jpeg)"):
        decode(content)
