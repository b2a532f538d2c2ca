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
      it belongs to the object from 0.5;
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
        archive.add_endpoint(
            "serve",
            _serving_function(model),
            input_signature=[tf.TensorSpec([None, height, width, 3], tf.uint8, "image")],
        )
        # Gradients are of no use to whoever serves the model, and those of RoIAlign cannot be stored
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
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
    return {
        "class_names": list(model.class_names),
        "category_ids": list(getattr(model, "category_ids", None) or range(1, len(model.class_names) + 1)),
        "input": {name: getattr(settings, name) for name in ("short_side", "long_side", "divisor")},
    }


def _serving_function(model: Any) -> Any:
    settings = model.config.input

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        batch_size, height, width = tf.unstack(tf.shape(image)[:3])
        content_height, content_width = resized_shape(height, width, settings.short_side, settings.long_side)
        content = resize_image(image, content_height, content_width)
        below, right = (-side % settings.divisor for side in (content_height, content_width))
        padded = tf.pad(content, [[0, 0], [0, below], [0, right], [0, 0]])
        batch = {
            "image": padded,
            "image_id": tf.range(tf.cast(batch_size, tf.int64), dtype=tf.int64),
            "original_shape": tf.tile([[height, width]], [batch_size, 1]),
            "content_shape": tf.tile([[content_height, content_width]], [batch_size, 1]),
        }
        found = dict(model(batch, training=False))
        frame = tf.cast([height, width], tf.float32)
        scale = frame / tf.cast([content_height, content_width], tf.float32)  # (y, x)
        boxes = tf.clip_by_value(found["boxes"] * tf.tile(scale, [2]), 0.0, tf.tile(frame, [2]))
        found["boxes"] = boxes
        found["valid"] &= (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
        if "keypoints" in found:
            found["keypoints"] *= tf.stack([scale[1], scale[0], 1.0])
        first = tf.argsort(tf.cast(found["valid"], tf.int32), direction="DESCENDING", stable=True)  # [B, D]
        found = {name: tf.gather(value, first, batch_dims=1) for name, value in found.items()}
        found["num_detections"] = tf.reduce_sum(tf.cast(found["valid"], tf.int32), axis=1)
        return found

    return serve
