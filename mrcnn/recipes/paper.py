"""Recipes of the paper, and what others changed in its heads, boxes and classes; each with its source."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mrcnn.data.pipeline import DataConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.deformable import DeformableConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.heads.point_rend import PointRendMaskHeadConfig
from mrcnn.modeling.heads.rotated_box import RotatedBoxHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.non_local import NonLocalConfig
from mrcnn.modeling.roi_pooling import RoiOp, RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.modeling.rpn.rotated import RotatedRPNConfig
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.recipes.recipe import Recipe
from mrcnn.recipes.train_config import TrainConfig
from mrcnn.weights.coco_classes import STUFF


def paper(**model: Any) -> Recipe:
    """The paper's FPN recipe, some components replaced.

    Ref: Mask R-CNN, section 3.1; Feature Pyramid Networks, section 5.1.
    """
    return Recipe(
        model=MaskRCNNConfig(**model),
        data=DataConfig(flip_horizontal=0.5, max_instances=100, mask_side=112),
    )


def mask_rcnn_c4(depth: Literal[50, 101] = 50, op: RoiOp = "align") -> Recipe:
    """RPN and heads on the stride-16 map, res5 on each RoI. Ref: Mask R-CNN, figure 4 (left), table 2c."""
    pool = RoiPoolConfig(size=14, levels=("c4",), op=op)
    return paper(
        backbone=ResNetConfig(depth=depth, last_stage=4),
        neck=PassThroughConfig(levels=("c4",)),
        rpn=RPNConfig(channels=1024).on_one_map("c4"),
        roi_stage=Res5Config(),
        box_head=BoxHeadConfig(pool=pool, fc_dims=(), reduce="mean"),
        heads=(MaskHeadConfig(pool=pool, conv_dims=()),),
        input=InputConfig(divisor=16),
    )


def mask_rcnn_c5(depth: Literal[50, 101] = 50, dilate: bool = False, op: RoiOp = "align") -> Recipe:
    """RPN and the pyramid's heads on res5, whose cells are 32 pixels, or 16 if it is dilated.

    Ref: Mask R-CNN, table 2d and its text: "the same head as in Figure 4 (right), as the res5 head is not applicable";
    dilated: Deformable ConvNets, section 4.1.
    """
    pool = RoiPoolConfig(size=7, levels=("c5",), op=op)
    return paper(
        backbone=ResNetConfig(depth=depth, dilate_c5=dilate),
        neck=PassThroughConfig(levels=("c5",)),
        rpn=RPNConfig(channels=2048).on_one_map("c5"),
        box_head=BoxHeadConfig(pool=pool),
        heads=(MaskHeadConfig(pool=dataclasses.replace(pool, size=14)),),
    )


def mask_rcnn_gn() -> Recipe:
    """Group norm throughout, four convolutions in the box head. Ref: Group Normalization, section 4.2."""
    return paper(
        backbone=ResNetConfig(norm="gn"),
        neck=FPNConfig(norm="gn"),
        box_head=BoxHeadConfig(conv_dims=(256,) * 4, conv_norm="gn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_norm="gn"),),
    )


def pointrend(backbone: ResNetConfig) -> Recipe:
    """Masks refined point by point, trained at several scales. Ref: PointRend, arXiv 1912.08193, section 4."""
    boxes = BoxHeadConfig(train_on_pred_boxes=True)
    recipe = paper(backbone=backbone, box_head=boxes, heads=(PointRendMaskHeadConfig(),))
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, short_sides=tuple(range(640, 801, 32))))


def cascade_mask_rcnn_x152() -> Recipe:
    """ResNeXt-152 with deformable convolutions, a cascade, deep heads with group norm.

    Ref: detectron2, configs/Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv.yaml.
    """
    recipe = paper(
        backbone=ResNetConfig(depth=152, groups=32, width_per_group=8, deformable=DeformableConfig()),
        box_head=CascadeBoxHeadConfig(conv_dims=(256,) * 4, conv_norm="gn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_dims=(256,) * 8, conv_norm="gn"),),
    )
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, short_sides=tuple(range(640, 865, 32))))


def keypoint_rcnn(non_local: NonLocalConfig | None = None) -> Recipe:
    """People and their 17 joints, trained at several scales. Ref: Mask R-CNN, section 5.

    With `non_local` a block in res4 and four in the head. Ref: Non-local Neural Networks, table 6.
    """
    backbone, head = ResNetConfig(non_local=non_local), KeypointHeadConfig(non_local=non_local)
    recipe = paper(num_classes=1, backbone=backbone, heads=(head,))
    scales = tuple(range(640, 801, 32))
    data = dataclasses.replace(recipe.data, short_sides=scales, num_joints=17)
    return dataclasses.replace(recipe, data=data, train=TrainConfig(best_by="val_keypoints/AP"))


def cityscapes(steps: int = 24_000) -> Recipe:
    """Streets of 2048 x 1024 pixels: 64 RoIs, one image on each of eight GPUs, the rate 0.01 and a tenth after 3 / 4.

    Ref: Mask R-CNN, appendix A: 24,000 steps from ImageNet weights, 4,000 from a model trained on COCO.
    """
    recipe = paper(
        num_classes=8,
        roi_sampler=RoiSamplerConfig(num_rois=64),
        heads=(MaskHeadConfig(num_foreground=16),),
        input=InputConfig(short_side=1024, long_side=2048),
    )
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(800, 1025, 32))),
        train=TrainConfig(images=8 * steps, batch_size=1, milestones=(3 / 4,)),
    )


def rotated_mask_rcnn() -> Recipe:
    """Boxes that turn with their objects, for elongated ones in any direction. Ref: Ma et al., arXiv 1703.01086."""
    recipe = paper(
        rpn=RotatedRPNConfig(),
        box_head=RotatedBoxHeadConfig(),
        heads=(MaskHeadConfig(pool=RoiPoolConfig(size=14, op="align_rotated")),),
    )
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, rotated_boxes=True))


def panoptic() -> Recipe:
    """Instances and COCO's 53 classes of stuff, trained at several scales.

    Ref: Panoptic Feature Pyramid Networks, sections 3 and 4.1; detectron2, panoptic_fpn_R_50_1x.
    """
    recipe = paper()
    names, ids = tuple(STUFF.values()), tuple(STUFF)
    model = dataclasses.replace(
        recipe.model, semantic_head=SemanticHeadConfig(), stuff_names=names, stuff_category_ids=ids
    )
    data = dataclasses.replace(recipe.data, short_sides=tuple(range(640, 801, 32)), semantic_maps=True)
    return dataclasses.replace(recipe, model=model, data=data)


def faster_rcnn() -> Recipe:
    """Boxes only. Ref: Feature Pyramid Networks, section 5.2."""
    return dataclasses.replace(paper(heads=()), train=TrainConfig(best_by="val_box/AP"))
