"""JPEG and PNG files as graph operations: the size from the header first, the pixels only after it was accepted.

Pixels are those of `data.images.read_image`, the orientation in a file's EXIF applied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_IHDR = 26  # bytes of a PNG up to its color type, the last that is looked at
_EXIF_WITHIN = 1 << 17  # bytes from the beginning of a JPEG: EXIF is to be the first segment
_EXIF_BYTES = 1 << 16  # of EXIF itself, at most: what a segment of a JPEG holds
_MAX_SEGMENTS, _MAX_ENTRIES = 64, 256  # looked at, whatever the file says
_ORIENTATION = 0x0112


def image_shape(content: Tensor) -> Tensor:
    """What the header says; no pixel is decoded.

    Args:
        content: string[], a JPEG or PNG file.

    Returns:
        i32[2], (height, width) as `decode_image` gives it.

    Raises (in the graph):
        InvalidArgumentError: neither JPEG nor PNG, or the header is damaged or cut off.
    """
    is_png = _starts_with(content, _PNG)
    known = tf.debugging.Assert(
        is_png | _starts_with(content, _JPEG), ["expected a JPEG or PNG file; it does not begin as one"]
    )

    def png() -> Tensor:
        header = tf.strings.substr(content, 8, _IHDR - 8)
        whole = tf.equal(tf.strings.length(header), _IHDR - 8) & tf.equal(tf.strings.substr(header, 4, 4), b"IHDR")
        with tf.control_dependencies([tf.debugging.Assert(whole, ["a PNG file without a whole header"])]):
            sides = tf.io.decode_raw(tf.strings.substr(header, 8, 8), tf.int32, little_endian=False)  # width, height
            return tf.where(_png_orientation(content) >= 5, sides, sides[::-1])

    def jpeg() -> Tensor:
        shape = tf.io.extract_jpeg_shape(content)[:2]
        return tf.where(_jpeg_orientation(content) >= 5, shape[::-1], shape)

    with tf.control_dependencies([known]):
        return tf.ensure_shape(tf.cond(is_png, png, jpeg), [2])


def decode_image(content: Tensor) -> Tensor:
    """The pixels of a JPEG or PNG file, string[], whose header `image_shape` has read: u8[h, w, 3], RGB.

    Raises (in the graph):
        InvalidArgumentError: damaged or cut off.
    """

    def jpeg() -> Tensor:
        pixels = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        return _upright(pixels, _jpeg_orientation(content))

    def png() -> Tensor:
        depth_and_color = tf.strings.substr(content, _IHDR - 2, 2)
        pixels = tf.cond(
            tf.equal(depth_and_color, b"\x10\x00") | tf.equal(depth_and_color, b"\x10\x04"),  # 16-bit gray
            lambda: tf.cast((tf.cast(tf.io.decode_png(content, 3, tf.uint16), tf.int32) + 128) // 257, tf.uint8),
            lambda: tf.io.decode_png(content, channels=3),
        )
        return _upright(pixels, _png_orientation(content))

    return tf.ensure_shape(tf.cond(_starts_with(content, _PNG), png, jpeg), [None, None, 3])


def _starts_with(content: Tensor, signature: bytes) -> Tensor:
    return tf.equal(tf.strings.substr(content, 0, len(signature)), signature)


def _upright(image: Tensor, orientation: Tensor) -> Tensor:
    """The image as it is to be looked at. 1 to 8: upright, mirrored, ..., as EXIF counts."""

    def among(*orientations: int) -> Tensor:
        return tf.reduce_any(tf.equal(orientation, orientations))

    def turned() -> Tensor:
        shown = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        shown = tf.cond(among(2, 3, 6, 7), lambda: shown[:, ::-1], lambda: shown)
        return tf.cond(among(3, 4, 7, 8), lambda: shown[::-1], lambda: shown)

    return tf.cond(tf.equal(orientation, 1), lambda: image, turned)


def _bytes_of(content: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]:
    """Functions that read a string[] at places i64[...]: one byte, 0 beyond its ends; and an unsigned number."""
    data = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int64)
    data = tf.concat([data, [0]], axis=0)  # there is one to gather
    size = tf.size(data, tf.int64)

    def byte(place: Tensor) -> Tensor:
        inside = (place >= 0) & (place < size)
        return tf.where(inside, tf.gather(data, tf.clip_by_value(place, 0, size - 1)), 0)

    def number(place: Tensor, num_bytes: int, little: Tensor | bool = False) -> Tensor:
        digits = byte(place[..., tf.newaxis] + tf.range(num_bytes, dtype=tf.int64))
        weights = tf.constant([256**k for k in range(num_bytes)], tf.int64)
        return tf.reduce_sum(digits * tf.where(little, weights, weights[::-1]), axis=-1)

    return byte, number


def _jpeg_orientation(content: Tensor) -> Tensor:
    """i32[], 1 to 8, of a JPEG file; 1 where it states none, or nonsense.

    Ref: EXIF 2.3, section 4.5 (APP1 segment).
    """
    byte, number = _bytes_of(tf.strings.substr(content, 0, _EXIF_WITHIN))

    def is_exif(place: Tensor) -> Tensor:
        named = tf.equal(byte(place + 4 + tf.range(6, dtype=tf.int64)), tf.constant(list(b"Exif\0\0"), tf.int64))
        return tf.equal(byte(place + 1), 0xE1) & tf.reduce_all(named)

    # Segments: 0xFF, a marker, two bytes of length (itself included); 0xDA begins the pixels
    place = tf.while_loop(
        lambda place: tf.equal(byte(place), 0xFF) & tf.not_equal(byte(place + 1), 0xDA) & ~is_exif(place),
        lambda place: [place + 2 + number(place + 2, 2)],
        [tf.constant(2, tf.int64)],
        maximum_iterations=_MAX_SEGMENTS,
    )[0]
    size = tf.cast(tf.strings.length(content), tf.int64)
    start = tf.where(is_exif(place), tf.minimum(place + 10, size), size)
    return _tiff_orientation(tf.strings.substr(content, start, _EXIF_BYTES))


def _png_orientation(content: Tensor) -> Tensor:
    """i32[], 1 to 8, of a PNG file; 1 where it states none before its pixels, or nonsense.

    Ref: PNG specification, third edition, sections 5.3 (chunks) and 11.3.2.3 (eXIf).
    """
    size = tf.cast(tf.strings.length(content), tf.int64)

    def name(place: Tensor) -> Tensor:
        return tf.strings.substr(content, tf.minimum(place + 4, size), 4)

    def is_last(place: Tensor) -> Tensor:
        return tf.reduce_any(tf.equal(name(place), [b"eXIf", b"IDAT", b"IEND", b""]))

    def length(place: Tensor) -> Tensor:
        return _bytes_of(tf.strings.substr(content, tf.minimum(place, size), 4))[1](tf.constant(0, tf.int64), 4)

    # Chunks: four bytes of length (of the data alone), a name of four letters, the data, a checksum of four bytes
    place = tf.while_loop(
        lambda place: ~is_last(place),
        lambda place: [place + 12 + length(place)],
        [tf.constant(len(_PNG), tf.int64)],
        maximum_iterations=_MAX_SEGMENTS,
    )[0]
    whole = tf.equal(name(place), b"eXIf") & (place + 12 + length(place) <= size)
    start = tf.where(whole, place + 8, size)
    return _tiff_orientation(tf.strings.substr(content, start, tf.minimum(length(place), _EXIF_BYTES)))


def _tiff_orientation(content: Tensor) -> Tensor:
    """i32[], 1 to 8, of EXIF, string[]; 1 where it states none, or nonsense.

    Ref: TIFF 6.0, section 2 (image file directory).
    """
    byte, number = _bytes_of(content)
    little = tf.equal(byte(tf.constant(0, tf.int64)), ord("I"))
    directory = number(tf.constant(4, tf.int64), 4, little)
    entries = tf.minimum(number(directory, 2, little), _MAX_ENTRIES)  # of tag, type, count and value: 12 bytes
    entry = directory + 2 + 12 * tf.range(entries)
    is_long = tf.equal(number(entry + 2, 2, little), 4)
    values = tf.where(is_long, number(entry + 8, 4, little), number(entry + 8, 2, little))
    stated = tf.where(tf.equal(number(entry, 2, little), _ORIENTATION), values, 0)
    value = tf.reduce_max(tf.concat([stated, [0]], axis=0))
    return tf.cast(tf.where((value >= 1) & (value <= 8), value, 1), tf.int32)
