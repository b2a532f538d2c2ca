"""The recipes that come with the package: their names, sizes and lengths, and that files hold them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.recipes import Recipe

NAMES = (
    "mask_rcnn_r50_fpn",
    "mask_rcnn_r101_fpn",
    "mask_rcnn_r152_fpn",
    "mask_rcnn_x101_32x8d_fpn",
    "mask_rcnn_r50_c4",
    "mask_rcnn_r50_dc5",
    "mask_rcnn_r50_fpn_gn",
    "cascade_mask_rcnn_r50_fpn",
    "faster_rcnn_r50_fpn",
    "faster_rcnn_mobilenetv3_fpn",
    "faster_rcnn_mobilenetv3_320_fpn",
    "keypoint_rcnn_r50_fpn",
    "mask_rcnn_efficientnet_lite0_fpn",
    "mask_rcnn_mobilenetv3_fpn",
    "mask_rcnn_convnext_tiny_fpn",
    "mask_rcnn_swin_t_fpn",
    "mask_rcnn_efficientnetv2_s_fpn",
)


def test_the_names_are_those_of_the_package():
    assert tuple(recipes.named()) == NAMES
    with pytest.raises(ConfigError, match=r"no recipe 'mask_rcnn_r50_fp'; did you mean mask_rcnn_r50_fpn\? There are"):
        recipes.get("mask_rcnn_r50_fp")
    with pytest.raises(ConfigError, match=r"no recipe 'zzz'\. There are mask_rcnn_r50_fpn, .*, or give a YAML file"):
        recipes.get("zzz")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_named_recipes_survive_files(tmp_path, name: str, suffix: str):
    recipe = recipes.get(name)
    assert recipes.named()[name] == recipe
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    path = tmp_path / f"recipe{suffix}"
    recipe.save(path)
    assert recipes.load(path) == recipe
    assert recipes.get(path) == recipe
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    text = path.read_text()
    assert (json.loads(text) if suffix == ".json" else yaml.safe_load(text)) == recipe.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_training_sizes_are_around_the_models(name: str):
    recipe = recipes.get(name)
    low, high = recipe.data.size_range(recipe.model.input.short_side)
    assert low <= recipe.model.input.short_side <= high


def test_other_networks_are_trained_by_adamw_at_several_scales():
    for name, network in (("convnext_tiny", "ConvNeXtTiny"), ("efficientnetv2_s", "EfficientNetV2S")):
        recipe = recipes.get(f"mask_rcnn_{name}_fpn_3x")
        assert recipe.model.backbone.name == network and recipe.train.images == 4_320_000
        assert (recipe.train.optimizer, recipe.train.learning_rate, recipe.train.weight_decay) == ("adamw", 1e-4, 0.05)
        assert (recipe.data.short_sides[0], recipe.data.short_sides[-1]) == (480, 800)
        assert recipe.model.heads == recipes.get("mask_rcnn_r50_fpn").model.heads
    swin = recipes.get("mask_rcnn_swin_t_fpn")
    assert (swin.model.backbone, swin.data) == (SwinConfig(drop_path=0.2), recipe.data)
    assert (
        dataclasses.replace(swin.train, warmup_images=8_000, images=4_320_000, milestones=(7 / 9, 25 / 27))
        == recipe.train
    )
    light, lite = recipes.get("mask_rcnn_mobilenetv3_fpn"), recipes.get("mask_rcnn_efficientnet_lite0_fpn")
    assert light.override({"model.backbone": lite.model.backbone.to_dict()}) == lite


@pytest.mark.parametrize(
    "suffix, steps, milestones",
    [
        ("1x", 90_000, [60_000, 80_000]),
        ("2x", 180_000, [120_000, 160_000]),
        ("3x", 270_000, [210_000, 250_000]),
        ("paper", 160_000, [120_000]),
    ],
)
def test_lengths_of_the_public_models(suffix: str, steps: int, milestones: list[int]):
    recipe = recipes.get(f"mask_rcnn_r50_fpn_{suffix}")
    assert recipe.train.images == 16 * steps
    assert [round(part * steps) for part in recipe.train.milestones] == milestones
    assert recipe.model == recipes.get("mask_rcnn_r50_fpn").model
