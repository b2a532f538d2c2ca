"""From proposals to the RoIs the heads train on. Ref: Mask R-CNN, section 3.1."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tensorflow as tf

from mrcnn.base_config import BaseConfig
from mrcnn.ops.box_geometry import ALIGNED, BoxGeometry
from mrcnn.ops.matching import match_boxes
from mrcnn.ops.sampling import SampledIndices, sample_labels
from mrcnn.structures.tensors import Batch, Proposals, RoiSample


@dataclasses.dataclass(frozen=True)
class RoiSamplerConfig(BaseConfig):
    """Configuration of RoI sampling; defaults are the paper's for FPN."""

    num_rois: int = 512  # per image
    positive_fraction: float = 0.25
    fg_iou: float = 0.5  # RoIs that overlap an object at least so much are foreground, the rest background
    append_gt: bool = True  # the true boxes join the proposals
    # "fill": background RoIs fill what foreground leaves of num_rois. "ratio": there are int(foreground /
    # positive_fraction) - foreground of them, and the other entries, boxes of zeros, count as background too.
    background: Literal["fill", "ratio"] = "fill"
    # A background RoI is ignored where its IoU with a crowd region reaches this; None: where half of it lies inside.
    crowd_iou: float | None = None
    # The best proposal of an object belongs to it, if it is foreground, even where it overlaps another object more.
    best_belongs: bool = False

    @property
    def num_foreground(self) -> int:
        """F, the most foreground RoIs there can be."""
        return int(self.num_rois * self.positive_fraction)


def sample_rois(
    proposals: Proposals, batch: Batch, config: RoiSamplerConfig, geometry: BoxGeometry = ALIGNED
) -> RoiSample:
    """Draws RoIs for each image from its proposals and, if asked, its true boxes.

    Args:
        proposals: P per image.
        batch: with ground truth; crowd regions are neither foreground nor background.
        config: config.
        geometry: what proposals and true boxes are.

    Returns:
        RoiSample with S = num_rois, foreground among the first F.

    Empty: an image without objects yields background only; without proposals too, padded entries only.
    """

    least = config.fg_iou if config.crowd_iou is None else min(config.fg_iou, config.crowd_iou)

    def one_image(x: dict[str, tf.Tensor]) -> RoiSample:
        boxes, valid, gt_boxes = x["boxes"], x["valid"], x[geometry.ground_truth]
        if config.append_gt:
            boxes = tf.concat([boxes, gt_boxes], 0)
            valid = tf.concat([valid, x["gt_valid"] & ~x["gt_crowd"]], 0)
        matches = match_boxes(
            boxes,
            gt_boxes,
            x["gt_valid"],
            x["gt_crowd"],
            config.fg_iou,
            config.fg_iou,
            allow_low_quality=False,
            crowd_iou=config.crowd_iou,
            iou=lambda a, b: geometry.matching_iou(a, b, least),
            coverage=geometry.coverage,
        )
        gt_of = matches.gt_index
        if config.best_belongs:  # not of a true box, which joins the proposals already matched
            of_proposals = match_boxes(
                tf.where(x["valid"][:, tf.newaxis], x["boxes"], 0.0),
                gt_boxes,
                x["gt_valid"],
                x["gt_crowd"],
                config.fg_iou,
                config.fg_iou,
                allow_low_quality=True,
                low_quality_iou=config.fg_iou,
                best_belongs=True,
                iou=geometry.iou,
                coverage=geometry.coverage,
            ).gt_index
            gt_of = tf.concat([of_proposals, gt_of[tf.shape(of_proposals)[0] :]], 0)
        labels = tf.where(valid, matches.labels, -1)
        # Another stream than the RPN's draw from the same seed.
        seed = x["seed"] + tf.constant([0, 1])
        sample = sample_labels(labels, config.num_rois, config.positive_fraction, seed)
        if config.background == "ratio":
            return _by_ratio(sample, gt_of, boxes, x["gt_class_ids"], config.positive_fraction)
        gt_index = tf.gather(gt_of, sample.index)
        class_ids = tf.where(sample.foreground, tf.gather(x["gt_class_ids"], gt_index), 0)
        return RoiSample(tf.gather(boxes, sample.index), class_ids, gt_index, sample.foreground, sample.valid)

    s = config.num_rois
    ground_truth = {k: batch[k] for k in (geometry.ground_truth, "gt_class_ids", "gt_valid", "gt_crowd", "seed")}
    sampled = tf.map_fn(
        one_image,
        {"boxes": proposals.boxes, "valid": proposals.valid, **ground_truth},
        fn_output_signature=RoiSample(
            tf.TensorSpec([s, geometry.size], tf.float32),
            tf.TensorSpec([s], tf.int32),
            tf.TensorSpec([s], tf.int32),
            tf.TensorSpec([s], tf.bool),
            tf.TensorSpec([s], tf.bool),
        ),
    )
    return RoiSample(*(tf.stop_gradient(field) for field in sampled))


def _by_ratio(
    sample: SampledIndices, gt_index: tf.Tensor, boxes: tf.Tensor, gt_class_ids: tf.Tensor, positive_fraction: float
) -> RoiSample:
    """A sample with as many background RoIs as the ratio says; all entries count, those left over as boxes of zeros.

    Ref: matterport/Mask_RCNN, mrcnn/model.py, detection_targets_graph.
    """
    positives = tf.math.count_nonzero(sample.foreground, dtype=tf.int32)
    # In float32, as there: 33 / 0.33 may come out below 100.
    both = tf.cast(
        tf.constant(1.0 / max(positive_fraction, 1e-9), tf.float32) * tf.cast(positives, tf.float32), tf.int32
    )
    drawn = sample.valid & (sample.foreground | (tf.range(tf.size(sample.index)) < both))
    matched = tf.gather(gt_index, sample.index)
    class_ids = tf.where(sample.foreground, tf.gather(gt_class_ids, matched), 0)
    rois = tf.where(drawn[:, tf.newaxis], tf.gather(boxes, sample.index), 0.0)
    return RoiSample(rois, class_ids, tf.where(drawn, matched, 0), sample.foreground, tf.ones_like(drawn))
