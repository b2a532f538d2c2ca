"""Masks by fully connected layers. Ref: Mask R-CNN, table 2e."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import RoiHeadConfig
from mrcnn.modeling.heads.mlp_mask import MLPMaskHeadConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import RoiSample
from tests.ground_truth import MASK_SIDE, ground_truth, stack
from tests.reference import masks as reference

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}
WINDOW = tf.constant([[0.0, 0.0, 64.0, 64.0]])
BOXES = np.array([[[8, 8, 30, 40], [0, 0, 9, 9]]], np.float32)


def head_of(**changes):
    config = MLPMaskHeadConfig(**({"pool": RoiPoolConfig(size=3), "fc_dims": (7, 6), "mask_size": 5} | changes))
    return config.build(3, RoiPooler(config.pool, STRIDES, 4))


def shapes_of(head):
    return {v.path.split("mask_head/")[-1]: tuple(v.shape) for v in head.weights}


def test_head_of_the_table():
    """fc: 1024 -> 1024 -> 80 x 28 x 28, class-specific."""
    config = MLPMaskHeadConfig()
    assert (config.fc_dims, config.mask_size, config.pool.size) == ((1024, 1024), 28, 14)
    assert not config.class_agnostic and config.activation == "sigmoid"
    head = config.build(2, RoiPooler(config.pool, STRIDES, 8))
    assert shapes_of(head) == {
        "fc1/kernel": (14 * 14 * 8, 1024),
        "fc1/bias": (1024,),
        "fc2/kernel": (1024, 1024),
        "fc2/bias": (1024,),
        "mask_logits/kernel": (1024, 2 * 28 * 28),
        "mask_logits/bias": (2 * 28 * 28,),
    }
    assert head.mask_side == 28


@pytest.mark.parametrize(
    "changes, num_masks", [({}, 3), ({"class_agnostic": True}, 1), ({"activation": "softmax"}, 4), ({"fc_dims": ()}, 3)]
)
def test_masks_equal_the_slow_ones(rng, changes, num_masks):
    head = head_of(**changes)
    for weight in head.weights:
        weight.assign(rng.normal(size=weight.shape))
    features = {k: tf.constant(rng.normal(size=(1, 64 // s, 64 // s, 4)), tf.float32) for k, s in STRIDES.items()}
    valid = tf.ones([1, 2], tf.bool)
    result = head(features, tf.constant(BOXES), valid, WINDOW).numpy()
    assert result.shape == (1, 2, 5, 5, num_masks)
    layers = [weight.numpy().astype(np.float64) for weight in head.weights]
    pooled = head.pooler(features, tf.constant(BOXES), valid).numpy()
    for s in range(2):
        flat = reference.perceptron(pooled[0, s], list(zip(layers[::2], layers[1::2], strict=True)))
        for y, x, k in np.ndindex(5, 5, num_masks):
            assert result[0, s, y, x, k] == pytest.approx(flat[(y * 5 + x) * num_masks + k], rel=1e-4, abs=1e-3)


def test_targets_have_the_side_of_the_mask():
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    mask[: MASK_SIDE // 2] = 1
    batch = stack([ground_truth([{"box": (8, 8, 32, 32), "mask": mask}])])
    fields = ([[[8, 8, 32, 32]]], [[1]], [[0]], [[True]], [[True]])
    types = (tf.float32, tf.int32, tf.int32, tf.bool, tf.bool)
    rois = RoiSample(*(tf.constant(field, dtype) for field, dtype in zip(fields, types, strict=True)))
    target = head_of(mask_size=4).targets(rois, batch).numpy()[0, 0]
    np.testing.assert_array_equal(target, np.repeat([[1.0] * 4, [0.0] * 4], 2, 0))


def test_config_is_plain_data():
    config = MLPMaskHeadConfig(fc_dims=(8,), loss="dice")
    assert config.layer_name == "mask_head"
    assert RoiHeadConfig.from_dict(config.to_dict()) == config
    assert [loss.name for loss in config.losses] == ["roi_mask"] and [o.name for o in config.outputs] == ["masks"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fc_dims": (8, 0)}, r"fc_dims: expected at least 1 each, got \[8, 0\]"),
        ({"mask_size": 0}, "mask_size: expected at least 1, got 0"),
        ({"class_agnostic": True, "activation": "softmax"}, "activation and class_agnostic"),
    ],
)
def test_bad_parameters_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        MLPMaskHeadConfig(**changes)
    with pytest.raises(ConfigError, match="no field 'conv_dims'"):
        MLPMaskHeadConfig.from_dict({"kind": "MLPMaskHeadConfig", "conv_dims": [8]})
