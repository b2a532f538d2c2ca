from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.roi_stage import Res5Config


@pytest.fixture(scope="module")
def whole() -> keras.Model:
    """A ResNet-50 with its stage 5, and norms that do something."""
    backbone = ResNetConfig(stride_in_1x1=True).build()
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        if "norm" in weight.path:
            weight.assign(rng.uniform(0.5, 1.0, weight.shape))
    return backbone


def test_it_is_stage_5_of_the_backbone(whole: keras.Model) -> None:
    config = Res5Config(stride_in_1x1=True)
    stage = config.build(1024, "roi_stage")
    theirs = {w.path.removeprefix("stage5_"): w for w in whole.weights if w.path.startswith("stage5_")}
    assert [w.path for w in stage.weights] == list(theirs)
    for weight in stage.weights:
        weight.assign(theirs[weight.path].numpy())
    features = whole(np.random.default_rng(1).normal(size=(2, 224, 192, 3)).astype(np.float32))
    assert features["c4"].shape == (2, 14, 12, 1024)
    c5 = stage(features["c4"])
    assert c5.shape == (2, 7, 6, config.out_channels) and config.stride == 2
    np.testing.assert_array_equal(c5, features["c5"])


def test_names_shapes_and_what_trains() -> None:
    stage = Res5Config().build(1024, "roi_stage")
    names = [w.path for w in stage.weights]
    assert len(names) == 10 * 5 and len(stage.trainable_weights) == 10  # three blocks of three and a shortcut
    assert {"block1_shortcut/kernel", "block1_conv1/norm/gamma", "block3_conv3/norm/moving_variance"} <= set(names)
    assert stage.compute_output_shape((None, 14, 14, 1024)) == (None, 7, 7, 2048)


def test_groups_and_group_norm() -> None:
    stage = Res5Config(norm="gn", groups=32, width_per_group=4).build(16)
    shapes = {w.path: tuple(w.shape) for w in stage.weights}
    assert shapes["block1_conv1/kernel"] == (1, 1, 16, 1024) and shapes["block1_conv2/kernel"] == (3, 3, 32, 1024)
    assert "block1_conv1/norm/moving_mean" not in shapes
