"""Masks of the stages of a cascade: on which RoIs each is trained, and what they give together."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig, label_rois
from mrcnn.modeling.heads.cascade_mask import CascadeMaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import Detections, RoiSample
from tests.ground_truth import ground_truth, stack
from tests.modeling.test_cascade_head import NUM_CLASSES, STRIDES, WINDOW, features_of, random_boxes


def masks_of(**changes):
    pool = RoiPoolConfig(size=2)
    config = CascadeMaskHeadConfig(**({"pool": pool, "conv_dims": (4,), "deconv_dim": 4} | changes))
    return config.build(NUM_CLASSES, RoiPooler(pool, STRIDES, 4))


def test_each_stage_has_masks_on_its_own_rois(rng):
    head = masks_of(stage_loss_weights=(1.0, 0.5, 0.25), num_foreground=2)
    assert head.config.loss_names == ("roi_mask_1", "roi_mask_2", "roi_mask_3")
    names = {v.path.split("mask_head/")[-1].split("/")[0] for v in head.weights}
    assert names == {"stage1", "stage2", "stage3"}
    gt_boxes = random_boxes(rng, 2)
    batch = stack([ground_truth([{"box": box, "class_id": k} for k, box in enumerate(gt_boxes, start=1)])])
    features, seed = features_of(rng, 1), tf.constant([[3, 4]])
    # Background in front, as a stage that keeps its RoIs may have it.
    stages = [
        label_rois(tf.constant(np.stack([[50, 50, 60, 60], *(gt_boxes + 0.3 * k)])[None], tf.float32),
                   tf.ones([1, 3], tf.bool), batch, 0.5)
        for k in range(3)
    ]  # fmt: skip
    terms, after = head.loss_terms(features, stages, batch, WINDOW[:1], seed, True)
    assert after is stages
    for k, (stage, rois) in enumerate(zip(head.stages, stages, strict=True), start=1):
        own = RoiSample(*(field[:, 1:] for field in rois))
        logits = stage(features, own.boxes, own.valid, WINDOW[:1])
        expected = stage.loss(logits, stage.targets(own, batch), own)["roi_mask"]
        np.testing.assert_allclose(terms[f"roi_mask_{k}"], expected, rtol=1e-5)
        assert stage.config.loss_weight == (1.0, 0.5, 0.25)[k - 1]
        assert float(expected.count) == 2


def test_masks_are_the_mean_of_the_stages(rng):
    head = masks_of()
    boxes, class_ids = tf.constant(random_boxes(rng, 1, 2)), tf.constant([[1, 3]])
    detections = Detections(boxes, class_ids, tf.ones([1, 2]), tf.ones([1, 2], tf.bool))
    pred = head(features_of(rng, 1), boxes, detections.valid, WINDOW[:1])
    masks = head.attach(detections, pred).masks.numpy()
    for d, class_id in enumerate((1, 3)):
        expected = np.mean([1 / (1 + np.exp(-logits.numpy()[0, d, :, :, class_id - 1])) for logits in pred], axis=0)
        np.testing.assert_allclose(masks[0, d], expected, rtol=1e-5)


def test_stages_of_masks_are_as_many_as_of_boxes():
    with pytest.raises(ConfigError, match=r"heads.0: 2 stages, expected as many as box_head has: 3"):
        MaskRCNNConfig(box_head=CascadeBoxHeadConfig(), heads=(CascadeMaskHeadConfig(stages=2),))
    with pytest.raises(ConfigError, match="expected as many as box_head has: 1"):
        MaskRCNNConfig(heads=(CascadeMaskHeadConfig(),))
    with pytest.raises(ConfigError, match=r"mask_head.stages: expected at least 1"):
        CascadeMaskHeadConfig(stages=0)
