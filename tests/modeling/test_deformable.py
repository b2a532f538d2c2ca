"""The deformable unit of a ResNet. Ref: Deformable Convolutional Networks; Deformable ConvNets v2."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.export import export_saved_model
from mrcnn.export.served_check import served_instances
from mrcnn.inference import detect
from mrcnn.modeling.backbones.resnet import ResNetConfig, ResNetStage
from mrcnn.modeling.deformable import DeformableConfig, DeformableConvNorm
from mrcnn.modeling.folding import fold_batch_norm
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.golden.case import input_batch
from tests.reference import deformable_conv as reference
from tests.tiny_model import noise_images, tiny_model


def stage_of(config, x, **options):
    options = {"num_blocks": 1, "width_per_group": 4, **options}
    return keras.Model(x, ResNetStage(3, deformable=config, **options)(x, ""))


@pytest.mark.parametrize("modulated", [False, True])
def test_equals_the_slow_one_with_norm_and_relu(rng, modulated):
    config = DeformableConfig(modulated=modulated, groups=2)
    layer = DeformableConvNorm(6, 3, 2, norm="frozen_bn", activation="relu", groups=2, config=config)
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    offsets = rng.normal(size=(2, 3, 3, config.offset_channels)).astype(np.float32)
    layer.build((x.shape, offsets.shape))
    assert layer.compute_output_shape(((None, 5, None, 4), (None, 3, None, 4))) == (None, 3, None, 6)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    for weight in layer.norm.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    norm = {v.path.rsplit("/", 1)[-1]: v.numpy() for v in layer.norm.weights}
    mask = 1 / (1 + np.exp(-offsets[..., 36:])) if modulated else None
    expected = reference.deformable_conv2d(x, offsets[..., :36], layer.kernel, mask, stride=2, groups=2)
    scale = norm["gamma"] / np.sqrt(norm["moving_variance"] + 1e-5)
    expected = np.maximum((expected - norm["moving_mean"]) * scale + norm["beta"], 0)
    np.testing.assert_allclose(layer((x, offsets)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"stride_in_1x1": True}, {"stride": 1, "dilation": 2}, {"groups": 2}])
def test_a_new_one_is_the_plain_convolution(rng, options):
    x = keras.Input((None, None, 8))
    plain, deformable = stage_of(None, x, **options), stage_of(DeformableConfig(), x, **options)
    values = {w.path: w.numpy() for w in plain.weights}
    for weight in deformable.weights:
        if "offset" in weight.path:
            assert not weight.numpy().any()
        else:
            weight.assign(values[weight.path])
    image = rng.normal(size=(1, 7, 6, 8)).astype(np.float32)
    np.testing.assert_allclose(deformable(image), plain(image), rtol=1e-4, atol=1e-4)


def test_stages_groups_and_channels():
    config = ResNetConfig(deformable=DeformableConfig((4,), modulated=True, groups=2), last_stage=4)
    shapes = {w.path: tuple(w.shape) for w in config.build().weights if "offset" in w.path}
    assert len(shapes) == 2 * 6 and shapes["stage4_block6_conv2_offset/kernel"] == (3, 3, 256, 54)
    assert config.title == "ResNet 50 DCNv2" and config.stage_of("stage4_block6_conv2_offset") == 4
    assert ResNetConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_offsets_learn(rng, policy):
    """An image and the same one moved: every weight gets a gradient, after the first step also the offsets' kernel."""
    keras.config.set_dtype_policy(policy)
    try:
        stage = stage_of(DeformableConfig(modulated=True), keras.Input((8, 8, 4)), norm="bn")
    finally:
        keras.config.set_dtype_policy("float32")
    x = tf.constant(rng.normal(size=(2, 8, 8, 4)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.cast(stage(x, training=True), tf.float32) ** 2)
    gradients = dict(
        zip(
            (v.path for v in stage.trainable_weights),
            tape.gradient(loss, [v.value for v in stage.trainable_weights]),
            strict=True,
        )
    )
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert np.abs(gradients["block1_conv2_offset/kernel"]).max() > 0
    assert np.abs(gradients["block1_conv2/kernel"]).max() > 0


def test_keras_rebuilds_the_layer():
    layer = DeformableConvNorm(6, 3, config=DeformableConfig((5,), modulated=True), norm="bn", name="own")
    again = DeformableConvNorm.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.config == layer.config


@pytest.mark.parametrize("stages", [(), (1,), (4, 3), (3, 3), (6,)])
def test_refuses_stages_that_are_none(stages):
    with pytest.raises(ConfigError, match=r"^deformable.stages: expected ascending numbers from 2 to 5, got"):
        DeformableConfig(stages)


def test_config_that_contradict_each_other():
    with pytest.raises(ConfigError, match=r"deformable.groups: expected at least 1, got 0"):
        DeformableConfig(groups=0)
    with pytest.raises(ConfigError, match=r"deformable.stages: \[3, 4, 5\] go beyond last_stage 4"):
        ResNetConfig(last_stage=4, deformable=DeformableConfig())
    with pytest.raises(ConfigError, match=r"deformable.groups: 3 groups do not divide the 8 channels"):
        stage_of(DeformableConfig(groups=3), keras.Input((8, 8, 4)))


@pytest.mark.slow
def test_a_model_is_folded_and_exported_with_stock_operations_alone(rng, tmp_path):
    """Offsets of about a cell; the SavedModel's answers are the model's to 1e-4."""
    config = tiny_model().config
    backbone = ResNetConfig(width_per_group=4, norm="bn", deformable=DeformableConfig((4, 5), modulated=True))
    model = MaskRCNN(dataclasses.replace(config, backbone=backbone), ["thing", "other"], [3, 8])
    for variable in model.variables:
        if "_conv2_offset/" in variable.path:
            variable.assign(rng.normal(0, 0.3 if "kernel" in variable.path else 0.8, variable.shape))
        elif variable.path.endswith("gamma"):
            variable.assign(rng.uniform(0.7, 1.4, variable.shape))
    logits = model.box_head.class_logits
    logits.kernel.assign(logits.kernel * 10.0)
    images = noise_images(1, sides=(96, 110))
    batch = input_batch(images[0], model.config.input)
    plain, folded = (m(batch, training=False) for m in (model, fold_batch_norm(model)))
    np.testing.assert_allclose(folded["boxes"], plain["boxes"], rtol=1e-3, atol=2e-3)
    path = export_saved_model(model, tmp_path / "served", images=images)
    served = tf.saved_model.load(str(path)).signatures["serving_default"]
    height, width = images[0].shape[:2]
    answer = served(image=tf.constant(images[0][None]), shape=tf.constant([[height, width]]))
    (expected,) = detect(model, images[0], score_threshold=None)
    (result,) = served_instances({k: v.numpy() for k, v in answer.items()}, [(height, width)], "small")
    assert len(result) > 0 and np.array_equal(result.class_ids, expected.class_ids)
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-4)
    np.testing.assert_allclose(result.boxes, expected.boxes, atol=1e-2)
