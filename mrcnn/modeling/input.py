"""Where on its canvas an image lies, as boxes that proposals and detections are clipped to."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.preprocessing import InputConfig


def content_window(image_shape: Any, content_shape: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """Where on the canvas the image lies.

    Args:
        image_shape: (height, width) of the canvas, ints or i32[2].
        content_shape: i32[B, 2], height and width of the resized image.
        config: the model's, for whether the image lies in the corner or in the middle.

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
    """What detections are clipped to: `content_window` with the model's `end_offset`; same arguments and shape."""
    return _with_end_offset(content_window(image_shape, content_shape, config), config)


def proposal_window(image_shape: Any, content_shape: tf.Tensor, config: InputConfig) -> tf.Tensor:
    """What proposals are clipped to, the image or the whole canvas; arguments and shape as `content_window`."""
    if config.clip_to == "content":
        return detection_window(image_shape, content_shape, config)
    side = tf.cast(tf.convert_to_tensor(image_shape), tf.float32)
    window = tf.concat([tf.zeros([2], tf.float32), side], axis=0)
    return _with_end_offset(tf.tile(window[tf.newaxis], [tf.shape(content_shape)[0], 1]), config)


def _with_end_offset(window: tf.Tensor, config: InputConfig) -> tf.Tensor:
    return window + tf.constant([0.0, 0.0, config.end_offset, config.end_offset])
