"""Names, order and types of matterport's layers, against those its own training lists."""

from __future__ import annotations

import re

from mrcnn import model as modellib
from mrcnn.matterport.layers import in_order, layer_listing, layer_type
from tests.matterport import golden_train

HEADS = """fpn_c5p5               (Conv2D)
fpn_c4p4               (Conv2D)
fpn_c3p3               (Conv2D)
fpn_c2p2               (Conv2D)
fpn_p5                 (Conv2D)
fpn_p2                 (Conv2D)
fpn_p3                 (Conv2D)
fpn_p4                 (Conv2D)
In model:  rpn_model
    rpn_conv_shared        (Conv2D)
    rpn_class_raw          (Conv2D)
    rpn_bbox_pred          (Conv2D)
mrcnn_mask_conv1       (TimeDistributed)
mrcnn_mask_bn1         (TimeDistributed)
mrcnn_mask_conv2       (TimeDistributed)
mrcnn_mask_bn2         (TimeDistributed)
mrcnn_class_conv1      (TimeDistributed)
mrcnn_class_bn1        (TimeDistributed)
mrcnn_mask_conv3       (TimeDistributed)
mrcnn_mask_bn3         (TimeDistributed)
mrcnn_class_conv2      (TimeDistributed)
mrcnn_class_bn2        (TimeDistributed)
mrcnn_mask_conv4       (TimeDistributed)
mrcnn_mask_bn4         (TimeDistributed)
mrcnn_bbox_fc          (TimeDistributed)
mrcnn_mask_deconv      (TimeDistributed)
mrcnn_class_logits     (TimeDistributed)
mrcnn_mask             (TimeDistributed)"""
"""What matterport prints when the heads are trained, below "Selecting layers to train"."""


def _names(which):
    return list(dict.fromkeys(name.split("/")[0] for name in golden_train.values()[f"trainable_{which}"].tolist()))


def test_the_listing_of_the_heads():
    assert list(layer_listing(in_order(reversed(_names("heads"))))) == HEADS.splitlines()


def test_the_backbone_comes_in_the_graphs_order():
    backbone = [name for name in _names("all") if re.match(r"(res|bn|conv1)", name)]
    assert in_order(sorted(backbone)) == backbone
    assert {layer_type(name) for name in backbone} == {"Conv2D", "BatchNorm"} and layer_type("bn_conv1") == "BatchNorm"
    assert in_order(["own", "mrcnn_mask", "conv1"]) == ["conv1", "mrcnn_mask", "own"]


def test_set_trainable_prints_them(tmp_path, capsys):
    from tests.matterport.small import SmallConfig

    model = modellib.MaskRCNN("training", SmallConfig(), str(tmp_path))
    model.set_trainable(modellib.LAYERS["heads"])
    assert capsys.readouterr().out == f"Selecting layers to train\n{HEADS}\n"
