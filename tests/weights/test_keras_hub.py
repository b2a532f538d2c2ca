"""Weights of KerasHub's presets, from folders; skipped where it is not installed."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.modeling.backbones.keras_hub import KerasHubConfig
from mrcnn.weights import WeightsError, load_imagenet
from tests.modeling.test_keras_hub import NETWORKS


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub", reason='KerasHub is not installed: pip install "mrcnn-keras[keras-hub]"')


@pytest.mark.parametrize("name", ["DenseNetBackbone", "EfficientNetBackbone", "DINOV3Backbone"])
@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_a_preset_s_features_are_those_of_its_network(hub, tmp_path, rng, name, norm):
    arguments, side = NETWORKS[name]
    shape = {"image_shape": (side, side, 3)} if side else {}
    original = getattr(hub.models, name)(**arguments, **shape)
    for weight in original.weights:
        weight.assign(rng.uniform(0.1, 0.5, weight.shape))
    original.save_to_preset(str(tmp_path / "preset"))
    config = KerasHubConfig(preset=str(tmp_path / "preset"), side=side, norm=norm)
    backbone = config.build()
    report = load_imagenet(backbone, config)
    assert report.is_complete
    pixels = rng.normal(size=(1, 128, 128, 3)).astype(np.float32)
    outputs = [original.output] if side else list(original.pyramid_outputs.values())
    reference = keras.Model(original.input, outputs)
    expected = keras.tree.flatten(reference({"pixel_values": pixels} if side else pixels, training=False))
    ours = backbone(pixels, training=False)
    if side:
        theirs = np.asarray(expected[0])[:, 5:].reshape(1, 8, 8, 16)
        np.testing.assert_allclose(ours["c4"], theirs, rtol=1e-5, atol=1e-5)
        return
    for value in ours.values():
        matching = [np.asarray(other) for other in expected if other.shape == value.shape]
        scale = np.abs(value).max()
        assert any(np.allclose(value / scale, other / scale, atol=1e-6) for other in matching)


def test_a_preset_of_another_network_is_refused(hub, tmp_path):
    hub.models.DenseNetBackbone(**NETWORKS["DenseNetBackbone"][0]).save_to_preset(str(tmp_path / "dense"))
    config = KerasHubConfig.from_network(hub.models.ResNetBackbone(**NETWORKS["ResNetBackbone"][0]))
    backbone = config.build()
    with pytest.raises(WeightsError, match="expected a ResNetBackbone, it is a DenseNetBackbone"):
        load_imagenet(backbone, config, tmp_path / "dense")
    with pytest.raises(WeightsError, match="the config has no preset"):
        load_imagenet(backbone, config)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_imagenet(backbone, config, tmp_path / "none")
