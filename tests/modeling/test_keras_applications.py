import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.export.saved_model import export_saved_model
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones import keras_applications as module
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.function import CallableConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.variables import named_variables
from mrcnn.weights.checkpoint import load_model, save_checkpoint
from tests.modeling import backbone_functions
from tests.modeling.backbone_model import after_a_step, c5_of, check_fresh_process
from tests.tiny_model import noise_images, tiny_config

# By hand, from the papers' tables: where each stage of the network ends, and how many channels it has there.
LEVELS = {
    "MobileNetV3Small": (
        ["expanded_conv_project_bn", "expanded_conv_2_add", "expanded_conv_7_add", "expanded_conv_10_add"],
        [16, 24, 48, 96],
    ),
    "ResNet50": (
        ["conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"],
        [256, 512, 1024, 2048],
    ),
    "ConvNeXtTiny": ([None] * 4, [96, 192, 384, 768]),
}


@functools.cache
def built(name, norm="frozen_bn"):
    """A backbone, and the network it is of with the same random weights."""
    keras.utils.set_random_seed(0)
    backbone = KerasApplicationsConfig(name=name, norm=norm).build()
    network = module.network_of(name)
    rng = np.random.default_rng(1)
    names = graph.stable_names(network)
    ours = {layer.name: layer for layer in backbone.layers}
    for layer in network.layers:
        values = [
            rng.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else rng.normal(0, 0.05, w.shape) for w in layer.weights
        ]
        if values:
            layer.set_weights(values)
        if names[layer.name] in ours:
            ours[names[layer.name]].set_weights(values)
    return backbone, network


@pytest.mark.parametrize("name", ["MobileNetV3Small", pytest.param("ResNet50", marks=pytest.mark.slow)])
def test_features_are_those_of_the_network_itself(name, rng):
    backbone, network = built(name)
    layers, channels = LEVELS[name]
    image = rng.normal(size=(1, 64, 96, 3)).astype(np.float32)
    expected = keras.Model(network.input, [network.get_layer(layer).output for layer in layers])(image, training=False)
    features = backbone(image)
    assert list(features) == ["c2", "c3", "c4", "c5"]
    for (level, actual), reference, depth in zip(features.items(), expected, channels, strict=True):
        stride = 2 ** int(level[1])
        assert actual.shape == (1, 64 // stride, 96 // stride, depth)
        scale = float(tf.reduce_max(tf.abs(reference)))
        np.testing.assert_allclose(actual / scale, reference / scale, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["MobileNetV3Small", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ResNet50", "ConvNeXtTiny"))]
)
def test_channels_and_strides(name):
    config = KerasApplicationsConfig(name=name)
    assert list(config.channels.values()) == LEVELS[name][1]
    assert config.strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


def test_names_do_not_depend_on_what_was_built_before():
    config = KerasApplicationsConfig(name="MobileNetV3Small")
    first = [variable.path for variable in config.build().variables]
    keras.layers.Activation("relu")
    keras.layers.Add()
    module.network_of("MobileNetV3Small")
    assert [variable.path for variable in config.build().variables] == first
    assert not any(name.startswith("variable") for name in first)


@pytest.mark.parametrize(
    "norm, trainable",
    [
        ("frozen_bn", False),
        pytest.param("bn", True, marks=pytest.mark.slow),
        pytest.param("gn", True, marks=pytest.mark.slow),
    ],
)
def test_batch_norm_is_what_the_config_says(norm, trainable):
    model = KerasApplicationsConfig(name="MobileNetV3Small", norm=norm).build()
    gammas = [variable for variable in model.variables if variable.path.endswith("gamma")]
    assert gammas and all(variable.trainable == trainable for variable in gammas)
    assert not any("moving" in variable.path for variable in model.variables) or norm != "gn"


def test_stages_are_frozen_and_nothing_else():
    config = KerasApplicationsConfig(name="MobileNetV3Small", norm="bn", freeze_at=3)
    model = config.build()
    by_stage = {}
    for layer in model.layers:
        if layer.weights:
            by_stage.setdefault(config.stage_of(layer.name), set()).add(layer.trainable)
    assert by_stage == {1: {False}, 2: {False}, 3: {False}, 4: {True}, 5: {True}}


def test_a_network_that_divides_by_four_at_once_has_its_first_layer_as_stem():
    config = KerasApplicationsConfig(name="ConvNeXtTiny")
    assert config.stage_of("convnext_tiny_stem") == 1
    assert config.stage_of("convnext_tiny_stage_0_block_0_depthwise_conv") == 2
    assert config.stage_of("convnext_tiny_downsampling_block_0") == 3
    assert config.stage_of("nothing") is None


@pytest.mark.parametrize(
    "name, mean",
    [
        ("ConvNeXtTiny", 123.675),
        ("ResNet50", 123.68),
        ("ResNet50V2", 127.5),
        ("EfficientNetV2S", 128.0),
        ("VGG16", 123.68),
    ],
)
def test_pixels_are_normalized_as_the_network_was_trained(name, mean):
    config = KerasApplicationsConfig(name=name)
    assert config.pixel_norm.mean[0] == mean and config.pixel_norm.bgr == (mean == 123.68)
    pixels = np.arange(48, dtype=np.float32).reshape(1, 4, 4, 3) * 5
    if name == "ResNet50":
        theirs = keras.applications.resnet.preprocess_input(pixels.copy())
        ours = (pixels - np.float32(config.pixel_norm.mean)) / np.float32(config.pixel_norm.std)
        np.testing.assert_allclose(ours[..., ::-1], theirs, atol=1e-4)
    if name == "ResNet50V2":
        theirs = keras.applications.resnet_v2.preprocess_input(pixels.copy())
        np.testing.assert_allclose((pixels - 127.5) / 127.5, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "name, what",
    [
        ("Xception", "expected feature maps of strides 4, 8, 16 and 32; its maps have the strides 1, 2.008"),
        ("resnet50", "has no 'resnet50'; it has .*ResNet50"),
        ("_x", "has no '_x'"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(name, what):
    with pytest.raises(ConfigError, match=what):
        KerasApplicationsConfig(name=name).channels  # noqa: B018
    with pytest.raises(ConfigError, match="norm: expected"):
        KerasApplicationsConfig(norm="none")


def test_a_config_is_plain_data():
    config = KerasApplicationsConfig(name="EfficientNetV2B0", freeze_at=2)
    assert BackboneConfig.from_dict(config.to_dict()) == config


@pytest.mark.slow
def test_a_step_trains_what_is_not_frozen_and_a_fresh_process_loads_it(tmp_path):
    model, changed, stages = after_a_step(KerasApplicationsConfig(name="MobileNetV3Small", norm="bn", freeze_at=3))
    assert not [path for path in changed if stages.get(path, 5) <= 3]
    kernels = {path for path, stage in stages.items() if stage in (4, 5) and path.endswith("kernel")}
    assert kernels and kernels <= changed
    loaded = check_fresh_process(model, tmp_path)
    np.testing.assert_array_equal(c5_of(loaded), c5_of(model))


@pytest.mark.slow
def test_a_large_network_is_loaded_within_the_limits_of_its_file(tmp_path):
    module._anatomy.cache_clear()
    config = dataclasses.replace(tiny_config(), backbone=KerasApplicationsConfig(name="ConvNeXtTiny"))
    model = MaskRCNN(config, ["thing", "other"])
    save_checkpoint(model, tmp_path / "model.safetensors")
    module._anatomy.cache_clear()
    again = load_model(tmp_path / "model.safetensors")
    first = named_variables(model)
    assert all(np.array_equal(v.numpy(), first[path].numpy()) for path, v in named_variables(again).items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras_applications", "function"])
def test_it_is_exported_as_a_saved_model(tmp_path, kind):
    """The export compares what the SavedModel finds with what `detect` finds before it writes."""
    backbone = (
        KerasApplicationsConfig(name="MobileNetV3Small")
        if kind == "keras_applications"
        else CallableConfig(backbone_functions.plain)
    )
    keras.utils.set_random_seed(0)
    model = MaskRCNN(dataclasses.replace(tiny_config(), backbone=backbone), ["thing", "other"])
    model.box_head.class_logits.bias.assign([0.0, 2.0, 0.0])
    lines = []
    path = export_saved_model(model, tmp_path / "served", images=noise_images(2), log=lines.append)
    assert (path / "saved_model.pb").is_file() and lines
