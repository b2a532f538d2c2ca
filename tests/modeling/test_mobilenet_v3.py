"""MobileNetV3-Large; that it computes what torchvision's does is shown by tests/golden."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.backbones.mobilenet_v3 import BLOCKS, MobileNetV3Config, squeezed
from mrcnn.modeling.layers import ConvNorm


@pytest.mark.parametrize("maps", ["strides", "last_two"])
def test_maps_have_the_channels_and_strides_of_the_config(maps) -> None:
    config = MobileNetV3Config(maps=maps)
    features = config.build()(np.zeros((1, 64, 96, 3), np.float32))
    assert list(features) == list(config.channels)
    for level, value in features.items():
        stride = config.strides[level]
        assert value.shape == (1, 64 // stride, 96 // stride, config.channels[level])


def test_number_of_weights_is_torchvisions() -> None:
    """5,483,032 less those of the classifier, two dense layers of 1280 and 1000."""
    model = MobileNetV3Config().build()
    trained = [w for w in model.weights if not w.path.endswith(("moving_mean", "moving_variance"))]
    assert sum(int(np.prod(w.shape)) for w in trained) == 5_483_032 - 960 * 1280 - 1280 - 1280 * 1000 - 1000


def test_a_quarter_of_the_channels_is_squeezed() -> None:
    """The numbers of torchvision's state dict."""
    assert [squeezed(block) for block in BLOCKS if block.squeezes] == [24, 32, 32, 120, 168, 168, 240, 240]


def test_stages_freeze_as_torchvision_freezes_them() -> None:
    """Its default trains the last three of six, from the first block of stride 16 on."""
    model = MobileNetV3Config(freeze_at=3).build()
    frozen = {layer.name.split("_")[0] for layer in model.layers if layer.weights and not layer.trainable}
    assert frozen == {"stem", "stage2", "stage3"}
    assert model.get_layer("stage4_block1_expand").trainable


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("hard_sigmoid", [0, 0, 0.25, 0.5, 1, 1]), ("hard_swish", [0, 0, -0.375, 0, 3, 5])],
)
def test_activations_by_hand(activation: str, expected: list[float]) -> None:
    layer = ConvNorm(1, activation=activation)
    layer.build((None, None, None, 1))
    layer.kernel.assign(np.ones((1, 1, 1, 1)))
    x = np.array([-5, -3, -1.5, 0, 3, 5], np.float32).reshape(1, 1, 6, 1)
    np.testing.assert_allclose(layer(x)[0, 0, :, 0], expected, atol=1e-6)
