"""What matterport's `detect` returns, from what the model of this package finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.inference import to_instances
from mrcnn.matterport.keras_model import KerasModel
from mrcnn.structures.instances import Instances
from mrcnn.structures.tensors import batch_spec
from mrcnn.weights.profiles import MATTERPORT


class CanvasDetector:
    """A model on images that lie on their canvas already, such as those that `utils.resize_image` gives.

    Args:
        model: of the config that made the canvas.
        channels: of the images.
    """

    def __init__(self, model: KerasModel, channels: int) -> None:
        self.config = model.config
        spec = batch_spec(channels=channels, with_ground_truth=False)
        spec["image"] = tf.TensorSpec(spec["image"].shape, tf.float32, "image")
        self._graph = tf.function(lambda batch: dict(model(batch, training=False)), input_signature=[spec])

    def detect(self, image: np.ndarray, window: Sequence[int], original_shape: tuple[int, int]) -> Instances:
        """The detections in an image.

        Args:
            image: f32[h, w, c], before the mean is taken.
            window: (y1, x1, y2, x2) of what is shown, in pixels of `image`.
            original_shape: (height, width) of what is shown before it was resized.

        Returns:
            instances in pixels of the original.
        """
        y1, x1, y2, x2 = (int(side) for side in window)
        output = self._graph(
            {
                "image": tf.constant(image[None]),
                "image_id": tf.constant([0], tf.int64),
                "original_shape": tf.constant([original_shape], tf.int32),
                "content_shape": tf.constant([(y2 - y1, x2 - x1)], tf.int32),
            }
        )
        return to_instances(
            {name: value.numpy()[0] for name, value in output.items()},
            (y2 - y1, x2 - x1),
            original_shape,
            origin=(y1, x1),
            config=self.config.input,
            outputs=self.config.outputs,
        )


def unmold(
    detections: np.ndarray, mrcnn_mask: np.ndarray, original_image_shape: Any, image_shape: Any, window: Any
) -> Instances:
    """Normalized detections in pixels of the original image; arguments as `MaskRCNN.unmold_detections`."""
    class_ids = detections[:, 4].astype(np.int32)
    y1, x1, y2, x2 = (int(side) for side in window)
    return to_instances(
        {
            "boxes": (detections[:, :4] * (np.tile(image_shape[:2], 2) - 1)).astype(np.float32),
            "class_ids": class_ids,
            "scores": detections[:, 5],
            "valid": np.cumsum(class_ids == 0) == 0,
            "masks": mrcnn_mask[np.arange(len(class_ids)), :, :, class_ids],
        },
        (y2 - y1, x2 - x1),
        tuple(original_image_shape[:2]),
        origin=(y1, x1),
        config=MATTERPORT.input,
        outputs=MATTERPORT.mask_head.outputs,
    )


def as_result(instances: Instances) -> dict[str, np.ndarray]:
    """matterport's dict of one image: "rois" i32[n, 4], "class_ids", "scores" and "masks" bool[h, w, n].

    Boxes are rounded to whole pixels; those that are then without area are left out.
    """
    rois = np.around(instances.boxes).astype(np.int32)
    kept = (rois[:, 2] > rois[:, 0]) & (rois[:, 3] > rois[:, 1])
    masks = instances.masks if instances.masks is not None else np.zeros((len(rois), *instances.image_shape), bool)
    return {
        "rois": rois[kept],
        "class_ids": instances.class_ids[kept],
        "scores": instances.scores[kept] if instances.scores is not None else np.zeros(int(kept.sum()), np.float32),
        "masks": np.ascontiguousarray(np.moveaxis(masks[kept], 0, -1)),
    }
