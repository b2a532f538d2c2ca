"""Recipes for LVIS v1: up to 300 detections an image, and images of rare classes shown more often.

Ref: LVIS, arXiv 1908.03195, appendix B; detectron2, configs/LVISv1-InstanceSegmentation, projects/ViTDet/configs/LVIS.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.losses.sigmoid import ClassFederated
from mrcnn.recipes import paper
from mrcnn.recipes.recipe import Recipe
from mrcnn.recipes.vitdet import vitdet
from mrcnn.weights.lvis_classes import NUM_CLASSES

_MOST_OBJECTS = 300  # of an image that train; a few have more
_VITDET_IMAGES = 10_000_000  # 156,250 steps of 64: 100 epochs
_VITDET_RATES = {"b": 5e-5, "l": 5e-5, "h": 2.5e-5}  # published: 2e-4 and 1e-4 at a batch of 64


def mask_rcnn_lvis(backbone: ResNetConfig) -> Recipe:
    """The paper's network at several scales, with the softmax over all classes and background.

    Example:
        >>> mask_rcnn_lvis(ResNetConfig()).model.box_head.max_detections
        300
    """
    head = BoxHeadConfig(max_detections=300, score_threshold=1e-4)
    recipe = _for_lvis(paper.paper(backbone=backbone, box_head=head), short_sides=tuple(range(640, 801, 32)))
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, images=2_880_000))  # 180,000 steps of 16


def vitdet_lvis(size: Literal["b", "l", "h"], is_cascade: bool = False) -> Recipe:
    """ViTDet with a sigmoid for each class and the federated loss.

    Example:
        >>> vitdet_lvis("b").model.box_head.class_loss.image_counts
        'lvis_v1'
    """
    recipe = _for_lvis(vitdet(size, is_cascade))
    model = recipe.model
    loss = ClassFederated(image_counts="lvis_v1")
    head = dataclasses.replace(
        model.box_head, activation="sigmoid", class_loss=loss, max_detections=300, score_threshold=0.02
    )
    backbone = model.backbone.override({"drop_path": 0.4}) if size == "h" else model.backbone
    train = dataclasses.replace(recipe.train, images=_VITDET_IMAGES, learning_rate=_VITDET_RATES[size])
    return dataclasses.replace(recipe, model=dataclasses.replace(model, backbone=backbone, box_head=head), train=train)


def _for_lvis(recipe: Recipe, **data: Any) -> Recipe:
    """A recipe with LVIS' classes and its images."""
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, num_classes=NUM_CLASSES),
        data=dataclasses.replace(recipe.data, repeat_threshold=1e-3, max_instances=_MOST_OBJECTS, **data),
    )
