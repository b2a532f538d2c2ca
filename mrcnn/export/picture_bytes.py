"""JPEG and PNG files as graph operations: the size from the header first, the pixels only after it was accepted.

Pixels are those of `data.pictures.read_picture`, but for EXIF's orientation, which is not applied.
"""

from __future__ import annotations

import tensorflow as tf

Tensor = tf.Tensor

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_IHDR = 26  # bytes of a PNG up to its colour type, the last that is looked at


def picture_shape(content: Tensor) -> Tensor:
    """What the header says; no pixel is decoded.

    Args:
        content: string[], a JPEG or PNG file.

    Returns:
        i32[2], (height, width).

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
            return sides[::-1]

    with tf.control_dependencies([known]):
        return tf.ensure_shape(tf.cond(is_png, png, lambda: tf.io.extract_jpeg_shape(content)[:2]), [2])


def decode_picture(content: Tensor) -> Tensor:
    """The pixels of a JPEG or PNG file, string[], whose header `picture_shape` has read: u8[h, w, 3], RGB.

    Raises (in the graph):
        InvalidArgumentError: damaged or cut off.
    """

    def jpeg() -> Tensor:
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

    def png() -> Tensor:
        depth_and_colour = tf.strings.substr(content, _IHDR - 2, 2)
        return tf.cond(
            tf.equal(depth_and_colour, b"\x10\x00") | tf.equal(depth_and_colour, b"\x10\x04"),  # 16-bit grey
            lambda: tf.cast((tf.cast(tf.io.decode_png(content, 3, tf.uint16), tf.int32) + 128) // 257, tf.uint8),
            lambda: tf.io.decode_png(content, channels=3),
        )

    return tf.ensure_shape(tf.cond(_starts_with(content, _PNG), png, jpeg), [None, None, 3])


def _starts_with(content: Tensor, signature: bytes) -> Tensor:
    return tf.equal(tf.strings.substr(content, 0, len(signature)), signature)
