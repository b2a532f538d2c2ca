"""Networks of KerasHub; the tests are skipped where it is not installed: pip install "mrcnn-keras[keras-hub]"."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.export.saved_model import export_saved_model
from mrcnn.modeling.backbones import graph
from mrcnn.modeling.backbones import keras_hub as module
from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.preprocessing import InputConfig
from tests.modeling.backbone_model import after_a_step, check_fresh_process
from tests.tiny_model import noise_images, tiny_config

STAGES = {"stackwise_num_filters": [64, 64, 64, 64], "stackwise_num_blocks": [1] * 4}
NETWORKS = {  # the smallest of each kind: class, arguments, side
    "ResNetBackbone": (
        {
            "input_conv_filters": [64],
            "input_conv_kernel_sizes": [7],
            "stackwise_num_strides": [1, 2, 2, 2],
            "block_type": "basic_block",
            **STAGES,
        },
        0,
    ),
    "CSPNetBackbone": (
        {
            "stem_filters": 8,
            "stem_kernel_size": 3,
            "stem_strides": 2,
            "stackwise_depth": [1] * 4,
            "stackwise_strides": [2] * 4,
            "stackwise_num_filters": [8, 8, 16, 16],
            "block_type": "dark_block",
            "stage_type": "csp",
            "bottle_ratio": [0.5],
            "block_ratio": [1.0],
            "expand_ratio": [2.0],
        },
        0,
    ),
    "DenseNetBackbone": ({"stackwise_num_repeats": [1] * 4, "growth_rate": 8}, 0),
    "EfficientNetBackbone": (
        {
            "stackwise_width_coefficients": [1.0] * 5,
            "stackwise_depth_coefficients": [1.0] * 5,
            "stackwise_kernel_sizes": [3] * 5,
            "stackwise_num_repeats": [1] * 5,
            "stackwise_input_filters": [8, 8, 8, 16, 16],
            "stackwise_output_filters": [8, 8, 16, 16, 16],
            "stackwise_expansion_ratios": [1, 2, 2, 2, 2],
            "stackwise_squeeze_and_excite_ratios": [0.25] * 5,
            "stackwise_strides": [1, 2, 2, 2, 2],
            "stackwise_block_types": ["v1"] * 5,
            "stackwise_force_input_filters": [0] * 5,
            "stackwise_nores_option": [False] * 5,
        },
        0,
    ),
    "MiTBackbone": (
        {
            "layerwise_depths": [1] * 4,
            "num_layers": 4,
            "layerwise_num_heads": [1] * 4,
            "layerwise_sr_ratios": [8, 4, 2, 1],
            "max_drop_path_rate": 0.0,
            "layerwise_patch_sizes": [7, 3, 3, 3],
            "layerwise_strides": [4, 2, 2, 2],
            "hidden_dims": [8, 8, 16, 16],
        },
        128,
    ),
    "DINOV2Backbone": (
        {
            "patch_size": 14,
            "num_layers": 2,
            "hidden_dim": 16,
            "num_heads": 2,
            "intermediate_dim": 32,
            "position_embedding_shape": [70, 70, 3],
        },
        128,
    ),
    "DINOV3Backbone": (
        {"patch_size": 16, "num_layers": 2, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32},
        128,
    ),
}
EACH = [pytest.param(name, marks=pytest.mark.slow) if name == "MiTBackbone" else name for name in NETWORKS]


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason='KerasHub is not installed: pip install "mrcnn-keras[keras-hub]"')


def config_of(name, **fields):
    arguments, side = NETWORKS[name]
    network = json.dumps({"class": name, "config": arguments}, sort_keys=True)
    return KerasHubConfig(network=network, **{"side": side, **fields})


def test_every_network_with_a_pyramid_is_known(hub):
    base = hub.models.FeaturePyramidBackbone
    classes = {n for n, v in vars(hub.models).items() if isinstance(v, type) and issubclass(v, base) and v is not base}
    assert classes == set(NETWORKS) | {"RetinaNetBackbone"}, "RetinaNet's begins at stride 8"


@pytest.mark.parametrize("name", EACH)
def test_features_are_those_of_the_network_itself(hub, name, rng):
    keras.utils.set_random_seed(0)
    config = config_of(name)
    backbone = config.build()
    maps = config._maps()
    names = graph.stable_names(maps)
    ours = {layer.name: layer for layer in backbone.layers}
    for layer in maps.layers:
        if layer.weights:
            values = [rng.uniform(0.2, 0.6, weight.shape).astype(np.float32) for weight in layer.weights]
            layer.set_weights(values)
            ours[names[layer.name]].set_weights(values)
    side = maps.input.shape[1]
    image = rng.normal(size=(1, 128 if side else 64, 128 if side else 96, 3)).astype(np.float32)
    given = image if side in (None, 128) else keras.layers.Resizing(side, side)(image)
    expected = maps(given, training=False)
    for level, value in backbone(image, training=False).items():
        stride = 2 ** int(level[1:])
        reference = np.asarray(expected[level])
        assert value.shape == (1, image.shape[1] // stride, image.shape[2] // stride, config.channels[level])
        scale = np.abs(reference).max()
        np.testing.assert_allclose(value / scale, reference / scale, atol=1e-6)


def test_a_pyramid_of_one_map_is_of_the_last_tokens(hub, rng):
    config = config_of("DINOV3Backbone")
    network, backbone = config.hub_network(), config.build()
    for layer in network.layers:
        if layer.weights:
            backbone.get_layer(layer.name).set_weights(layer.get_weights())
    image = rng.normal(size=(1, 128, 128, 3)).astype(np.float32)
    tokens = np.asarray(network({"pixel_values": image}))  # class token, four registers, 8 x 8
    features = backbone(image)
    np.testing.assert_allclose(features["c4"], tokens[:, 5:].reshape(1, 8, 8, 16), atol=1e-6)
    np.testing.assert_array_equal(features["c5"][0, 1, 2], np.asarray(features["c4"])[0, 2:4, 4:6].max((0, 1)))


@pytest.mark.slow
def test_images_up_to_the_fixed_size_are_padded_and_larger_ones_refused(hub, rng):
    backbone = config_of("MiTBackbone").build()
    image = rng.normal(size=(1, 96, 64, 3)).astype(np.float32)
    padded = np.pad(image, [(0, 0), (0, 32), (0, 64), (0, 0)])
    for level, value in backbone(image).items():
        height, width = value.shape[1:3]
        assert (height, width) == (96 // 2 ** int(level[1]), 64 // 2 ** int(level[1]))
        np.testing.assert_allclose(value, np.asarray(backbone(padded)[level])[:, :height, :width], atol=1e-5)
    with pytest.raises(InputError, match="at most 128 pixels a side"):
        backbone(np.zeros((1, 160, 64, 3), np.float32))


@pytest.mark.parametrize("name", EACH)
def test_stages(hub, name):
    config = config_of(name, norm="bn", freeze_at=1)
    trains = {}
    for layer in config.build().layers:
        if layer.weights:
            trains.setdefault(config.stage_of(layer.name), set()).add(layer.trainable)
    if name.startswith("DINO"):
        assert trains == {1: {False}, 2: {True}, 5: {True}}
    else:
        assert trains == {1: {False}, **{stage: {True} for stage in (2, 3, 4, 5)}}


@pytest.mark.parametrize("converter", ["image_converter.json", "preprocessor.json", None])
def test_a_folder_is_read_without_a_download(hub, tmp_path, converter):
    arguments, _ = NETWORKS["ResNetBackbone"]
    hub.models.ResNetBackbone(**arguments).save_to_preset(str(tmp_path / "mine"))
    pixels = {"class_name": "ImageConverter", "config": {"scale": [0.5, 0.25, 0.125], "offset": [-1.0, -1.0, 0.0]}}
    if converter:
        inside = pixels if converter.startswith("image") else {"config": {"image_converter": pixels}}
        (tmp_path / "mine" / converter).write_text(json.dumps(inside))
    config = KerasHubConfig(preset=str(tmp_path / "mine"))
    assert config.title == "mine" and list(config.channels.values()) == [64, 64, 64, 64]
    if converter:
        assert config.pixel_norm.mean == (2.0, 4.0, 0.0) and config.pixel_norm.std == (2.0, 4.0, 8.0)
    assert BackboneConfig.from_dict(config.to_dict()) == config
    assert KerasHubConfig.from_network(hub.models.ResNetBackbone(**arguments)).network == config.network


@pytest.mark.parametrize(
    "fields, what",
    [
        (
            {"preset": "resnet_51_imagenet"},
            "neither a preset .* nor a folder; nearest of .*resnet_50_imagenet",
        ),
        ({"preset": "bert_base_en"}, "'bert_base_en' is of a network without a feature pyramid; nearest"),
        ({"preset": ""}, "neither a preset"),
        ({"network": '{"class": "BertBackbone", "config": {}}'}, "expected a network with a feature pyramid"),
        ({"network": '{"class": "os", "config": {}}'}, "expected a network with a feature pyramid"),
        (
            {"network": '{"class": "RetinaNetBackbone", "config": {"image_encoder": {"class_name": "x"}}}'},
            "expected plain arguments",
        ),
        ({"side": 100, "network": "{}"}, "side: expected a multiple of 32, got 100"),
        ({"norm": "none", "network": "{}"}, "norm: expected"),
    ],
)
def test_what_is_no_backbone_is_refused_in_one_sentence(hub, fields, what):
    with pytest.raises(ConfigError, match=what) as error:
        KerasHubConfig(**fields).build()
    assert "\n" not in str(error.value)


def test_networks_of_one_size_say_so(hub):
    for name in ("MiTBackbone", "DINOV2Backbone"):
        with pytest.raises(ConfigError, match=f"side: KerasHub's {name} takes square images of one size only"):
            config_of(name, side=0).build()


def test_strides_are_listed_where_one_is_missing(hub):
    arguments = {"stackwise_num_repeats": [1] * 3, "growth_rate": 8}
    network = json.dumps({"class": "DenseNetBackbone", "config": arguments})
    with pytest.raises(ConfigError, match=r"DenseNetBackbone: expected .* its maps have the strides 4, 8, 16$"):
        KerasHubConfig(network=network).channels  # noqa: B018


def test_a_folder_of_another_kind_is_refused(hub, tmp_path):
    (tmp_path / "config.json").write_text('{"class_name": "BertBackbone", "config": {}}')
    with pytest.raises(ConfigError, match="expected a network with a feature pyramid"):
        KerasHubConfig(preset=str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ConfigError, match=r"config\.json: not JSON"):
        KerasHubConfig(preset=str(tmp_path))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config\.json: No such file"):
        KerasHubConfig(preset=str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name, freeze_at", [("DenseNetBackbone", 3), ("MiTBackbone", 3), ("DINOV2Backbone", 2)])
def test_a_step_trains_what_is_not_frozen_and_a_fresh_process_loads_it(hub, tmp_path, name, freeze_at):
    model, changed, stages = after_a_step(config_of(name, norm="bn", freeze_at=freeze_at))
    assert not [path for path in changed if stages.get(path, 9) <= freeze_at]
    kernels = {path for path, stage in stages.items() if stage > freeze_at and path.endswith("kernel")}
    assert kernels and kernels <= changed
    check_fresh_process(model, tmp_path)


def test_what_was_looked_at_is_remembered(hub):
    config_of("DenseNetBackbone").channels  # noqa: B018
    hits = module._anatomy.cache_info().hits
    config_of("DenseNetBackbone").stage_of("conv1")
    assert module._anatomy.cache_info().hits == hits + 1


@pytest.mark.slow
def test_it_is_exported_as_a_saved_model(hub, tmp_path):
    """The export compares what the SavedModel finds with what `detect` finds before it writes; sides up to 128 here."""
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(
        tiny_config(), backbone=config_of("MiTBackbone"), input=InputConfig(short_side=96, long_side=128)
    )
    model = MaskRCNN(config, ["thing", "other"])
    model.box_head.class_logits.bias.assign([0.0, 2.0, 0.0])
    path = export_saved_model(model, tmp_path / "served", images=noise_images(2))
    assert (path / "saved_model.pb").is_file()
