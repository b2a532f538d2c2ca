from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.backbones.base import BackboneConfig
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
    backbone = EfficientNetLiteConfig(norm="bn").build()
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


def test_every_kernel_gets_a_gradient_eager_and_in_a_graph() -> None:
    backbone = EfficientNetLiteConfig().build()
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype(np.float32))

    def gradients(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_sum(tf.square(f)) for f in backbone(x).values()])
        return tape.gradient(loss, [w.value for w in backbone.trainable_weights])

    eager, graph = gradients(x), tf.function(gradients)(x)
    assert len(eager) == 48
    for one, other in zip(eager, graph, strict=True):
        assert np.isfinite(one).all() and np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, atol=1e-4 * float(np.abs(one).max()))


def test_config_round_trip() -> None:
    config = EfficientNetLiteConfig(variant="lite2", norm="bn", freeze_at=1)
    assert BackboneConfig.from_dict(config.to_dict()) == config
    assert config.pixel_norm.mean == (127.0,) * 3 and config.pixel_norm.std == (128.0,) * 3
