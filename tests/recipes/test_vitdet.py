"""ViTDet's recipes say what the published configurations say."""

from __future__ import annotations

import pytest

from mrcnn import recipes
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.recipes.vitdet import hierarchical, vitdet


def test_sizes_and_schedules():
    """Ref: detectron2, projects/ViTDet: 184,375 steps of 64, down at 163,889 and 177,546; H has three quarters."""
    for name, decay, drop_path, last in (("b", 0.7, 0.1, 11), ("l", 0.8, 0.4, 23), ("h", 0.9, 0.5, 31)):
        recipe = recipes.get(f"vitdet_{name}")
        backbone, train = recipe.model.backbone, recipe.train
        assert (backbone.depth, backbone.drop_path, backbone.global_blocks[-1]) == (last + 1, drop_path, last)
        assert len(backbone.global_blocks) == 4
        rates = dict(train.layer_rates)
        assert rates[f"backbone/block{last + 1}_"] == pytest.approx(decay)
        assert rates["backbone/stem_"] == pytest.approx(decay ** (last + 2))
        assert train.images == pytest.approx(184_375 * 64 * (0.75 if name == "h" else 1.0), rel=1e-4)
        assert [m * 184_375 for m in train.milestones] == pytest.approx([163_889, 177_546], abs=1)
        assert train.learning_rate * 64 / recipes.REFERENCE_BATCH == pytest.approx(1e-4)


def test_heads_and_input():
    recipe, cascade = vitdet("b"), vitdet("b", is_cascade=True)
    model = recipe.model
    assert (model.box_head.conv_norm, model.box_head.norm_epsilon, model.box_head.fc_dims) == ("ln", 1e-6, (1024,))
    assert (model.input.canvas, model.input.square, model.rpn.num_convs) == ("square", 1024, 2)
    assert (recipe.data.crop, recipe.data.scale_jitter) == ((1024, 1024), (0.1, 2.0))
    assert isinstance(cascade.model.box_head, CascadeBoxHeadConfig)
    assert (cascade.model.heads, cascade.data, cascade.train) == (model.heads, recipe.data, recipe.train)


@pytest.mark.parametrize(
    ("name", "title", "drop_path", "rate", "steps"),
    [
        ("swin_b", "Swin B", 0.4, 4e-5, 184_375 / 2),
        ("swin_l", "Swin L", 0.4, 4e-5, 184_375 / 2),
        ("mvitv2_b", "MViTv2 B", 0.4, 8e-5, 184_375),
        ("mvitv2_l", "MViTv2 L", 0.5, 8e-5, 184_375 / 2),
        ("mvitv2_h", "MViTv2 H", 0.6, 1.6e-4, 67_500),
    ],
)
def test_hierarchical_networks(name, title, drop_path, rate, steps):
    """Ref: detectron2, projects/ViTDet/configs/COCO, cascade_mask_rcnn_swin_* and _mvitv2_*."""
    recipe, plain = hierarchical(name), vitdet("b", is_cascade=True)
    model, train = recipe.model, recipe.train
    assert recipes.get(f"cascade_mask_rcnn_{name}_fpn_lsj") == recipe
    assert (model.backbone.title, model.backbone.drop_path) == (title, drop_path)
    assert (model.neck.norm, model.neck.epsilon) == ("ln", 1e-6)
    for part in ("rpn", "box_head", "heads", "input"):
        assert getattr(model, part) == getattr(plain.model, part)
    assert recipe.data == plain.data
    assert train.learning_rate * 4 == pytest.approx(rate) and train.images == pytest.approx(steps * 64, rel=1e-4)
    assert train.weight_decay == (0.05 if name.startswith("swin") else 0.1)
