"""MViTv2: its blocks as published, maps of any size, config; that it freezes, trains, saves and exports."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.export.served_check import pixel_inputs
from mrcnn.modeling.backbones.mvit import HalveMap, MViTConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from tests.modeling.backbone_model import after_a_step, check_fresh_process
from tests.tiny_model import noise_images, tiny_config

SMALL = MViTConfig(depths=(1, 2, 2, 1), width=4, num_heads=1, window=8, grid=8, mlp_ratio=2)


def model_of() -> MaskRCNN:
    keras.utils.set_random_seed(0)
    return MaskRCNN(dataclasses.replace(tiny_config(), backbone=SMALL), ["thing", "other"])


def test_strides_windows_and_grids_of_the_published_network():
    """Ref: detectron2, MViT with last_block_indexes (0, 2, 7, 9), embed_dim 96 and images of 224."""
    config = MViTConfig()
    layers = [
        config.attention(stage, block, "a") for stage, depth in enumerate(config.depths) for block in range(depth)
    ]
    assert [layer.q_stride for layer in layers] == [1, 2, 1, 2, 1, 1, 1, 1, 2, 1]
    assert [layer.kv_stride for layer in layers] == [4, 2, 4, 1, 1, 1, 1, 2, 1, 1]
    assert [layer.window for layer in layers] == [56, 56, 0, 28, 14, 14, 14, 0, 14, 0]
    assert [2 * layer.grid - 1 for layer in layers] == [111, 55, 55, 55, 27, 27, 27, 27, 27, 13]
    assert [layer.num_heads for layer in layers] == [1, 2, 2, 4, 4, 4, 4, 4, 8, 8]


@pytest.mark.parametrize("size", [(64, 96), (45, 33)])
def test_maps_of_any_size(rng, size):
    features = SMALL.build()(rng.normal(0, 1, (1, *size, 3)).astype(np.float32))
    for level, channels in SMALL.channels.items():
        stride = SMALL.strides[level]
        assert features[level].shape == (1, *(-(-side // stride) for side in size), channels)
        assert np.isfinite(features[level]).all()


def test_a_map_is_halved_around_every_second_cell():
    x = -np.arange(15, dtype=np.float32).reshape(1, 3, 5, 1)
    assert np.asarray(HalveMap()(x))[0, :, :, 0].tolist() == [[0, -1, -3], [-5, -6, -8]]


def test_stages_freeze():
    model = dataclasses.replace(SMALL, freeze_at=3).build()
    assert {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights} == {"stage4", "stage5"}


def test_titles_and_channels():
    assert (MViTConfig().title, SMALL.title) == ("MViTv2 T", "MViTv2 (1, 2, 2, 1) 4 1")
    assert MViTConfig().channels == {"c2": 96, "c3": 192, "c4": 384, "c5": 768}


@pytest.mark.slow
def test_a_step_changes_what_is_not_frozen():
    _, changed, stages = after_a_step(dataclasses.replace(SMALL, freeze_at=3))
    moved = {path for path, stage in stages.items() if stage > 3}
    assert {path for path in stages if path in changed} == moved


@pytest.mark.slow
def test_fresh_process_computes_the_same(tmp_path):
    check_fresh_process(model_of(), tmp_path)


@pytest.mark.slow
def test_saved_model_computes_the_same(tmp_path):
    """With operations of TensorFlow alone, which the export sees to."""
    model, images = model_of(), noise_images(2)
    path = mrcnn.export_saved_model(model, tmp_path / "saved")
    signatures = tf.saved_model.load(str(path)).signatures
    served = signatures["serving_default"](**{k: tf.constant(v) for k, v in pixel_inputs(images).items()})
    for i, ours in enumerate(mrcnn.detect(model, images, score_threshold=None)):
        number = int(served["num_detections"][i])
        assert number == len(ours)
        np.testing.assert_allclose(served["scores"][i][:number], ours.scores, atol=1e-4)
        np.testing.assert_allclose(served["boxes"][i][:number], ours.boxes, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"depths": (1, 1)},
        {"depths": (0, 1, 1, 1)},
        {"width": 10**6},
        {"num_heads": 5},
        {"kv_stride": 3},
        {"window": 12},
        {"grid": 4},
        {"drop_path": 1.0},
        {"norm": "bn"},
    ],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ConfigError, match="backbone"):
        MViTConfig(**change)
