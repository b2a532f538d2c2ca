import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.ops.roi_align import roi_align
from tests.reference import roi_align as align_reference
from tests.reference import roi_pool as pool_reference

STRIDES = {"p2": 4, "p3": 8, "c4": 16}
BOXES = np.array([[[8, 4, 30, 21], [3, 5, 50, 40]]], np.float32)
VALID = np.ones((1, 2), bool)


def features_of(rng, channels=2):
    return {k: tf.constant(rng.normal(size=(1, 64 // s, 64 // s, channels)), tf.float32) for k, s in STRIDES.items()}


def config_of(**fields):
    return RoiPoolConfig(size=2, levels=("p2",), **fields)


def samples_of(feature, box, side):
    return align_reference.roi_align(feature, box, 4, (side, side), 1, False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, lambda f, box: align_reference.roi_align(f, box, 4, (2, 2), 2, False)),
        (
            {"sampling_ratio": 0, "aligned": True, "end_offset": -1.0},
            lambda f, box: align_reference.roi_align(f, box - [0, 0, 1, 1], 4, (2, 2), 0, True),
        ),
        (
            {"reduce": "max"},
            lambda f, box: samples_of(f, box, 4).reshape(2, 2, 2, 2, 2).max(axis=(1, 3)),
        ),
        ({"op": "pool"}, lambda f, box: pool_reference.roi_pool(f, box, 4, (2, 2))[0]),
        (
            {"op": "warp", "reduce": "max"},
            lambda f, box: pool_reference.roi_warp(f, box, 4, (4, 4)).reshape(2, 2, 2, 2, 2).max(axis=(1, 3)),
        ),
        (
            {"op": "warp"},
            lambda f, box: pool_reference.roi_warp(f, box, 4, (4, 4)).reshape(2, 2, 2, 2, 2).mean(axis=(1, 3)),
        ),
        ({"op": "crop"}, lambda f, box: pool_reference.roi_crop(f, box, (64, 64), (2, 2))),
    ],
)
def test_each_operator_equals_its_reference(rng, fields, expected):
    features = features_of(rng)
    pooled = RoiPooler(config_of(**fields), STRIDES, 2)(features, BOXES, VALID)
    for box, own in zip(BOXES[0], pooled[0], strict=True):
        np.testing.assert_allclose(own, expected(features["p2"][0].numpy(), box), atol=2e-5)


@pytest.mark.parametrize("op", ["align", "warp"])
def test_maximum_sends_its_gradient_to_one_sample_and_survives_no_rois(rng, op):
    pooler = RoiPooler(config_of(op=op, reduce="max"), STRIDES, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 2]), tf.TensorSpec([None, None, 4])])
    def gradient_of(feature, boxes):
        with tf.GradientTape() as tape:
            tape.watch(feature)
            loss = tf.reduce_sum(pooler({"p2": feature}, boxes, tf.ones(tf.shape(boxes)[:2], tf.bool)))
        return tape.gradient(loss, feature)

    # All samples of a constant map are equal; each of the 4 bins hands its gradient on once per channel and RoI.
    gradient = gradient_of(tf.ones([1, 16, 16, 2]), BOXES)
    assert float(tf.reduce_sum(gradient)) == pytest.approx(2 * 4 * 2, rel=1e-5)
    np.testing.assert_array_equal(gradient_of(tf.ones([1, 16, 16, 2]), BOXES[:, :0]), np.zeros((1, 16, 16, 2)))


def test_level_rule_reaches_the_operator(rng):
    features = features_of(rng)
    # Side 40 of canonical 48 on level 3: the floor is level 2, the nearest is level 3.
    boxes = np.array([[[4, 4, 44, 44]]], np.float32)
    fields = {"size": 2, "levels": ("p2", "p3"), "canonical_size": 48.0, "canonical_level": 3}
    for rule, level in (("floor_inside", "p2"), ("floor_after", "p2"), ("round_image_area", "p3")):
        pooled = RoiPooler(RoiPoolConfig(level_rule=rule, **fields), STRIDES, 2)(features, boxes, VALID[:, :1])
        np.testing.assert_allclose(pooled, roi_align(features[level], boxes, STRIDES[level], 2), atol=1e-5)
    pooled = RoiPooler(RoiPoolConfig(level_epsilon=0.2, **fields), STRIDES, 2)(features, boxes, VALID[:, :1])
    np.testing.assert_allclose(pooled, roi_align(features["p3"], boxes, 8, 2), atol=1e-5)


class Doubled(keras.layers.Layer):
    """Stands for the fifth stage: halves the side, adds a channel, knows training."""

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, x, training=None):
        y = tf.reduce_mean(tf.reshape(x, [-1, 2, 2, 2, 2, x.shape[-1]]), axis=(2, 4))
        y *= self.scale * (3.0 if training else 1.0)
        return tf.concat([y, tf.zeros_like(y[..., :1])], axis=-1)

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2, shape[3] + 1)


def test_stage_runs_on_all_rois_and_tells_the_output(rng):
    features, stage = features_of(rng), Doubled()
    stage.build((None, 4, 4, 2))
    config = RoiPoolConfig(size=4, levels=("c4",))
    pooler = RoiPooler(config, STRIDES, 2, stage)
    assert (pooler.out_size, pooler.out_channels) == (2, 3)
    plain = RoiPooler(config, STRIDES, 2)
    assert (plain.out_size, plain.out_channels) == (4, 2)
    pooled = plain(features, BOXES, VALID)
    expected = pooled.numpy().reshape(1, 2, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(pooler(features, BOXES, VALID)[..., :2], expected, atol=1e-6)
    np.testing.assert_allclose(pooler(features, BOXES, VALID, training=True)[..., :2], 3 * expected, atol=1e-6)
    dynamic = tf.function(
        lambda b: pooler(features, b, tf.ones(tf.shape(b)[:2], tf.bool)),
        input_signature=[tf.TensorSpec([None, None, 4])],
    )
    np.testing.assert_allclose(dynamic(BOXES)[..., :2], expected, atol=1e-6)
    assert dynamic(BOXES[:, :0]).shape == (1, 0, 2, 2, 3)


def test_a_layer_holding_the_pooler_does_not_own_the_stage():
    stage = Doubled()
    stage.build((None, 4, 4, 2))
    head = keras.layers.Layer()
    head.pooler = RoiPooler(RoiPoolConfig(size=4, levels=("c4",)), STRIDES, 2, stage)
    assert head.weights == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "pool.size: expected at least 1, got 0"),
        ({"sampling_ratio": -1}, "pool.sampling_ratio: expected 0"),
        ({"sampling_ratio": 0, "op": "warp"}, 'expected at least 1 with op "warp"'),
        ({"sampling_ratio": 0, "reduce": "max"}, 'reduce "max"'),
        ({"levels": ()}, "pool.levels"),
    ],
)
def test_bad_config_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        RoiPoolConfig(**fields)


def test_a_level_the_neck_lacks_is_refused():
    with pytest.raises(ConfigError, match="no level 'p5' in the neck, there are p2, p3, c4"):
        RoiPooler(RoiPoolConfig(levels=("p2", "p5")), STRIDES, 2)


class SlowPooler(RoiPooler):
    """Pools RoI by RoI with the slow references, from the finest of its levels."""

    def __call__(self, features, boxes, valid, training=None):
        size, level = (self.config.size, self.config.size), self.config.levels[0]
        feature, stride = features[level].numpy(), self.strides[level]
        result = np.zeros((*boxes.shape[:2], *size, self.channels), np.float32)
        for b, s in np.argwhere(np.asarray(valid)):
            box = np.asarray(boxes)[b, s]
            if self.config.op == "pool":
                result[b, s] = pool_reference.roi_pool(feature[b], box, stride, size)[0]
            else:
                result[b, s] = pool_reference.roi_warp(feature[b], box, stride, size)
        return tf.constant(result)


HEADS = {
    "box": BoxHeadConfig(fc_dims=(8,)),
    "cascade": CascadeBoxHeadConfig(fc_dims=(8,)),
    "mask": MaskHeadConfig(conv_dims=(8,), deconv_dim=8),
    "mask, perceptron": MLPMaskHeadConfig(fc_dims=(8,), mask_size=5),
    "keypoint": KeypointHeadConfig(conv_dims=(8,), num_joints=2),
}


@pytest.mark.parametrize("op", ["pool", "warp"])
@pytest.mark.parametrize("config", [pytest.param(config, id=name) for name, config in HEADS.items()])
def test_roi_pool_and_roi_warp_go_through_every_head(rng, config, op):
    """Ref: Mask R-CNN, tables 2c and 2d. Padded RoIs included; the gradient reaches the features."""
    pool = RoiPoolConfig(size=3, levels=("p2",), op=op, sampling_ratio=1)
    config = dataclasses.replace(config, pool=pool)
    head = config.build(2, RoiPooler(pool, STRIDES, 2), name="head")
    features, valid = features_of(rng), tf.constant([[True, True, False]])
    boxes = tf.constant(np.concatenate([BOXES, [[[0, 0, 20, 20]]]], 1), tf.float32)
    arguments = (boxes, valid, tf.constant([[0.0, 0.0, 64.0, 64.0]]))
    with tf.GradientTape() as tape:
        tape.watch(features["p2"])
        pred = [x for x in tf.nest.flatten(head(features, *arguments)) if x.dtype == tf.float32]
        loss = tf.add_n([tf.reduce_sum(tf.square(x)) for x in pred])
    gradient = tape.gradient(loss, features["p2"]).numpy()
    assert np.isfinite(gradient).all() and gradient.any()
    head.pooler = SlowPooler(pool, STRIDES, 2)
    slow = [x for x in tf.nest.flatten(head(features, *arguments)) if x.dtype == tf.float32]
    for result, expected in zip(pred, slow, strict=True):
        scale = max(1.0, float(tf.reduce_max(tf.abs(expected))))
        np.testing.assert_allclose(result, expected, atol=1e-4 * scale)
