"""How an image of any size becomes the model's input: the one rule of training, evaluation, inference and export.

`InputConfig` is part of the model's config. The data pipeline and `inference` both call `preprocess`; exports compute
the same in the graph (`export.resize`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.errors import InputError
from mrcnn.ops.resize import Interpolation, Rounding, pad_image, padded_shape, resize_image, resized_shape


@dataclasses.dataclass(frozen=True)
class InputConfig(BaseConfig):
    """How an image of any size becomes input: it is resized, then placed on a canvas.

    Weights trained elsewhere need the rules they were trained with; the defaults are this package's own.
    """

    short_side: int = 800  # pixels, unless the longer side would exceed ...
    long_side: int = 1333
    divisor: int = 32  # height and width of the canvas are multiples of this: the coarsest feature map's stride
    never_shrink_for_short: bool = False  # the shorter side is only ever enlarged to short_side
    rounding: Rounding = "half_up"  # of the resized sides
    # "antialias_u8": a triangle filter that widens when the image shrinks, rounded to gray levels.
    # "linear": between the four nearest pixels only, not rounded: the model is fed float32.
    # "linear_u8": as "linear", rounded to gray levels as `cv2.resize` does.
    # "linear_black_u8": as "linear", with black beyond the image's edges, fractions of a gray level cut off.
    interpolation: Interpolation = "antialias_u8"
    canvas: Literal["divisor", "square"] = "divisor"  # just large enough, or square_side x square_side
    square_side: int | None = None  # of a square canvas, unless the image is larger; None: long_side
    padding: Literal["corner", "center"] = "corner"  # the image lies in the upper left corner, or in the middle
    padding_pixels: Literal["zero_input", "black"] = "zero_input"  # padding is 0 after, or before, normalizing
    clip_to: Literal["content", "canvas"] = "content"  # what proposals are clipped to; detections always to the content
    end_offset: float = 0.0  # of y2 and x2 of the model's boxes from the box's edge; -1: they name the last pixel
    whole_pixels: bool = False  # boxes are rounded to whole pixels of the original image, half to even

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side", "divisor"):
            if getattr(self, name) < 1:
                raise ConfigError(f"input.{name}: expected at least 1, got {getattr(self, name)}")
        if self.square_side is not None and self.square_side < 1:
            raise ConfigError(f"input.square_side: expected at least 1, got {self.square_side}")

    @property
    def image_dtype(self) -> tf.DType:
        """Of an image on its canvas; "linear" does not round pixels to gray levels."""
        return tf.float32 if self.interpolation == "linear" else tf.uint8

    def content_size(
        self, height: int, width: int, short_side: int | None = None, factor: float = 1.0
    ) -> tuple[int, int]:
        """(height, width) to which an image is resized.

        Args:
            height, width: of the image.
            short_side: in place of the config's; a larger one raises the limit of the longer side in proportion.
            factor: on top of that, within the limit of the longer side.
        """
        short, limit = self.short_side, self.long_side
        if short_side is not None:
            short, limit = short_side, max(limit, round(limit * short_side / short))
        if factor == 1.0:
            return resized_shape(height, width, short, limit, self.rounding, self.never_shrink_for_short)
        if self.never_shrink_for_short:
            short = max(short, min(height, width))
        return resized_shape(height, width, short * factor, limit, self.rounding)

    @property
    def square(self) -> int:
        """Least side of the canvas: that of a square one, else 0."""
        return (self.square_side or self.long_side) if self.canvas == "square" else 0

    def canvas_size(self, content_height: int, content_width: int) -> tuple[int, int]:
        """(height, width) of the canvas for a resized image."""
        if self.canvas == "square":
            content_height = content_width = max(self.square, content_height, content_width)
        return padded_shape(content_height, content_width, self.divisor)

    def origin(self, canvas: tuple[int, int], content: tuple[int, int]) -> tuple[int, int]:
        """(y, x) of the image's upper left corner on the canvas, both given as (height, width)."""
        if self.padding == "corner":
            return 0, 0
        return (canvas[0] - content[0]) // 2, (canvas[1] - content[1]) // 2


class Preprocessed(NamedTuple):
    """An image as the model takes it."""

    image: np.ndarray  # u8 or f32[H, W, c], the canvas
    content_shape: tuple[int, int]  # (height, width) of the resized image
    origin: tuple[int, int]  # (y, x) of its upper left corner on the canvas


def preprocess(
    image: np.ndarray, config: InputConfig, content_shape: tuple[int, int] | None = None, out: np.ndarray | None = None
) -> Preprocessed:
    """Resize an image and place it on the model's canvas.

    Args:
        image: u8[h, w, c]; float32 too where it has its final size.
        config: the model's, `model.config.input`.
        content_shape: (height, width) to resize to; None: as the config says.
        out: the canvas to write to, zeros of the config's dtype; it may be larger than the config's own, as in a batch
            of several images. None: a new one.

    Raises:
        InputError: the image is of another dtype, or does not fit `out`.

    Example:
        >>> import numpy as np
        >>> config = InputConfig(short_side=20, long_side=40, divisor=16, padding="center")
        >>> canvas, content_shape, origin = preprocess(np.full((10, 15, 3), 9, np.uint8), config)
        >>> canvas.shape, content_shape, origin
        ((32, 32, 3), (20, 30), (6, 1))
    """
    content = config.content_size(*image.shape[:2]) if content_shape is None else content_shape
    ready = image.dtype == np.float32 and image.shape[:2] == content and config.image_dtype == tf.float32
    pixels = image if ready else resize_image(image, content, config.interpolation)
    canvas = config.canvas_size(*content) if out is None else out.shape[:2]
    padded = pad_image(pixels, canvas[0], canvas[1], center=config.padding == "center", out=out)
    return Preprocessed(padded, content, config.origin(canvas, content))


def input_config(source: Any) -> InputConfig:
    """The input config of a model (`config.input`), of a recipe (`model.input`), or the config itself.

    Raises:
        InputError: none of these.
    """
    if isinstance(source, InputConfig):
        return source
    for owner in ("config", "model"):
        config = getattr(getattr(source, owner, None), "input", None)
        if isinstance(config, InputConfig):
            return config
    raise InputError(f"expected a model, a recipe or an InputConfig, got {type(source).__name__}")
