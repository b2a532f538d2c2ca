"""Keypoints of RoIs: the network's shape, targets, a loss over usable joints only, places in detections."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig, KeypointTarget
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import Detections, RoiSample
from tests.reference import attention as slow
from tests.reference import keypoints as reference

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
WINDOW = tf.constant([[0.0, 0.0, 64.0, 64.0]])
JOINTS = 3
SIDE = 8


def head_of(**changes):
    fields = {"pool": RoiPoolConfig(size=2), "conv_dims": (5,), "num_joints": JOINTS, "num_foreground": 3}
    config = KeypointHeadConfig(**(fields | changes))
    return config.build(1, RoiPooler(config.pool, STRIDES, 4))


def rois_of(class_ids, boxes, gt_index=None):
    class_ids = np.asarray(class_ids, np.int32)
    gt_index = np.zeros_like(class_ids) if gt_index is None else np.asarray(gt_index, np.int32)
    fields = (np.asarray(boxes, np.float32), class_ids, gt_index, class_ids > 0, np.ones(class_ids.shape, bool))
    return RoiSample(*(tf.constant(field) for field in fields))


def test_paper_sized_head_has_the_papers_weights():
    config = KeypointHeadConfig()
    head = config.build(1, RoiPooler(config.pool, STRIDES, 256))
    shapes = {v.path.split("keypoint_head/")[-1]: tuple(v.shape) for v in head.weights}
    expected = {"deconv/kernel": (4, 4, 17, 512), "deconv/bias": (17,)}
    for i in range(1, 9):
        channels = 256 if i == 1 else 512
        expected |= {f"convs/conv{i}/kernel": (3, 3, channels, 512), f"convs/conv{i}/bias": (512,)}
    assert shapes == expected
    assert head.map_side == 56
    assert config.loss_names == ("roi_keypoint",)


def test_maps_equal_the_slow_ones(rng):
    """Without convolutions: every cell paints a 4 x 4 kernel two cells apart, then the map is doubled."""
    head = head_of(conv_dims=())
    kernel = rng.normal(size=(4, 4, JOINTS, 4)).astype(np.float32)
    head.deconv.set_weights([kernel, np.arange(JOINTS, dtype=np.float32)])
    features = {k: tf.constant(rng.normal(size=(1, 64 // s, 64 // s, 4)), tf.float32) for k, s in STRIDES.items()}
    boxes, valid = tf.constant([[[8.0, 8.0, 30.0, 40.0], [0.0, 0.0, 9.0, 9.0]]]), tf.ones([1, 2], tf.bool)
    pooled = head.pooler(features, boxes, valid).numpy()
    result = head(features, boxes, valid, WINDOW).numpy()
    assert result.shape == (1, 2, SIDE, SIDE, JOINTS)
    for s in range(2):
        low = reference.transposed_convolution(pooled[0, s], np.swapaxes(kernel, 2, 3), 2, 1) + np.arange(JOINTS)
        np.testing.assert_allclose(result[0, s], reference.double(low), atol=1e-5)


def test_non_local_blocks_follow_every_second_convolution(rng):
    """Ref: Non-local Neural Networks, table 6: four blocks among the paper's eight convolutions."""
    config = KeypointHeadConfig(non_local=NonLocalConfig(), conv_dims=(8,) * 8)
    blocks = config.build(1, RoiPooler(config.pool, STRIDES, 8)).non_local
    assert len(blocks) == 4 and {tuple(block.theta.kernel.shape) for block in blocks} == {(1, 1, 8, 4)}

    head = head_of(conv_dims=(4, 6, 5), non_local=NonLocalConfig(subsample=False))
    assert [tuple(block.out.kernel.shape) for block in head.non_local] == [(1, 1, 3, 6)]
    features = {k: tf.constant(rng.normal(size=(1, 64 // s, 64 // s, 4)), tf.float32) for k, s in STRIDES.items()}
    boxes, valid = tf.constant([[[8.0, 8.0, 30.0, 40.0], [0.0, 0.0, 9.0, 9.0]]]), tf.ones([1, 2], tf.bool)
    plain = head_of(conv_dims=(4, 6, 5))
    own = {v.path.split("keypoint_head/")[-1]: v for v in head.weights}
    for variable in plain.weights:
        variable.assign(own[variable.path.split("keypoint_head/")[-1]])
    np.testing.assert_array_equal(head(features, boxes, valid, WINDOW), plain(features, boxes, valid, WINDOW))

    (block,) = head.non_local
    block.out.norm.gamma.assign(rng.normal(size=6))
    x = head.pooler(features, boxes, valid)[0]
    for conv in head.convs.convs[:2]:
        x = conv(x)
    pairs = [(c.kernel.numpy(), c.bias.numpy()) for c in (block.theta, block.phi, block.g)]
    scale = block.out.norm.gamma.numpy() / np.sqrt(1 + 1e-5)
    pairs.append((block.out.kernel.numpy() * scale, np.zeros(6)))
    x = np.stack([slow.non_local(roi, *pairs) for roi in x.numpy()]).astype(np.float32)
    x = tf.image.resize(head.deconv(head.convs.convs[2](x)), [SIDE, SIDE])
    np.testing.assert_allclose(head(features, boxes, valid, WINDOW)[0], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"conv_dims": (5,)}, r"^non_local and conv_dims: .* expected at least as many, got conv_dims \[5\]"),
        ({"non_local_every": 0}, "^non_local_every: expected at least 1, got 0"),
        ({"non_local": NonLocalConfig(norm="bn")}, "^non_local.norm: expected eval_bn, gn or none in a head, .*got bn"),
    ],
)
def test_non_local_blocks_without_a_place_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        KeypointHeadConfig(**{"non_local": NonLocalConfig(), **changes})


def test_targets_and_loss_by_hand():
    """Two RoIs: one joint of the first and two of the second are usable; the background RoI has none."""
    head = head_of()
    gt = np.zeros((1, 2, JOINTS, 3), np.float32)
    gt[0, 0] = [[1.0, 1.0, 2.0], [7.0, 2.0, 0.0], [9.0, 3.0, 2.0]]  # usable, not labeled, outside
    gt[0, 1] = [[23.0, 20.0, 1.0], [20.0, 27.0, 2.0], [0.0, 0.0, 2.0]]
    boxes = [[[0, 0, 8, 8], [20, 20, 28, 28], [0, 0, 8, 8], [0, 0, 8, 8]]]
    rois = head.rois_for(rois_of([[1, 1, 0, 0]], boxes, [[0, 1, 0, 0]]))
    targets = head.targets(rois, {"gt_keypoints": tf.constant(gt)})
    expected = [[True, False, False], [True, True, False], [False] * 3]
    np.testing.assert_array_equal(targets.usable[0], expected)
    np.testing.assert_array_equal(targets.cells[0][np.array(expected)], [SIDE + 1, 3, 7 * SIDE])

    pred = np.zeros((1, 3, SIDE, SIDE, JOINTS), np.float32)  # ln 64 each, but for:
    pred[0, 1, 7, 0, 1] = math.log(64.0)  # half of the probability
    pred[0, 2] = 100.0
    term = head.loss(tf.constant(pred), targets, rois)["roi_keypoint"]
    assert float(term.count) == 3
    assert float(term.total) == pytest.approx(2 * math.log(64) + math.log(127 / 64), rel=1e-5)


def test_gradient_reaches_usable_joints_only(rng):
    pred = tf.constant(rng.normal(size=(1, 2, SIDE, SIDE, JOINTS)), tf.float32)
    usable = np.array([[[True, False, True], [False] * 3]])
    targets = KeypointTarget(tf.constant(rng.integers(0, 64, (1, 2, 3)), tf.int32), tf.constant(usable))
    with tf.GradientTape() as tape:
        tape.watch(pred)
        term = head_of().loss(pred, targets, rois_of([[1, 1]], np.zeros((1, 2, 4))))["roi_keypoint"]
        loss = term.mean()
    gradient = tape.gradient(loss, pred).numpy()
    np.testing.assert_array_equal((gradient != 0).any((2, 3)), usable)
    # Softmax over the cells of one map: its gradient sums to zero
    np.testing.assert_allclose(gradient.sum((2, 3)), 0.0, atol=1e-6)


def test_no_usable_joint_is_zero_not_nan():
    rois = rois_of([[0, 0]], np.zeros((1, 2, 4)))
    head = head_of()
    targets = head.targets(rois, {"gt_keypoints": tf.ones([1, 1, JOINTS, 3])})
    term = head.loss(tf.zeros([1, 2, SIDE, SIDE, JOINTS]), targets, rois)["roi_keypoint"]
    assert (float(term.total), float(term.count), float(term.mean())) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "batch, message", [({}, "gt_keypoints"), ({"gt_keypoints": tf.zeros([1, 1, 2, 3])}, "expected 3 joints .* got 2")]
)
def test_data_without_the_right_joints_are_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        head_of().targets(rois_of([[1]], [[[0, 0, 8, 8]]]), batch)


def test_detections_get_their_keypoints():
    pred = np.zeros((1, 2, SIDE, SIDE, JOINTS), np.float32)
    pred[0, 0, 2, 5] = 6.0
    boxes = tf.constant([[[8.0, 16.0, 16.0, 24.0], [0.0] * 4]])
    detections = Detections(boxes, tf.constant([[1, 0]]), tf.zeros([1, 2]), tf.constant([[True, False]]))
    result = head_of(score="logit").attach(detections, tf.constant(pred))
    np.testing.assert_allclose(result.keypoints[0, 0], [[21.5, 10.5, 6.0]] * JOINTS, rtol=1e-5)
    assert not result.keypoints[0, 1].numpy().any()
    assert "masks" not in result.to_dict()
