from __future__ import annotations

import pytest

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.weights.profile import by_component
from mrcnn.weights.profiles import DETECTRON2, PROFILES

LEAST = {"neck": "fpn", "num_classes": 3, "box_head.fc_dims": (1024, 1024)}


def test_overrides_go_to_their_components():
    own = by_component({"neck": "fpn", "rpn.anchors.sizes": ((8.0,),), "backbone.depth": 101})
    assert own["rpn"] == {"anchors.sizes": ((8.0,),)} and own["backbone"] == {"depth": 101} and own["pool"] == {}
    with pytest.raises(ConfigError, match=r"roof\.height: no field of a network"):
        by_component({"roof.height": 2})


@pytest.mark.parametrize("family", PROFILES)
def test_every_family_makes_a_model_of_a_pyramid(family):
    config = PROFILES[family].model_config(LEAST)
    assert (config.num_classes, config.heads, config.roi_stage, config.profile) == (
        3,
        (),
        None,
        PROFILES[family].family,
    )
    assert config.input == PROFILES[family].input and config.backbone.pixel_norm == PROFILES[family].pixel_norm


def test_what_arrays_say_lies_over_what_the_family_fixes():
    overrides = {**LEAST, "mask_head.class_agnostic": True, "box_head.num_stages": 3, "backbone.depth": 101}
    overrides["box_head.class_agnostic"] = True  # as every cascade is
    config = DETECTRON2.model_config(overrides)
    assert isinstance(config.box_head, CascadeBoxHeadConfig) and config.backbone.depth == 101
    (mask,) = config.heads
    assert isinstance(mask, MaskHeadConfig) and mask.class_agnostic and mask.pool.size == 14


def test_one_map_has_res5_on_every_roi_and_one_sampling_rule():
    config = DETECTRON2.model_config({**LEAST, "neck": "c4", "box_head.fc_dims": ()})
    assert isinstance(config.roi_stage, Res5Config) and config.backbone.last_stage == 4
    assert (
        config.box_head.pool.levels == ("c4",) and config.box_head.reduce == "mean" and config.box_head.pool.size == 14
    )
    assert config.box_head.pool.sampling_ratio == DETECTRON2.single_map_sampling_ratio


def test_networks_with_keypoints_train_their_boxes_otherwise():
    profile = PROFILES["detectron2"]
    config = profile.model_config({**LEAST, "keypoint_head.num_joints": 17})
    assert profile.keypoint_box_beta is None or config.box_head.box_loss == SmoothL1(profile.keypoint_box_beta)
    assert profile.keypoint_post_nms_train in (None, config.rpn.post_nms_train)
