from __future__ import annotations

import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.necks.base import check_levels
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig

CHANNELS = {"c2": 4, "c3": 6, "c4": 8, "c5": 8}
STRIDES = {"c2": 4, "c3": 8, "c4": 16, "c5": 32}


def test_maps_are_handed_on_as_they_are() -> None:
    neck = PassThroughConfig().build(CHANNELS, STRIDES)
    features = {level: np.full((1, 32 // s, 64 // s, c), s, np.float32) for (level, s), c in zip(
        {"c2": 4, "c3": 8, "c4": 16}.items(), (4, 6, 8), strict=True
    )}  # fmt: skip
    levels = neck(features, training=True)
    assert list(levels) == ["c4"] and neck.strides == {"c4": 16} and neck.channels == 8 and not neck.weights
    np.testing.assert_array_equal(levels["c4"], features["c4"])
    shapes = {level: (1, None, None, c) for level, c in CHANNELS.items()}
    assert neck.compute_output_shape(shapes) == {"c4": (1, None, None, 8)}


def test_several_levels_of_equal_channels() -> None:
    neck = PassThroughConfig(("c4", "c5")).build(CHANNELS, {**STRIDES, "c5": 16})
    assert neck.strides == {"c4": 16, "c5": 16} and neck.channels == 8


@pytest.mark.parametrize(
    "levels, message",
    [
        (("c4", "p6"), r"neck\.levels and backbone: p6; the backbone has c2, c3, c4, c5"),
        ((), r"neck\.levels and backbone: empty"),
        (("c3", "c4"), r"equal channels, got c3 6, c4 8"),
    ],
)
def test_levels_that_do_not_fit(levels: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PassThroughConfig(levels).build(CHANNELS, STRIDES)


def test_a_pyramid_refuses_maps_that_it_cannot_add() -> None:
    small = ResNetConfig(last_stage=4)
    with pytest.raises(ConfigError, match=r"neck and backbone: c5; the backbone has c2, c3, c4"):
        FPNConfig().build(small.channels, small.strides)
    with pytest.raises(ConfigError, match=r"at the stride of the one before or at twice it, got .*c4 16, c5 64"):
        FPNConfig().build(CHANNELS, {"c2": 4, "c3": 8, "c4": 16, "c5": 64})


def test_a_pyramid_over_two_maps_of_one_stride() -> None:
    dilated = ResNetConfig(dilate_c5=True)
    neck = FPNConfig(channels=4).build(dilated.channels, dilated.strides)
    assert neck.strides == {"p2": 4, "p3": 8, "p4": 16, "p5": 16, "p6": 32}


def test_levels_are_those_of_the_backbone() -> None:
    check_levels(("c4", "c2"), CHANNELS, "field")
    with pytest.raises(ConfigError, match=r"^field and backbone: c9, p2; the backbone has c2, c3, c4, c5$"):
        check_levels(("c4", "c9", "p2"), CHANNELS, "field")
    with pytest.raises(ConfigError, match=r"^field and backbone: c4; the backbone has no map$"):
        check_levels(("c4",), {}, "field")
