"""The recipes that come with the package: their names, sizes and lengths, and that files hold them."""

from __future__ import annotations

import json

import pytest
import yaml

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.recipes import Recipe

NAMES = (
    "mask_rcnn_r50_fpn",
    "mask_rcnn_r101_fpn",
    "mask_rcnn_r152_fpn",
    "mask_rcnn_x101_32x8d_fpn",
    "mask_rcnn_x152_32x8d_fpn",
    "mask_rcnn_r50_fpn_nl",
    "mask_rcnn_r50_fpn_dconv",
    "mask_rcnn_x101_32x8d_fpn_dconv",
    "mask_rcnn_r50_c4",
    "mask_rcnn_r50_c4_roipool",
    "mask_rcnn_r50_c4_roiwarp",
    "mask_rcnn_r101_c4",
    "mask_rcnn_r50_c5",
    "mask_rcnn_r50_c5_roipool",
    "mask_rcnn_r101_c5",
    "mask_rcnn_r50_dc5",
    "mask_rcnn_r50_fpn_gn",
    "pointrend_r50_fpn",
    "pointrend_r101_fpn",
    "pointrend_x101_32x8d_fpn",
    "mask_rcnn_r50_fpn_lsj",
    "mask_rcnn_r101_fpn_lsj",
    "mask_rcnn_regnetx_4gf_fpn_lsj",
    "mask_rcnn_regnety_4gf_fpn_lsj",
    "cascade_mask_rcnn_r50_fpn",
    "cascade_mask_rcnn_r50_fpn_dconv",
    "cascade_mask_rcnn_x152_32x8d_fpn_gn_dconv",
    "rotated_mask_rcnn_r50_fpn",
    "faster_rcnn_r50_fpn",
    "faster_rcnn_mobilenetv3_fpn",
    "faster_rcnn_mobilenetv3_320_fpn",
    "panoptic_r50_fpn",
    "keypoint_rcnn_r50_fpn",
    "keypoint_rcnn_r50_fpn_nl",
    "cityscapes_mask_rcnn_r50_fpn",
    "cityscapes_mask_rcnn_r50_fpn_from_coco",
    "mask_rcnn_efficientnet_lite0_fpn",
    "mask_rcnn_mobilenetv3_fpn",
    "mask_rcnn_convnext_tiny_fpn",
    "mask_rcnn_convnext_t_fpn",
    "mask_rcnn_swin_t_fpn",
    "mask_rcnn_mvitv2_t_fpn",
    "cascade_mask_rcnn_mvitv2_t_fpn",
    "cascade_mask_rcnn_mvitv2_s_fpn",
    "cascade_mask_rcnn_mvitv2_b_fpn",
    "mask_rcnn_efficientnetv2_s_fpn",
    "vitdet_b",
    "vitdet_l",
    "vitdet_h",
    "cascade_vitdet_b",
    "cascade_vitdet_l",
    "cascade_vitdet_h",
    "cascade_mask_rcnn_swin_b_fpn_lsj",
    "cascade_mask_rcnn_swin_l_fpn_lsj",
    "cascade_mask_rcnn_mvitv2_b_fpn_lsj",
    "cascade_mask_rcnn_mvitv2_l_fpn_lsj",
    "cascade_mask_rcnn_mvitv2_h_fpn_lsj",
    "lvis_mask_rcnn_r50_fpn",
    "lvis_mask_rcnn_r101_fpn",
    "lvis_mask_rcnn_x101_32x8d_fpn",
    "lvis_vitdet_b",
    "lvis_vitdet_l",
    "lvis_vitdet_h",
    "lvis_cascade_vitdet_b",
    "lvis_cascade_vitdet_l",
    "lvis_cascade_vitdet_h",
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
