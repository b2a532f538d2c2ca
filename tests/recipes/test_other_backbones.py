from __future__ import annotations

import dataclasses

import pytest

from mrcnn import recipes
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig


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
    ("name", "title", "drop_path"),
    [
        ("mask_rcnn_mvitv2_t_fpn", "MViTv2 T", 0.2),
        ("cascade_mask_rcnn_mvitv2_t_fpn", "MViTv2 T", 0.2),
        ("cascade_mask_rcnn_mvitv2_s_fpn", "MViTv2 S", 0.2),
        ("cascade_mask_rcnn_mvitv2_b_fpn", "MViTv2 B", 0.4),
    ],
)
def test_mvitv2(name: str, title: str, drop_path: float) -> None:
    """Ref: detectron2, projects/MViTv2: 67,500 steps of 64 at 1.6e-4, down at 52,500 and 62,500."""
    recipe = recipes.get(name)
    model, train = recipe.model, recipe.train
    assert (model.backbone.title, model.backbone.drop_path, model.neck.norm) == (title, drop_path, "none")
    assert (train.images, train.learning_rate * 4, train.warmup_images) == (67_500 * 64, 1.6e-4, 250 * 64)
    assert [round(part * 67_500) for part in train.milestones] == [52_500, 62_500]
    assert (train.optimizer, train.weight_decay) == ("adamw", 0.1)
    assert (recipe.data.short_sides[0], recipe.data.short_sides[-1], model.input.short_side) == (480, 800, 800)
    if name.startswith("cascade"):
        assert isinstance(model.box_head, CascadeBoxHeadConfig)
        assert (model.box_head.conv_norm, model.heads[0].conv_norm, model.rpn.num_convs) == ("sync_bn", "sync_bn", 2)
    else:
        assert (model.box_head, model.heads, model.rpn) == (
            (plain := recipes.get("mask_rcnn_r50_fpn").model).box_head,
            plain.heads,
            plain.rpn,
        )


def test_convnext_has_rates_that_fall_from_layer_to_layer() -> None:
    """Ref: github.com/facebookresearch/ConvNeXt, object_detection: 0.95 from group to group, of six."""
    recipe = recipes.get("mask_rcnn_convnext_t_fpn")
    rates = dict(recipe.train.layer_rates)
    assert recipe.model.backbone.drop_path == 0.4
    numbers = {"stem_": 7, "stage2_": 6, "stage3_": 5, "stage4_": 4, "stage4_block4_": 3, "stage4_block9_": 2}
    for start, power in {**numbers, "stage5_": 1, "stage2_out_norm": 0}.items():
        assert rates[f"backbone/{start}"] == pytest.approx(0.95**power)
