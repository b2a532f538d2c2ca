"""Layers around a network that takes square images of one size: padding before it, and cutting that off its maps."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from mrcnn.errors import InputError


@keras.saving.register_keras_serializable("mrcnn")
class PadToSide(keras.layers.Layer):
    """Images [B, H, W, channels] padded with zeros, right and below, to [B, side, side, channels].

    Args:
        side: pixels; an image may not be larger.

    Raises:
        InputError: an image is larger; where its size is known only when the graph runs, TensorFlow's
            InvalidArgumentError.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, image: tf.Tensor) -> tf.Tensor:
        """See the class."""
        known = [n for n in image.shape[1:3] if n is not None]
        message = f"the backbone takes images of at most {self.side} pixels a side (model.backbone.side)"
        if max(known, default=0) > self.side:
            raise InputError(f"{message}, got {list(image.shape[1:3])}")
        shape = tf.shape(image)
        with tf.control_dependencies([tf.debugging.assert_less_equal(shape[1:3], self.side, message=message)]):
            padded = tf.pad(image, [[0, 0], [0, self.side - shape[1]], [0, self.side - shape[2]], [0, 0]])
        return tf.ensure_shape(padded, [None, self.side, self.side, image.shape[-1]])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[B, side, side, channels]."""
        return (input_shape[0], self.side, self.side, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable("mrcnn")
class CutToImage(keras.layers.Layer):
    """[map [B, h, w, channels], image [B, H, W, c]] -> the map's part [B, ceil(H/stride), ceil(W/stride), channels].

    Args:
        stride: pixels per cell of the map.
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        """See the class."""
        value, image = inputs
        height, width = (-(-tf.shape(image)[axis] // self.stride) for axis in (1, 2))
        cut = value[:, :height, :width]
        return tf.ensure_shape(cut, self.compute_output_shape([value.shape, image.shape]))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        """See the class; sides that are not known stay so."""
        value, image = input_shape
        height, width = (None if image[axis] is None else -(-image[axis] // self.stride) for axis in (1, 2))
        return (value[0], height, width, value[-1])

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras can rebuild the layer."""
        return {**super().get_config(), "stride": self.stride}
