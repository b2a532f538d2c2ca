from __future__ import annotations

import pytest

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.non_local import NonLocalConfig


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
