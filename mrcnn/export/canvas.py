"""The part of a served model between resizing and pasting: images on their canvas in, boxes in their own pixels out."""

from __future__ import annotations

from typing import Any, TypeAlias

import tensorflow as tf

from mrcnn.errors import InputError

Tensor: TypeAlias = tf.Tensor

_MAX_CONSTANTS = 2_000_000_000
"""Bytes; a graph is one protobuf, which holds at most 2 GiB."""


def canvas_function(model: Any, score_threshold: float | None = None) -> Any:
    """The model on images that were resized and padded, boxes taken back to original pixels: a concrete function.

    Takes `image` u8[B, H, W, 3] (f32 where the input's interpolation is "linear"), `original_shape` i32[B, 2] and
    `content_shape` i32[B, 2] as `structures.batch_spec` has them. Returns a dict of `boxes` f32[B, D, 4] in pixels of
    the original images, `class_ids`, `scores`, `valid` and the outputs of the heads as the model has them, valid ones
    first and all else zero; beside masks `mask_boxes` f32[B, D, 4], what they are stretched over: the boxes they were
    predicted for, before these are clipped to the image; the like beside every output that is pasted.

    Traced as it is called: inside `native.loading.stock_ops` it holds only TensorFlow's own operations.
    """
    config = model.config.input
    end = config.end_offset
    kind = config.image_dtype

    def detect_on_canvas(image: Tensor, original_shape: Tensor, content_shape: Tensor) -> dict[str, Tensor]:
        batch = {
            "image": image,
            "image_id": tf.range(tf.cast(tf.shape(image)[0], tf.int64), dtype=tf.int64),
            "original_shape": original_shape,
            "content_shape": content_shape,
        }
        detections = dict(model(batch, training=False))
        before = (tf.shape(image)[1:3] - content_shape) // 2 if config.padding == "center" else 0 * content_shape
        origin = tf.cast(before, tf.float32)[:, tf.newaxis]  # [B, 1, 2], (y, x)
        sides = (tf.cast(shape, tf.float64) + end for shape in (original_shape, content_shape))
        original, content = sides
        scale = tf.cast(original / tf.maximum(content, 1.0), tf.float32)[:, tf.newaxis]
        whole = (detections["boxes"] - tf.tile(origin, [1, 1, 2])) * tf.tile(scale, [1, 1, 2])
        whole -= tf.constant([0.0, 0.0, end, end])
        if config.whole_pixels:
            whole = tf.round(whole)
        frame = tf.tile(tf.cast(original_shape, tf.float32), [1, 2])[:, tf.newaxis]  # [B, 1, 4]
        boxes = tf.clip_by_value(whole, 0.0, frame)
        valid = detections["valid"] & (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        valid &= ~tf.reduce_any(tf.math.is_nan(whole), axis=-1)  # which clipping takes for a side of the image
        if score_threshold is not None:
            valid &= detections["scores"] >= score_threshold
        detections["boxes"] = boxes
        for output in model.config.outputs:
            if not output.exported:
                del detections[output.name]
            elif output.paste is not None:
                offset = output.paste.end_offset
                detections[output.boxes_name] = whole + tf.constant([0.0, 0.0, offset, offset])
            elif output.frame == "image":
                detections[output.name] = _points_in_original(detections[output.name], origin, scale)
        del detections["valid"]
        first = tf.argsort(tf.cast(valid, tf.int32), direction="DESCENDING", stable=True)  # [B, D]
        valid = tf.gather(valid, first, batch_dims=1)
        ordered = {"valid": valid}
        for name, value in detections.items():
            there = tf.reshape(valid, tf.concat([tf.shape(valid), tf.ones(len(value.shape) - 2, tf.int32)], axis=0))
            ordered[name] = tf.where(there, tf.gather(value, first, batch_dims=1), tf.zeros([], value.dtype))
        return ordered

    return tf.function(
        detect_on_canvas,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], kind, "image"),
            tf.TensorSpec([None, 2], tf.int32, "original_shape"),
            tf.TensorSpec([None, 2], tf.int32, "content_shape"),
        ],
    ).get_concrete_function()


def _points_in_original(points: Tensor, origin: Tensor, scale: Tensor) -> Tensor:
    """Points [B, D, ..., 2 or more] of the canvas in pixels of the original images.

    Args:
        points: (x, y, ...) in the last axis.
        origin, scale: f32[B, 1, 2], (y, x), where the image lies on its canvas, and original pixels per pixel.
    """
    for _ in range(len(points.shape) - 3):
        origin, scale = origin[:, :, tf.newaxis], scale[:, :, tf.newaxis]
    places = (points[..., :2] - origin[..., ::-1]) * scale[..., ::-1]
    return tf.concat([places, points[..., 2:]], axis=-1)


def freeze(function: Any) -> Any:
    """A concrete function that returns a dict of tensors, with its variables as constants.

    Raises:
        InputError: the variables are too large.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    size = sum(variable.shape.num_elements() * variable.dtype.size for variable in function.variables)
    if size > _MAX_CONSTANTS:
        raise InputError(f"a model of {size / 1e9:.1f} GB cannot be constants of a graph: export with frozen=False")
    constant = convert_variables_to_constants_v2(function, lower_control_flow=False)
    signature = function.structured_input_signature
    specs = [*signature[0], *signature[1].values()]
    names = sorted(function.structured_outputs)  # the order in which a dict is flattened

    def named(*tensors: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, constant(*tensors), strict=True))

    return tf.function(named, input_signature=specs, autograph=False).get_concrete_function()
