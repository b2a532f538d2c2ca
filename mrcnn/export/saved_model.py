"""A model as a SavedModel: raw pictures in, detections in their pixels out, nothing but stock TensorFlow operations."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mrcnn.export.resize import resize_image, resized_shape
from mrcnn.modeling.input import InputConfig
from mrcnn.ops.custom import stock_ops

METADATA = "assets.extra/mrcnn.json"
"""Inside the SavedModel: class names, category ids and the input settings, for whoever serves it."""


def export_saved_model(
    model: Any, path: str | os.PathLike[str], *, height: int | None = None, width: int | None = None
) -> Path:
    """Write a model as a SavedModel that needs TensorFlow alone, not this package.

    Its `serving_default` signature takes `image` u8[B, h, w, 3], RGB pictures of one size as they come from the file,
    and does what `detect` does but for pasting masks: resize, pad, model, boxes back. It returns, per picture, D slots
    of which the first `num_detections` hold a detection, best score first:

    * `boxes` f32[B, D, 4], (y1, x1, y2, x2) in pixels of the raw picture;
    * `class_ids` i32[B, D] from 1; `scores` f32[B, D]; `valid` bool[B, D]; `num_detections` i32[B];
    * with a mask head, `masks` f32[B, D, M, M], probabilities on a grid that spans the box: stretched over the box,
      it belongs to the object from 0.5 (`paste` in assets.extra/mrcnn.json names the exact rule);
    * with a keypoint head, `keypoints` f32[B, D, J, 3], (x, y, score).

    Results equal those of `detect` to 1e-4. Class names lie in the folder's assets.extra/mrcnn.json.

    Args:
        model: a `MaskRCNN`.
        path: of the folder to write; one that holds a SavedModel is replaced, anything else is refused.
        height, width: fix the size of the pictures taken; None = any.

    Returns:
        the path. The folder is written under a temporary name, then renamed.

    Raises:
        ValueError: the path exists and is not a SavedModel.
    """
    path = Path(path)
    if path.exists() and not (path / "saved_model.pb").is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path}: exists and is not a SavedModel, so it is not overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        archive = keras.export.ExportArchive()
        archive.track(model)
        # Gradients are of no use to whoever serves the model, and those of RoIAlign cannot be stored
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with stock_ops():  # whoever serves the model need not have this package's own op; traced when it is written
            archive.add_endpoint(
                "serve",
                _serving_function(model),
                input_signature=[tf.TensorSpec([None, height, width, 3], tf.uint8, "image")],
            )
            archive.write_out(str(temporary / "model"), options, verbose=False)
        metadata = temporary / "model" / METADATA
        metadata.parent.mkdir(exist_ok=True)
        metadata.write_text(json.dumps(_metadata(model), indent=1) + "\n", encoding="utf-8")
        if path.exists():
            shutil.move(path, temporary / "old")
        os.replace(temporary / "model", path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _metadata(model: Any) -> dict[str, Any]:
    settings = model.config.input
    paste = [head.paste for head in getattr(model.config, "heads", ()) if hasattr(head, "paste")]
    return {
        "class_names": list(model.class_names),
        "category_ids": list(getattr(model, "category_ids", None) or range(1, len(model.class_names) + 1)),
        "input": {name: value for name, value in settings.to_dict().items() if name != "kind"},
        **({"paste": paste[0]} if paste else {}),
    }


def _serving_function(model: Any) -> Any:
    settings = model.config.input

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        batch_size, height, width = tf.unstack(tf.shape(image)[:3])
        content_shape = resized_shape(
            height,
            width,
            settings.short_side,
            settings.long_side,
            settings.rounding,
            settings.never_shrink_for_short,
        )
        content = resize_image(image, *content_shape, settings.interpolation)
        padding = [_padding(side, settings) for side in content_shape]  # (before, after) of each axis
        padded = tf.pad(content, [[0, 0], *padding, [0, 0]])
        batch = {
            "image": padded,
            "image_id": tf.range(tf.cast(batch_size, tf.int64), dtype=tf.int64),
            "original_shape": tf.tile([[height, width]], [batch_size, 1]),
            "content_shape": tf.tile([content_shape], [batch_size, 1]),
        }
        found = dict(model(batch, training=False))
        frame = tf.cast([height, width], tf.float32)
        origin = tf.cast([before for before, _ in padding], tf.float32)  # (y, x)
        end = settings.end_offset
        scale = (frame + end) / tf.maximum(tf.cast(content_shape, tf.float32) + end, 1.0)  # (y, x)
        boxes = (found["boxes"] - tf.tile(origin, [2])) * tf.tile(scale, [2]) - tf.constant([0.0, 0.0, end, end])
        if settings.whole_pixels:
            boxes = tf.round(boxes)
        boxes = tf.clip_by_value(boxes, 0.0, tf.tile(frame, [2]))
        found["boxes"] = boxes
        found["valid"] &= (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        if "keypoints" in found:
            found["keypoints"] -= tf.stack([origin[1], origin[0], 0.0])
            found["keypoints"] *= tf.stack([scale[1], scale[0], 1.0])
        first = tf.argsort(tf.cast(found["valid"], tf.int32), direction="DESCENDING", stable=True)  # [B, D]
        found = {name: tf.gather(value, first, batch_dims=1) for name, value in found.items()}
        found["num_detections"] = tf.reduce_sum(tf.cast(found["valid"], tf.int32), axis=1)
        return found

    return serve


def _padding(side: tf.Tensor, settings: InputConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels (i32[]) before and after the picture along one axis of the canvas; see `InputConfig.canvas_size`."""
    wanted = tf.maximum(side, settings.long_side) if settings.canvas == "square" else side
    total = wanted + -wanted % settings.divisor - side
    before = total // 2 if settings.padding == "centre" else tf.constant(0)
    return before, total - before
