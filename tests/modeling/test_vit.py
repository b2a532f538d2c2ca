"""Plain Vision Transformer: the network against plain loops; its config; that it freezes, saves, trains and exports."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.base_config import ConfigError
from mrcnn.export.served_check import pixel_inputs
from mrcnn.modeling.backbones.vit import AbsolutePositions, ViTConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.necks.simple_feature_pyramid import SimpleFeaturePyramidConfig
from mrcnn.modeling.variables import named_variables
from mrcnn.ops.positions import resize_positions
from tests.modeling.backbone_model import after_a_step, check_fresh_process
from tests.modeling.test_relative_attention import DEPTH, HEADS, attention
from tests.tiny_model import noise_images, tiny_config

SMALL = ViTConfig(
    depth=4, width=HEADS * DEPTH, num_heads=HEADS, window=3, grid=4, position_grid=2, global_blocks=(1, 3), mlp_ratio=2
)


def model_of(backbone: ViTConfig = SMALL) -> MaskRCNN:
    backbone = dataclasses.replace(backbone, width=8)
    neck = SimpleFeaturePyramidConfig(channels=32)
    return MaskRCNN(dataclasses.replace(tiny_config(), backbone=backbone, neck=neck), ["thing", "other"])


def test_network_equals_plain_loops(rng):
    model, values = SMALL.build(), {}
    for layer in model.layers:
        for variable in layer.weights:
            variable.assign(rng.normal(0.1, 0.3, variable.shape))
            values[variable.path] = np.asarray(variable, np.float64)
    image = rng.normal(0, 1, (61, 64, 3))

    def of(name):
        return {k.removeprefix(name): v for k, v in values.items() if k.startswith(name)}

    def dense(x, name):
        return x @ values[f"{name}/kernel"] + values[f"{name}/bias"]

    def norm(x, name):
        center = x - x.mean(-1, keepdims=True)
        scaled = center / np.sqrt((center**2).mean(-1, keepdims=True) + 1e-6)
        return scaled * values[f"{name}/gamma"] + values[f"{name}/beta"]

    padded = np.pad(image, [(0, 3), (0, 0), (0, 0)])
    patches = [[padded[i : i + 16, j : j + 16] for j in range(0, 64, 16)] for i in range(0, 64, 16)]
    x = np.tensordot(np.array(patches), values["stem_patches/kernel"], 3) + values["stem_patches/bias"]
    x = x + resize_positions(values["stem_positions/embedding"].astype(np.float32), 4, 4).numpy()
    for number in range(1, 5):
        name = f"block{number}"
        window = 3 if number in (1, 3) else 0
        x = x + attention(norm(x, f"{name}_norm1"), of(f"{name}_attention/"), window)
        y = dense(norm(x, f"{name}_norm2"), f"{name}_expand")
        x = x + dense(y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2))), f"{name}_project")
    ours = model(image[None].astype(np.float32))
    assert list(ours) == ["c4"]
    np.testing.assert_allclose(ours["c4"][0], x, rtol=1e-3, atol=1e-3)


def test_without_positions_there_are_no_weights_for_them():
    model = dataclasses.replace(SMALL, grid=0, position_grid=0).build()
    assert not [v.path for v in model.weights if "positions" in v.path or v.path.endswith(("rows", "columns"))]
    assert model(np.zeros((0, 32, 32, 3), np.float32))["c4"].shape == (0, 2, 2, SMALL.width)


def test_stages_freeze():
    model = dataclasses.replace(SMALL, freeze_at=3).build()
    trained = {layer.name.split("_")[0] for layer in model.layers if layer.trainable_weights}
    assert trained == {"block3", "block4"}


def test_positions_come_back_from_their_config():
    layer = AbsolutePositions(3)
    assert AbsolutePositions.from_config(layer.get_config()).grid == 3


def test_rates_rise_from_block_to_block():
    model = dataclasses.replace(SMALL, drop_path=0.3).build()
    rates = [layer.rate for layer in model.layers if layer.name.endswith("_drop")]
    np.testing.assert_allclose(rates, np.repeat([0.1, 0.2, 0.3], 2))


def test_blocks_are_left_out_by_the_seed_of_an_image():
    model = model_of(dataclasses.replace(SMALL, drop_path=0.6))
    image = tf.fill([8, 64, 64, 3], 0.5)
    seeds = tf.constant([[number, 7] for number in range(8)])
    together = model.run_backbone(image, True, seeds)["c4"].numpy()
    assert len({features.tobytes() for features in together.round(4)}) > 2
    alone = model.run_backbone(image[:1], True, seeds[5:6])["c4"].numpy()
    np.testing.assert_allclose(alone[0], together[5], rtol=1e-4, atol=1e-5)


def test_names_of_weights_do_not_depend_on_stochastic_depth():
    names = [set(named_variables(dataclasses.replace(SMALL, drop_path=rate).build())) for rate in (0.0, 0.3)]
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_step_changes_what_is_not_frozen():
    backbone = dataclasses.replace(SMALL, width=8, freeze_at=3)
    _, changed, stages = after_a_step(backbone, neck=SimpleFeaturePyramidConfig(channels=32))
    assert {path for path in stages if path in changed} == {path for path, stage in stages.items() if stage > 3}


@pytest.mark.slow
def test_fresh_process_computes_the_same(tmp_path):
    check_fresh_process(model_of(), tmp_path)


@pytest.mark.slow
def test_saved_model_computes_the_same(tmp_path):
    """With operations of TensorFlow alone, which the export sees to."""
    keras.utils.set_random_seed(0)
    model, images = model_of(), noise_images(2)
    path = mrcnn.export_saved_model(model, tmp_path / "saved")
    signatures = tf.saved_model.load(str(path)).signatures
    served = signatures["serving_default"](**{k: tf.constant(v) for k, v in pixel_inputs(images).items()})
    for i, ours in enumerate(mrcnn.detect(model, images, score_threshold=None)):
        number = int(served["num_detections"][i])
        assert number == len(ours)
        np.testing.assert_allclose(served["scores"][i][:number], ours.scores, atol=1e-4)
        np.testing.assert_allclose(served["boxes"][i][:number], ours.boxes, atol=1e-3)


def test_titles_and_channels():
    assert ViTConfig().title == "ViT B"
    assert SMALL.title == "ViT 4x6x2"
    assert (SMALL.channels, SMALL.strides) == ({"c4": 6}, {"c4": 16})


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 0},
        {"width": 10**6},
        {"window": -1},
        {"mlp_ratio": 0},
        {"num_heads": 5},
        {"global_blocks": (12,)},
        {"grid": 10**6},
        {"drop_path": 1.0},
        {"norm": "bn"},
    ],
)
def test_impossible_configs_are_refused(change):
    with pytest.raises(ConfigError, match=f"backbone.{next(iter(change))}"):
        ViTConfig(**change)
