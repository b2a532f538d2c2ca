from __future__ import annotations

import numpy as np
import pytest

from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig


def test_lite0_is_the_published_network() -> None:
    config = EfficientNetLiteConfig()
    assert config.channels == {"c2": 24, "c3": 40, "c4": 112, "c5": 320}
    assert config.strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
    assert [b.channels for b in config.blocks] == [
        16,
        24,
        24,
        40,
        40,
        80,
        80,
        80,
        112,
        112,
        112,
        192,
        192,
        192,
        192,
        320,
    ]
    assert config.pixel_norm.mean == (127.0,) * 3 and config.pixel_norm.std == (128.0,) * 3
    backbone = EfficientNetLiteConfig(norm="bn").build()
    assert sum(weight.path.endswith("/kernel") for weight in backbone.weights) == 48
    # 4.652 million published, less head (320 * 1280 kernel + 2 * 1280 norm) and classifier (1281 * 1000)
    assert sum(int(np.prod(w.shape)) for w in backbone.trainable_weights) == 4_652_008 - 412_160 - 1_281_000


@pytest.mark.parametrize(
    "variant, blocks, channels, millions",
    [
        ("lite1", 21, (24, 40, 112, 320), 5.42),
        ("lite2", 21, (24, 48, 120, 352), 6.09),
        ("lite3", 24, (32, 48, 136, 384), 8.20),
        ("lite4", 30, (32, 56, 160, 448), 13.01),
    ],
)
def test_variants_scale(variant: str, blocks: int, channels: tuple[int, ...], millions: float) -> None:
    """Published sizes, with head and classifier added back."""
    config = EfficientNetLiteConfig(variant=variant, norm="bn")
    assert len(config.blocks) == blocks and tuple(config.channels.values()) == channels
    count = sum(int(np.prod(w.shape)) for w in config.build().trainable_weights)
    assert (count + channels[-1] * 1280 + 2 * 1280 + 1_281_000) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("height, width", [(64, 96), (33, 65), (1, 1)])
def test_shapes_and_strides(height: int, width: int) -> None:
    config = EfficientNetLiteConfig()
    features = config.build()(np.zeros((1, height, width, 3), np.float32))
    for level, feature in features.items():
        stride = config.strides[level]
        assert feature.shape == (1, -(-height // stride), -(-width // stride), config.channels[level])


def test_freezing_takes_the_first_block_with_the_stem() -> None:
    backbone = EfficientNetLiteConfig(freeze_at=2).build()
    assert {w.path.split("_")[0] for w in backbone.trainable_weights} == {"stage3", "stage4", "stage5"}
    assert all(w.path.endswith("/kernel") for w in backbone.trainable_weights)
