"""The recipes that come with the package: their names, sizes and lengths, and that files hold them."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.non_local import NonLocalConfig
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
    "mask_rcnn_swin_t_fpn",
    "mask_rcnn_efficientnetv2_s_fpn",
    "vitdet_b",
    "vitdet_l",
    "vitdet_h",
    "cascade_vitdet_b",
    "cascade_vitdet_l",
    "cascade_vitdet_h",
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


def test_large_scale_jitter():
    """Ref: detectron2, configs/new_baselines: 184,375 steps of 64 at 0.1, down at 163,889 and 177,546."""
    recipe, long = recipes.get("mask_rcnn_r101_fpn_lsj"), recipes.get("mask_rcnn_r101_fpn_lsj_400ep")
    model, data, train = recipe.model, recipe.data, recipe.train
    assert (model.backbone.depth, model.backbone.freeze_at, model.rpn.num_convs) == (101, 0, 2)
    norms = (model.backbone.norm, model.neck.norm, model.box_head.conv_norm, model.heads[0].conv_norm)
    assert norms == ("sync_bn",) * 4
    assert (data.crop, data.scale_jitter, data.scale_distribution) == ((1024, 1024), (0.1, 2.0), "uniform")
    assert train.images == 184_375 * 64 and train.learning_rate * 4 == 0.1 and long.train.images == 4 * train.images
    regnets = [recipes.get(f"mask_rcnn_regnet{kind}_4gf_fpn_lsj") for kind in "xy"]
    assert [one.model.backbone.title for one in regnets] == ["RegNetX 4GF", "RegNetY 4GF"]
    assert all((one.data, one.train, one.model.heads) == (data, train, model.heads) for one in regnets)
    assert [round(part * 184_375) for part in long.train.milestones] == [163_889, 177_546]


@pytest.mark.parametrize(
    "name, depth, level, stride, op",
    [
        ("mask_rcnn_r50_c4", 50, "c4", 16, "align"),
        ("mask_rcnn_r50_c4_roipool", 50, "c4", 16, "pool"),
        ("mask_rcnn_r50_c4_roiwarp", 50, "c4", 16, "warp"),
        ("mask_rcnn_r101_c4", 101, "c4", 16, "align"),
        ("mask_rcnn_r50_c5", 50, "c5", 32, "align"),
        ("mask_rcnn_r50_c5_roipool", 50, "c5", 32, "pool"),
        ("mask_rcnn_r101_c5", 101, "c5", 32, "align"),
        ("mask_rcnn_r50_dc5", 50, "c5", 16, "align"),
    ],
)
def test_recipes_of_one_map(name: str, depth: int, level: str, stride: int, op: str):
    """Ref: Mask R-CNN, tables 2a, 2c and 2d."""
    model = recipes.get(name).model
    assert model.backbone.depth == depth and model.backbone.strides[level] == stride
    assert model.neck.levels == model.rpn.levels == (level,)
    assert model.rpn.anchors.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)
    for head in (model.box_head, *model.heads):
        assert (head.pool.levels, head.pool.op, head.pool.reduce) == ((level,), op, "mean")
    assert (model.roi_stage is not None) == (level == "c4")
    if level == "c5":  # the head of figure 4 (right)
        assert (model.box_head.fc_dims, model.box_head.pool.size) == ((1024, 1024), 7)
        assert (model.heads[0].conv_dims, model.heads[0].pool.size) == ((256,) * 4, 14)


def test_recipes_of_the_later_gains():
    """Ref: Non-local Neural Networks, tables 5 and 6."""
    plain = recipes.get("mask_rcnn_r50_fpn")
    deep = recipes.get("mask_rcnn_x152_32x8d_fpn").model.backbone
    assert (deep.depth, deep.groups, deep.width_per_group, deep.title) == (152, 32, 8, "ResNeXt 152 32x8d")
    non_local = recipes.get("mask_rcnn_r50_fpn_nl")
    assert non_local.model.backbone.non_local == NonLocalConfig()
    assert non_local.override({"model.backbone.non_local": None}) == plain
    joints = recipes.get("keypoint_rcnn_r50_fpn_nl")
    assert joints.model.heads[0].non_local == NonLocalConfig()
    none = {"model.heads.0.non_local": None, "model.backbone.non_local": None}
    assert joints.override(none) == recipes.get("keypoint_rcnn_r50_fpn")


@pytest.mark.parametrize("plain", ["mask_rcnn_r50_fpn", "mask_rcnn_x101_32x8d_fpn", "cascade_mask_rcnn_r50_fpn"])
def test_deformable_recipes_are_the_plain_ones_with_other_convolutions(plain):
    """Ref: Deformable Convolutional Networks, section 4.1."""
    deformable = recipes.get(f"{plain}_dconv")
    assert deformable.model.backbone.deformable == DeformableConfig(stages=(3, 4, 5), modulated=False, groups=1)
    assert deformable.override({"model.backbone.deformable": None}) == recipes.get(plain)


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


def test_cityscapes_as_in_appendix_a():
    scratch, from_coco = (recipes.get(f"cityscapes_mask_rcnn_r50_fpn{end}") for end in ("", "_from_coco"))
    assert (scratch.train.images, from_coco.train.images) == (24_000 * 8, 4_000 * 8)
    assert scratch.train.milestones == from_coco.train.milestones == (3 / 4,)
    assert scratch.train.learning_rate * 8 / recipes.REFERENCE_BATCH == 0.01
    assert (scratch.model.input.content_size(1024, 2048), scratch.model.num_classes) == ((1024, 2048), 8)
    assert scratch.model.input.content_size(1024, 2048, short_side=800) == (800, 1600)
    assert scratch.model.roi_sampler.num_rois == 64 and scratch.data.short_sides[0] == 800


def test_panoptic_trains_on_semantic_maps() -> None:
    recipe = recipes.get("panoptic_r50_fpn")
    assert recipe.data.semantic_maps and len(recipe.model.stuff_names) == 53
    assert (recipe.model.stuff_names[-1], recipe.model.stuff_category_ids[-1]) == ("rug-merged", 200)
    with pytest.raises(ConfigError, match=r"model\.semantic_head: .* but data\.semantic_maps is False"):
        recipe.override({"data.semantic_maps": False})
    with pytest.raises(ConfigError, match=r"semantic_head: .* but stuff_names is empty"):
        recipe.build_model(["a"], stuff_names=())
