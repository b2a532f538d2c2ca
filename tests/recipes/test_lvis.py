"""The recipes of LVIS against detectron2's configurations, by hand."""

from __future__ import annotations

import pytest

from mrcnn import recipes
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy
from mrcnn.modeling.losses.sigmoid import ClassFederated


def test_the_papers_network():
    recipe = recipes.get("lvis_mask_rcnn_r50_fpn")
    head = recipe.model.box_head
    assert (recipe.model.num_classes, head.max_detections, head.score_threshold) == (1203, 300, 1e-4)
    assert (head.activation, head.class_loss) == ("softmax", ClassCrossEntropy())
    assert (recipe.data.repeat_threshold, recipe.data.short_sides) == (0.001, (640, 672, 704, 736, 768, 800))
    assert (recipe.train.images, recipe.train.milestones) == (180_000 * 16, (120 / 180, 160 / 180))
    assert recipes.get("lvis_mask_rcnn_x101_32x8d_fpn").model.backbone.groups == 32


@pytest.mark.parametrize(("size", "rate", "drop_path"), [("b", 2e-4, 0.1), ("l", 2e-4, 0.4), ("h", 1e-4, 0.4)])
@pytest.mark.parametrize("cascade", ["", "cascade_"])
def test_vitdet(size: str, rate: float, drop_path: float, cascade: str):
    recipe = recipes.get(f"lvis_{cascade}vitdet_{size}")
    plain = recipes.get(f"{cascade}vitdet_{size}")
    head = recipe.model.box_head
    assert type(head) is type(plain.model.box_head)
    assert (head.activation, head.class_loss) == ("sigmoid", ClassFederated(50, "lvis_v1", 0.5))
    assert (head.max_detections, head.score_threshold) == (300, 0.02)
    assert (recipe.model.num_classes, recipe.model.backbone.drop_path) == (1203, drop_path)
    assert (recipe.data.repeat_threshold, recipe.data.crop) == (0.001, (1024, 1024))
    train = recipe.train
    assert (train.images, train.learning_rate * 4) == (156_250 * 64, pytest.approx(rate))  # 4: 64 images to 16
    assert [round(part * 156_250) for part in train.milestones] == [138_889, 150_463]
    assert train.layer_rates == plain.train.layer_rates
