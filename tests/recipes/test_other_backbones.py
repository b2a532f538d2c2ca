from __future__ import annotations

import dataclasses

from mrcnn import recipes
from mrcnn.modeling.backbones.swin import SwinConfig


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
