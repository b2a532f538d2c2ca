"""How an image of any size becomes the model's input, and where in that input it lies."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.ops.resize import Interpolation, Rounding, padded_shape, resized_shape


@dataclasses.dataclass(frozen=True)
class InputConfig(BaseConfig):
    """How an image of any size becomes input at inference.

    The image is resized, then laid on a canvas. Weights trained elsewhere need the rules they were trained with; the
    defaults are this package's own.
    """

    short_side: int = 800  # pixels, unless the longer side would exceed ...
    long_side: int = 1333
    divisor: int = 32  # height and width of the canvas are multiples of this
    never_shrink_for_short: bool = False  # the shorter side is only ever enlarged to short_side
    rounding: Rounding = "half_up"  # of the resized sides
    # "antialias_u8": a triangle filter that widens when the image shrinks, rounded to gray levels.
    # "linear": between the four nearest pixels only, not rounded: the model is fed float32.
    # "linear_black_u8": as "linear", with black beyond the image's edges, fractions of a gray level cut off.
    interpolation: Interpolation = "antialias_u8"
    canvas: Literal["divisor", "square"] = "divisor"  # just large enough, or long_side x long_side
    padding: Literal["corner", "center"] = "corner"  # the image lies in the upper left corner, or in the middle
    padding_pixels: Literal["zero_input", "black"] = "zero_input"  # padding is 0 after, or before, normalizing
    clip_to: Literal["content", "canvas"] = "content"  # what proposals are clipped to; detections always to the content
    end_offset: float = 0.0  # of y2 and x2 of the model's boxes from the box's edge; -1: they name the last pixel
    whole_pixels: bool = False  # boxes are rounded to whole pixels of the original image, half to even

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side", "divisor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"input.{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def image_dtype(self) -> tf.DType:
        """Of an image on its canvas; "linear" does not round pixels to gray levels."""
        return tf.float32 if self.interpolation == "linear" else tf.uint8

    def content_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) to which an image of the given size is resized."""
        return resized_shape(height, width, self.short_side, self.long_side, self.rounding, self.never_shrink_for_short)

    def canvas_size(self, content_height: int, content_width: int) -> tuple[int, int]:
        """(height, width) of the canvas for a resized image."""
        if self.canvas == "square":
            content_height = content_width = max(self.long_side, content_height, content_width)
        return padded_shape(content_height, content_width, self.divisor)

    def origin(self, canvas: tuple[int, int], content: tuple[int, int]) -> tuple[int, int]:
        """(y, x) of the image's upper left corner on the canvas, both given as (height, width)."""
        if self.padding == "corner":
            return 0, 0
        return (canvas[0] - content[0]) // 2, (canvas[1] - content[1]) // 2


def content_window(image_shape: Any, content_shape: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """Where on the canvas the image lies.

    Args:
        image_shape: (height, width) of the canvas, ints or i32[2].
        content_shape: i32[B, 2], height and width of the resized image.
        config: says whether it lies in the corner or in the middle.

    Returns:
        f32[B, 4], (y1, x1, y2, x2) in pixels of the canvas.
    """
    content = tf.cast(content_shape, tf.int32)
    if config.padding == "center":
        origin = (tf.cast(tf.convert_to_tensor(image_shape), tf.int32) - content) // 2
    else:
        origin = tf.zeros_like(content)
    return tf.cast(tf.concat([origin, origin + content], axis=-1), tf.float32)


def detection_window(image_shape: Any, content_shape: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """What detections are clipped to: `content_window` in terms of the model's boxes; same arguments and shape."""
    return _with_end_offset(content_window(image_shape, content_shape, config), config)


def proposal_window(image_shape: Any, content_shape: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """What proposals are clipped to: the image or the whole canvas; arguments and shape as `content_window`."""
    if config.clip_to == "content":
        return detection_window(image_shape, content_shape, config)
    side = tf.cast(tf.convert_to_tensor(image_shape), tf.float32)
    window = tf.concat([tf.zeros([2], tf.float32), side], axis=0)
    return _with_end_offset(tf.tile(window[tf.newaxis], [tf.shape(content_shape)[0], 1]), config)


def _with_end_offset(window: tf.Tensor, config: InputConfig) -> tf.Tensor:
    return window + tf.constant([0.0, 0.0, config.end_offset, config.end_offset])
