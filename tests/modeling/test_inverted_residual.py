from __future__ import annotations

from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.inverted_residual import conv_unit, round_channels


def test_channels_are_multiples_never_ten_percent_below() -> None:
    for channels in [*range(1, 400), 17.6, 91.2]:
        rounded = round_channels(channels)
        assert rounded % 8 == 0 and rounded >= 8
        assert 0.9 * channels <= rounded <= max(8, channels + 8)


def test_a_unit_without_filters_is_depthwise() -> None:
    config = EfficientNetLiteConfig(norm="bn", epsilon=1e-3)
    depthwise = conv_unit(config, None, 3, 2, "depthwise", "relu6", padding="same")
    depthwise.build((None, None, None, 6))
    assert depthwise.depthwise and depthwise.kernel.shape[:2] == (3, 3) and depthwise.padding == "same"
    unit = conv_unit(config, 4, 1, 1, "project", None)
    unit.build((None, None, None, 6))
    assert not unit.depthwise and unit.kernel.shape == (1, 1, 6, 4) and unit.norm_kind == "bn"
