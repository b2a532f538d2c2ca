"""`keras_model.summary()` against the arrays that matterport's own model of the same `Config` has."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from tests.matterport import golden_train
from tests.matterport.small import SmallConfig

ROW = re.compile(r"(\S+) \((\w+)\) +(\(.*?\)|\[.*) +(\d+)$")


def summary(model):
    """(rows by layer: (type, output shape, number of parameters), all lines)."""
    lines = []
    model.keras_model.summary(print_fn=lines.append)
    rows = [match.groups() for match in map(ROW.match, lines) if match]
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (kind, shape.strip(), int(count)) for name, kind, shape, count in rows}, lines


def test_layers_and_numbers_are_those_of_matterports_model(tmp_path):
    model = modellib.MaskRCNN("training", golden_train.config(), str(tmp_path))
    model.set_trainable(modellib.LAYERS["heads"], verbose=0)
    rows, lines = summary(model)
    theirs = {}
    for name, shape in golden_train.meta()["state"].items():
        layer = name.split("/")[0]
        layer = "rpn_model" if layer.startswith("rpn_") else layer
        theirs[layer] = theirs.get(layer, 0) + int(np.prod(shape))
    assert {name: count for name, (_, _, count) in rows.items() if count} == theirs
    total = sum(theirs.values())
    state, heads = golden_train.meta()["state"], golden_train.values()["trainable_heads"].tolist()
    trained = sum(int(np.prod(state[name])) for name in heads)
    assert total == 45_088_120 and 0 < trained < total
    assert lines[-3:] == [
        f"Total params: {total:,}", f"Trainable params: {trained:,}", f"Non-trainable params: {total - trained:,}",
    ]  # fmt: skip
    assert lines[0] == 'Model: "mask_rcnn"' and all(len(line) <= 98 for line in lines)
    assert rows["conv1"] == ("Conv2D", "(None, None, None, 64)", 9472)  # 7 x 7 x 3 x 64 + 64
    assert rows["res4f_out"] == ("Activation", "(None, None, None, 1024)", 0)
    assert rows["mrcnn_bbox_fc"] == ("TimeDistributed", "(None, 64, 324)", 332_100)
    assert rows["proposal_targets"][0] == "DetectionTargetLayer" and rows["mrcnn_mask_loss"][0] == "Lambda"
    assert not any(re.search(r"_\d+$", name) for name in rows)  # activation_1 and so on
    assert list(rows)[:3] == ["input_image", "conv1", "bn_conv1"] and "mrcnn_detection" not in rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return modellib.MaskRCNN("inference", SmallConfig(), str(tmp_path_factory.mktemp("logs")))


def test_the_layers_of_inference(model, capsys):
    rows, lines = summary(model)
    model.keras_model.summary(line_length=120, positions=[0.5, 0.8, 1])
    assert capsys.readouterr().out.splitlines() == lines
    assert rows["ROI"] == ("ProposalLayer", "(None, 20, 4)", 0)
    assert rows["mrcnn_detection"] == ("DetectionLayer", "(None, 10, 6)", 0)
    assert rows["mrcnn_mask"] == ("TimeDistributed", "(None, 10, 28, 28, 3)", 256 * 3 + 3)
    assert rows["fpn_p3upsampled"][0] == "UpSampling2D" and rows["fpn_p2add"][0] == "Add"
    assert rows["rpn_model"][0] == "Model" and "rpn_conv_shared" not in rows
    order = list(rows)
    assert order.index("mrcnn_detection") < order.index("roi_align_mask") < order.index("mrcnn_mask")
    assert not {"proposal_targets", "rpn_class_loss", "input_gt_boxes", "rpn_class_logits"} & set(rows)


@pytest.mark.slow
def test_shapes_are_those_of_the_tensors(model):
    rows, _ = summary(model)
    for name in ("input_image", "conv1", "res3d_out", "fpn_p6", "ROI", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask"):
        shape = tuple(model.keras_model.get_layer(name).output.shape)
        stated = tuple(None if side == "None" else int(side) for side in re.findall(r"None|\d+", rows[name][1]))
        assert len(shape) == len(stated) and all(a is None or a == b for a, b in zip(shape, stated, strict=True)), name


def test_a_backbone_of_the_scripts_own_is_listed_with_the_weights_it_has(tmp_path):
    def small(image, stage5=True, train_bn=None):
        maps, x = [None], keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(image)
        for width in (8, 16, 32, 64):
            x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=f"own{width}")(x)
            maps.append(x)
        return maps

    class OwnConfig(SmallConfig):
        BACKBONE = staticmethod(small)

    model = modellib.MaskRCNN("training", OwnConfig(), str(tmp_path))
    rows, lines = summary(model)
    assert rows["own16"][2] == 3 * 3 * 8 * 16 + 16 and rows["mrcnn_mask"][0] == "TimeDistributed"
    total = sum(int(np.prod(weight.shape)) for weight in model.keras_model.weights)
    assert lines[-3] == f"Total params: {total:,}"
