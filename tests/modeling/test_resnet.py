from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.fpn import FPNConfig
from mrcnn.modeling.normalize import NormalizePixels, PixelNorm
from tests.reference.golden import drawn

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
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
    picture = cv2.imread(str(GOLDEN / "000000491525_resized_320x427.png"))[..., ::-1]
    padded = np.full((1, 320, 448, 3), 77, np.uint8)
    padded[0, :320, :427] = picture
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


def test_kernels_of_equal_shape_start_different() -> None:
    backbone = ResNetConfig().build()
    kernels = [
        w.numpy() for w in backbone.weights if w.path in ("stage2_block1_conv2/kernel", "stage2_block2_conv2/kernel")
    ]
    assert len(kernels) == 2 and not np.array_equal(*kernels)


def test_settings_round_trip() -> None:
    config = ResNetConfig(depth=101, norm="gn", stride_in_1x1=True, pixel_norm=CAFFE)
    assert BackboneConfig.from_dict(config.to_dict()) == config
