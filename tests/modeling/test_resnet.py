from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.resnet import ResNetConfig, ResNetStage
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.normalize import NormalizePixels, PixelNorm
from tests.reference.golden import drawn

GOLDEN = Path(__file__).parents[1] / "assets" / "golden"
CAFFE = PixelNorm(mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0), bgr=True)


@pytest.mark.parametrize(
    "tag, config, neck",
    [
        ("bn", ResNetConfig(stride_in_1x1=True, pixel_norm=CAFFE), FPNConfig()),
        ("gn", ResNetConfig(norm="gn", pixel_norm=CAFFE), FPNConfig(norm="gn")),
    ],
)
def test_features_equal_detectron2(tag: str, config: ResNetConfig, neck: FPNConfig) -> None:
    """Pixels, ResNet-50 and pyramid with drawn weights: relative error at most 1e-4 at every tap."""
    golden = np.load(GOLDEN / "r50_fpn_features.npz")
    backbone, fpn = config.build(), neck.build(config.channels, config.strides)
    for weight in backbone.weights + fpn.weights:
        parts = weight.path.removeprefix("fpn/").split("/")
        weight.assign(drawn(parts[0], parts[-1], tuple(weight.shape)))
    image = cv2.imread(str(GOLDEN / "000000491525_resized_320x427.png"))[..., ::-1]
    padded = np.full((1, 320, 448, 3), 77, np.uint8)
    padded[0, :320, :427] = image
    pixels = NormalizePixels(config.pixel_norm)(padded, np.array([[0, 0, 320, 427]], np.int32))
    taps = {"input": pixels, **fpn(backbone(pixels))}
    assert set(taps) == {key.split("/")[1] for key in golden.files if key.startswith(tag)}
    for name, tap in taps.items():
        ours = np.asarray(tap).transpose(0, 3, 1, 2)
        assert ours.shape == tuple(golden[f"{tag}/{name}/shape"])
        ours, theirs = ours.ravel()[golden[f"{tag}/{name}/index"]], golden[f"{tag}/{name}/value"]
        assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(theirs), name


@pytest.mark.parametrize("depth, count", [(50, 23_508_032), (101, 42_500_160), (152, 58_143_808)])
def test_parameter_counts(depth: int, count: int) -> None:
    """Published counts (25.557, 44.549, 60.193 million) less the classifier's 2,049,000; moving statistics aside."""
    backbone = ResNetConfig(depth=depth, norm="bn", freeze_at=0).build()
    assert sum(int(np.prod(w.shape)) for w in backbone.trainable_weights) == count


@pytest.mark.parametrize("height, width", [(64, 96), (33, 65), (1, 1)])
def test_shapes_and_strides(height: int, width: int) -> None:
    config = ResNetConfig()
    features = config.build()(np.zeros((1, height, width, 3), np.float32))
    assert list(features) == ["c2", "c3", "c4", "c5"]
    for level, feature in features.items():
        stride = config.strides[level]
        assert feature.shape == (1, -(-height // stride), -(-width // stride), config.channels[level])


@pytest.mark.parametrize("norm", ["frozen_bn", "bn"])
def test_freezing(norm: str) -> None:
    backbone = ResNetConfig(norm=norm, freeze_at=3).build()
    stages = {w.path.split("_")[0] for w in backbone.trainable_weights}
    assert stages == {"stage4", "stage5"}
    assert any("gamma" in w.path for w in backbone.trainable_weights) == (norm == "bn")
    assert len({w.path for w in backbone.weights}) == len(backbone.weights)


@pytest.mark.parametrize(
    "groups, width_per_group, depth, count",
    [(32, 4, 50, 22_979_904), (64, 4, 101, 81_406_272), (32, 8, 101, 86_742_336)],
)
def test_parameter_counts_of_resnext(groups: int, width_per_group: int, depth: int, count: int) -> None:
    """Published counts (25,028,904; 83,455,272; 88,791,336) less the classifier's 2,049,000.

    Only stage 2 is built; the rest is counted by the same formula, which is checked on it.
    """
    total = 9408 + 128
    for stage, blocks in zip((2, 3, 4, 5), {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth], strict=True):
        width, out = groups * width_per_group * 2 ** (stage - 2), 64 * 2**stage
        block = 9 * width * width // groups + width * out + 2 * (2 * width + out)
        inputs = 64 if stage == 2 else out // 2
        own = blocks * block + (inputs + (blocks - 1) * out) * width + inputs * out + 2 * out
        total += own
        if stage == 2:
            x = keras.Input((8, 8, 64))
            config = {"groups": groups, "width_per_group": width_per_group, "norm": "bn"}
            built = keras.Model(x, ResNetStage(2, blocks, 1, **config)(x, ""))
            assert sum(int(np.prod(w.shape)) for w in built.trainable_weights) == own
    assert total == count


def test_last_stage_4_is_the_same_network_without_stage_5() -> None:
    config = ResNetConfig(last_stage=4)
    assert config.channels == {"c2": 256, "c3": 512, "c4": 1024} and config.strides == {"c2": 4, "c3": 8, "c4": 16}
    backbone = config.build()
    assert list(backbone.output) == ["c2", "c3", "c4"]
    assert {w.path.split("_")[0] for w in backbone.weights} == {"stem", "stage2", "stage3", "stage4"}


def test_dilated_stage_5_sees_as_far_on_a_finer_grid() -> None:
    """Every second cell of the dilated map is the plain map's: the plain one never looks at the cells between.

    That holds for the first block, with the stride in the 1x1; its 3x3 skips what the stride would have dropped.
    """
    rng = np.random.default_rng(0)
    x = keras.Input((None, None, 6))
    plain = keras.Model(x, ResNetStage(3, 1, 2, stride_in_1x1=True)(x, "plain_"))
    dilated = keras.Model(x, ResNetStage(3, 1, 1, dilation=2, stride_in_1x1=True)(x, "dilated_"))
    for one, other in zip(plain.weights, dilated.weights, strict=True):
        one.assign(rng.uniform(0.1, 1.0, one.shape))
        other.assign(one.numpy())
    image = rng.normal(size=(1, 9, 8, 6)).astype(np.float32)
    np.testing.assert_allclose(dilated(image)[:, ::2, ::2], plain(image), rtol=1e-4, atol=1e-4)


def test_dilated_c5_has_the_stride_of_c4() -> None:
    config = ResNetConfig(dilate_c5=True)
    assert config.strides == {"c2": 4, "c3": 8, "c4": 16, "c5": 16} and config.channels["c5"] == 2048
    backbone = config.build()
    units = {layer.name: layer for layer in backbone.layers if layer.weights}
    assert [units[f"stage5_block{i}_conv2"].dilation for i in (1, 2, 3)] == [2, 2, 2]
    assert {units[n].stride for n in units if n.startswith("stage5")} == {1}
    assert units["stage4_block1_conv2"].dilation == 1
    features = backbone(np.zeros((1, 33, 65, 3), np.float32))
    assert features["c5"].shape == (1, 3, 5, 2048) and features["c4"].shape == (1, 3, 5, 1024)


@pytest.mark.parametrize("stem_pool, before", [("symmetric", 1), ("same", 0)])
def test_what_the_stem_s_pooling_sees(stem_pool: str, before: int) -> None:
    """24 pixels give 12 cells, an even side, to 3x3 windows of stride 2."""
    backbone = ResNetConfig(last_stage=4, stem_pool=stem_pool).build()
    stem = keras.Model(
        backbone.input, [backbone.get_layer("stem_conv1").output, backbone.get_layer("stem_pool").output]
    )
    conv, pooled = stem(np.random.default_rng(0).normal(size=(1, 24, 24, 3)).astype(np.float32))
    padded = np.pad(conv, ((0, 0), (before, 2), (before, 2), (0, 0)))
    for y in range(6):
        for x in range(6):
            window = padded[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            np.testing.assert_array_equal(pooled[:, y, x], window.max((1, 2)))


def test_a_non_local_block_stands_before_the_last_of_stage_4() -> None:
    """Ref: Non-local Neural Networks, section 5.3. New, it changes nothing; it is frozen with its stage."""
    config = ResNetConfig(last_stage=4, width_per_group=4, non_local=NonLocalConfig())
    backbone = config.build()
    names = [layer.name for layer in backbone.layers]
    place = names.index("stage4_non_local")
    assert names[place - 1] == "stage4_block5_out" and names[place + 1].startswith("stage4_block6_")
    assert not any("non_local" in name for name in names[place + 1 :])
    block = backbone.layers[place]
    assert block.theta.kernel.shape == (1, 1, 1024, 512)
    assert {v.path.rsplit("/", 2)[-2:][1] for v in block.trainable_variables} == {"kernel", "bias", "gamma", "beta"}
    assert [config.stage_of(block.name), block.trainable] == [4, True]
    image = np.random.default_rng(0).normal(size=(1, 33, 65, 3)).astype(np.float32)
    before = backbone(image)["c4"].numpy()
    without = keras.Model(backbone.input, backbone.get_layer("stage4_block5_out").output)(image)
    np.testing.assert_array_equal(block(without), without)
    block.out.norm.gamma.assign(np.ones(1024))
    assert not np.allclose(backbone(image)["c4"], before)


def test_config_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="dilate_c5: there is no stage 5"):
        ResNetConfig(last_stage=4, dilate_c5=True)
    with pytest.raises(ConfigError, match="groups and width_per_group"):
        ResNetConfig(groups=0)
    with pytest.raises(ConfigError, match=r"last_stage: expected one of 4, 5"):
        ResNetConfig.from_dict({"last_stage": 3})


def test_kernels_of_equal_shape_start_different() -> None:
    backbone = ResNetConfig().build()
    kernels = [
        w.numpy() for w in backbone.weights if w.path in ("stage2_block1_conv2/kernel", "stage2_block2_conv2/kernel")
    ]
    assert len(kernels) == 2 and not np.array_equal(*kernels)
