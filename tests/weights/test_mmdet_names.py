from __future__ import annotations

import pytest

from mrcnn.weights.mmdet_names import our_names


@pytest.mark.parametrize(
    "theirs, ours",
    [
        ("backbone.conv1.weight", "backbone/stem_conv1/kernel"),
        ("backbone.bn1.running_var", "backbone/stem_conv1/norm/moving_variance"),
        ("backbone.layer3.5.conv2.weight", "backbone/stage4_block6_conv2/kernel"),
        ("backbone.layer1.0.downsample.1.bias", "backbone/stage2_block1_shortcut/norm/beta"),
        ("neck.fpn_convs.3.conv.bias", "fpn/output5/bias"),
        ("neck.lateral_convs.0.gn.weight", "fpn/lateral2/norm/gamma"),
        ("rpn_head.rpn_reg.bias", "rpn/deltas/bias"),
        ("roi_head.bbox_head.shared_fcs.0.weight", "box_head/fc1/kernel"),
        ("roi_head.bbox_head.0.fc_cls.weight", "box_head/stage1/class_logits/kernel"),
        ("roi_head.mask_head.2.convs.1.conv.weight", "mask_head/stage3/convs/conv2/kernel"),
        ("roi_head.mask_head.upsample.bias", "mask_head/deconv/bias"),
    ],
)
def test_layers(theirs: str, ours: str) -> None:
    assert our_names({theirs: None}) == {ours: theirs}


def test_a_convnext_has_layer_norms_and_scales() -> None:
    first = "backbone.downsample_layers.0.0.weight"
    names = our_names(
        {first: 0, "backbone.stages.2.8.gamma": 0, "backbone.stages.0.1.norm.weight": 0, "backbone.norm3.bias": 0}
    )
    assert names == {
        "backbone/stem_conv/kernel": first,
        "backbone/stage4_block9_scale/gamma": "backbone.stages.2.8.gamma",
        "backbone/stage2_block2_norm/gamma": "backbone.stages.0.1.norm.weight",
        "backbone/stage5_out_norm/beta": "backbone.norm3.bias",
    }


def test_other_arrays_have_no_name() -> None:
    assert our_names({"backbone.bn1.num_batches_tracked": 0, "backbone.layer5.0.conv1.weight": 0, "x": 0}) == {}
