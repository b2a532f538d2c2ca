"""Which anchors train the network, and on what. Ref: Faster R-CNN, section 3.1.2."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from mrcnn.modeling.rpn.config import RPNConfig
from mrcnn.ops.matching import match_boxes
from mrcnn.ops.sampling import sample_labels
from mrcnn.structures.tensors import Batch, RPNOutput


class AnchorSample(NamedTuple):
    """Anchors that train the network, n slots an image."""

    index: tf.Tensor  # i32[B, n], which anchor
    foreground: tf.Tensor  # bool[B, n]
    valid: tf.Tensor  # bool[B, n]
    gt_boxes: tf.Tensor  # f32[B, n, 4], the object of each foreground anchor


def in_target_frame(boxes: tf.Tensor, config: RPNConfig) -> tf.Tensor:
    """Boxes of the model's frame in the one that targets are computed in, f32[..., 4]."""
    if not config.match_edges:
        return boxes
    end = config.anchors.end_offset
    return boxes - tf.constant([0.0, 0.0, end, end])


def from_target_frame(boxes: tf.Tensor, config: RPNConfig) -> tf.Tensor:
    """The inverse of `in_target_frame`."""
    return 2.0 * boxes - in_target_frame(boxes, config)


def sample_anchors(output: RPNOutput, batch: Batch, config: RPNConfig) -> AnchorSample:
    """The anchors the losses are taken on.

    Args:
        output: the network's predictions.
        batch: with ground truth; `seed` decides the sample, image by image.
        config: of the network.

    Returns:
        AnchorSample of at most `batch_per_image` slots. Ref: Faster R-CNN, section 3.1.3.
    """
    n, fraction = config.batch_per_image, config.positive_fraction
    num_anchors = output.anchors.shape[0]
    if num_anchors is not None and num_anchors < n:  # slots that cannot be filled would only cost memory
        max_positives = int(n * fraction)
        n = num_anchors
        fraction = min(1.0, (max_positives + 0.5) / max(n, 1))

    anchors = in_target_frame(output.anchors, config)

    def one_image(ground_truth: Batch) -> AnchorSample:
        matches = match_boxes(
            anchors,
            in_target_frame(ground_truth["gt_boxes"], config),
            ground_truth["gt_valid"],
            ground_truth["gt_crowd"],
            config.fg_iou,
            config.bg_iou,
            allow_low_quality=True,
            crowd_iou=config.crowd_iou,
        )
        sample = sample_labels(matches.labels, n, fraction, ground_truth["seed"])
        gt_boxes = tf.gather(ground_truth["gt_boxes"], tf.gather(matches.gt_index, sample.index))
        return AnchorSample(sample.index, sample.foreground, sample.valid, gt_boxes)

    # Image by image: the overlap matrix of a large image alone has A x G entries.
    return tf.map_fn(
        one_image,
        {k: batch[k] for k in ("gt_boxes", "gt_valid", "gt_crowd", "seed")},
        fn_output_signature=AnchorSample(
            tf.TensorSpec([n], tf.int32),
            tf.TensorSpec([n], tf.bool),
            tf.TensorSpec([n], tf.bool),
            tf.TensorSpec([n, 4], tf.float32),
        ),
    )
