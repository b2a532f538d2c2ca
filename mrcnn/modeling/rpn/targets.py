"""Which anchors train the network, and on what. Ref: Faster R-CNN, section 3.1.2."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from mrcnn.modeling.rpn.config import RPNConfig
from mrcnn.ops.matching import IGNORE, match_boxes
from mrcnn.ops.sampling import sample_labels
from mrcnn.structures.tensors import Batch, RPNOutput


class AnchorSample(NamedTuple):
    """Anchors that train the network, n an image, padded."""

    index: tf.Tensor  # i32[B, n], which anchor
    foreground: tf.Tensor  # bool[B, n]
    valid: tf.Tensor  # bool[B, n]
    gt_boxes: tf.Tensor  # f32[B, n, k], k = geometry.size, the object of each foreground anchor


def in_target_frame(boxes: tf.Tensor, config: RPNConfig) -> tf.Tensor:
    """Boxes of the model's frame in the one that targets are computed in, f32[..., 4]."""
    if not config.match_edges:
        return boxes
    end = config.anchors.end_offset
    return boxes - tf.constant([0.0, 0.0, end, end])


def from_target_frame(boxes: tf.Tensor, config: RPNConfig) -> tf.Tensor:
    """The inverse of `in_target_frame`."""
    return 2.0 * boxes - in_target_frame(boxes, config)


def is_inside(anchors: tf.Tensor, content_shape: tf.Tensor, border: float) -> tf.Tensor:
    """Anchors that reach less than `border` pixels beyond an image in the upper left corner of its canvas.

    Args:
        anchors: f32[A, 4], pixels of the padded image.
        content_shape: i32[2], height and width of the image.
        border: pixels.

    Returns:
        bool[A]. Ref: mmdetection, anchor_inside_flags: the upper and left edges may lie on the border.
    """
    ends = tf.cast(content_shape, tf.float32) + border
    return tf.reduce_all((anchors[:, :2] >= -border) & (anchors[:, 2:] < ends), axis=1)


def sample_anchors(output: RPNOutput, batch: Batch, config: RPNConfig) -> AnchorSample:
    """The anchors the losses are taken on.

    Args:
        output: the network's predictions.
        batch: with ground truth; `seed` decides the sample, image by image.
        config: of the network.

    Returns:
        AnchorSample of at most `batch_per_image` entries. Ref: Faster R-CNN, section 3.1.3.
    """
    n, fraction, geometry = config.batch_per_image, config.positive_fraction, config.geometry
    num_anchors = output.anchors.shape[0]
    if num_anchors is not None and num_anchors < n:  # entries that cannot be filled would only cost memory
        max_positives = int(n * fraction)
        n = num_anchors
        fraction = min(1.0, (max_positives + 0.5) / max(n, 1))

    anchors = in_target_frame(output.anchors, config)
    least = config.bg_iou if config.crowd_iou is None else min(config.bg_iou, config.crowd_iou)

    def one_image(ground_truth: Batch) -> AnchorSample:
        inside, of_match = None, anchors
        if config.allowed_border is not None:
            inside = is_inside(output.anchors, ground_truth["content_shape"], config.allowed_border)
            of_match = tf.where(inside[:, tf.newaxis], anchors, 0.0)  # which nothing overlaps
        matches = match_boxes(
            of_match,
            in_target_frame(ground_truth[geometry.ground_truth], config),
            ground_truth["gt_valid"],
            ground_truth["gt_crowd"],
            config.fg_iou,
            config.bg_iou,
            allow_low_quality=True,
            crowd_iou=config.crowd_iou,
            low_quality_iou=config.low_quality_iou,
            best_belongs=config.best_belongs,
            iou=lambda a, b: geometry.matching_iou(a, b, least),
            coverage=geometry.coverage,
        )
        labels = matches.labels
        if inside is not None:
            labels = tf.where(inside, labels, IGNORE)
        sample = sample_labels(labels, n, fraction, ground_truth["seed"])
        gt_boxes = tf.gather(ground_truth[geometry.ground_truth], tf.gather(matches.gt_index, sample.index))
        return AnchorSample(sample.index, sample.foreground, sample.valid, gt_boxes)

    keys = [geometry.ground_truth, "gt_valid", "gt_crowd", "seed"]
    if config.allowed_border is not None:
        keys.append("content_shape")
    # Image by image: the overlap matrix of a large image alone has A x G entries.
    return tf.map_fn(
        one_image,
        {k: batch[k] for k in keys},
        fn_output_signature=AnchorSample(
            tf.TensorSpec([n], tf.int32),
            tf.TensorSpec([n], tf.bool),
            tf.TensorSpec([n], tf.bool),
            tf.TensorSpec([n, geometry.size], tf.float32),
        ),
    )
