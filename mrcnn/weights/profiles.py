"""The families of weights that are known, each with what its program fixes beyond its arrays."""

from __future__ import annotations

from dataclasses import replace

from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.cascade_mask import CascadeMaskHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.weights.profile import Profile

TORCHVISION = Profile(
    family="torchvision",
    pixel_norm=PixelNorm(
        mean=tuple(255 * m for m in (0.485, 0.456, 0.406)), std=tuple(255 * s for s in (0.229, 0.224, 0.225))
    ),
    input=InputConfig(rounding="floor", interpolation="linear"),
    rpn=RPNConfig(
        anchors=AnchorConfig(rounding="corners", order="ratio_major", stride="from_sizes"),
        min_size=1e-3,
        normalizer="sampled",
    ),
    pool=RoiPoolConfig(level_rule="floor_after", level_epsilon=1e-6),
    box_head=BoxHeadConfig(box_loss=SmoothL1(1.0 / 9.0), min_size=1e-2),
    mask_head=MaskHeadConfig(paste="padded_integer", target="project_soft"),
    keypoint_head=KeypointHeadConfig(score="logit"),
    norm_epsilon=0.0,
)

TORCHVISION_V2 = replace(TORCHVISION, family="torchvision_v2", norm_epsilon=1e-5)

DETECTRON2 = Profile(
    family="detectron2",
    pixel_norm=PixelNorm(mean=(123.675, 116.28, 103.53), std=(1.0, 1.0, 1.0), bgr=True),
    input=InputConfig(),
    rpn=RPNConfig(smooth_l1_beta=0.0, post_nms_train=1000),
    pool=RoiPoolConfig(sampling_ratio=0, aligned=True, level_epsilon=1e-8),
    box_head=BoxHeadConfig(box_loss=SmoothL1(0.0)),
    mask_head=MaskHeadConfig(target="project"),
    keypoint_box_beta=0.5,
    keypoint_post_nms_train=1500,
    background="last",
)

DETECTRON2_IMAGENET_PIXELS = replace(
    DETECTRON2,
    family="detectron2_imagenet_pixels",
    pixel_norm=PixelNorm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), bgr=True),
)

DETECTRON = Profile(
    family="detectron",
    pixel_norm=PixelNorm(mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0), bgr=True),
    input=InputConfig(interpolation="linear", rounding="half_even", clip_to="canvas"),
    rpn=RPNConfig(anchors=AnchorConfig(rounding="detectron", order="ratio_major", offset=0.5)),
    pool=RoiPoolConfig(end_offset=-1.0),
    mask_head=MaskHeadConfig(paste="padded_integer", target="project"),
)

MMDETECTION = Profile(
    family="mmdetection",
    pixel_norm=PixelNorm(),
    input=InputConfig(interpolation="linear_u8"),
    rpn=RPNConfig(
        smooth_l1_beta=0.0,
        pre_nms_train=2000,
        post_nms_train=1000,
        normalizer="sampled",
        low_quality_iou=0.3,
        best_belongs=True,
        crowd_iou=2.0,  # crowd regions do not shield what lies in them
    ),
    pool=RoiPoolConfig(sampling_ratio=0, aligned=True, level_epsilon=0.25e-6),  # 1e-6 of 56 pixels
    roi_sampler=RoiSamplerConfig(crowd_iou=2.0),
    box_head=BoxHeadConfig(box_loss=SmoothL1(0.0)),
    mask_head=MaskHeadConfig(target="project"),
    cascade_box_head=CascadeBoxHeadConfig(
        stage_delta_weights=(
            (10.0, 10.0, 5.0, 5.0),
            (20.0, 20.0, 10.0, 10.0),
            (1 / 0.033, 1 / 0.033, 1 / 0.067, 1 / 0.067),
        ),
        stage_loss_weights=(1.0, 0.5, 0.25),
        stage_rois="sample",
        feature_gradient="sum",
        scores="logits",
    ),
    cascade_mask_head=CascadeMaskHeadConfig(stage_loss_weights=(1.0, 0.5, 0.25)),
    background="last",
)

MATTERPORT = Profile(
    family="matterport",
    pixel_norm=PixelNorm(mean=(123.7, 116.8, 103.9), std=(1.0, 1.0, 1.0)),
    input=InputConfig(
        short_side=800,
        long_side=1024,
        divisor=64,
        never_shrink_for_short=True,
        rounding="half_even",
        interpolation="linear_black_u8",
        canvas="square",
        padding="center",
        padding_pixels="black",
        clip_to="canvas",
        end_offset=-1.0,
        whole_pixels=True,
    ),
    rpn=RPNConfig(
        anchors=AnchorConfig(ratio_is="width_over_height", end_offset=-1.0),
        delta_weights=(10.0, 10.0, 5.0, 5.0),
        max_log_scale=None,
        nms_across_levels=True,
        pre_nms_train=6000,
        pre_nms_test=6000,
        min_size=-1.0,
        smooth_l1_beta=1.0,
        normalizer="means",
        objectness="softmax",
        crowd_iou=0.001,
        match_edges=True,
        channels=512,
    ),
    pool=RoiPoolConfig(op="crop", level_rule="round_image_area"),
    roi_sampler=RoiSamplerConfig(
        num_rois=200, positive_fraction=0.33, append_gt=False, background="ratio", crowd_iou=0.001
    ),
    box_head=BoxHeadConfig(
        detection_rule="best_class",
        score_threshold=0.7,
        nms_iou=0.3,
        max_log_scale=None,
        min_size=-1.0,
        box_normalizer="elements",
    ),
    mask_head=MaskHeadConfig(paste="integer_resize", target="corners"),
    norm_epsilon=1e-3,  # Keras' own
    stem_pool="same",
    freeze_at=0,
)

PROFILES: dict[str, Profile] = {
    profile.family: profile
    for profile in (
        TORCHVISION,
        TORCHVISION_V2,
        DETECTRON2,
        DETECTRON2_IMAGENET_PIXELS,
        DETECTRON,
        MATTERPORT,
        MMDETECTION,
    )
}
"""Every family of weights that can be read, by name."""
