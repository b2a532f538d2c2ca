"""Tensors of matterport's graph by name, against the golden file and against `detect`."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from tests.golden.case import Golden
from tests.matterport.small import finding_model, small_dataset


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return finding_model(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def image():
    return small_dataset().load_image(0)


def test_the_stages_of_the_inspecting_notebook(model, image, capsys):
    layer = model.keras_model.get_layer
    pillar = layer("ROI").output
    nms = model.ancestor(pillar, "ROI/rpn_non_max_suppression:0")
    if nms is None:
        nms = model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV3:0")
    rpn = model.run_graph(
        [image],
        [
            ("rpn_class", layer("rpn_class").output),
            ("logits", layer("rpn_class_logits").output),
            ("pre_nms_anchors", model.ancestor(pillar, "ROI/pre_nms_anchors:0")),
            ("refined_anchors", model.ancestor(pillar, "ROI/refined_anchors:0")),
            ("refined_anchors_clipped", model.ancestor(pillar, "ROI/refined_anchors_clipped:0")),
            ("post_nms_anchor_ix", nms),
            ("proposals", layer("ROI").output),
        ],
    )
    assert list(rpn) == [
        "rpn_class", "logits", "pre_nms_anchors",
        "refined_anchors", "refined_anchors_clipped", "post_nms_anchor_ix", "proposals",
    ]  # fmt: skip
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in out] == list(rpn) and "shape: (1, 1023, 2)" in out[0]
    np.testing.assert_allclose(rpn["rpn_class"].sum(-1), 1, rtol=1e-5)
    # The best 50 anchors, the best first.
    best = np.argsort(rpn["logits"][0, :, 0] - rpn["logits"][0, :, 1], kind="stable")[:50]
    anchors = model.get_anchors((64, 64, 3))
    np.testing.assert_allclose(rpn["pre_nms_anchors"][0], anchors[best], atol=1e-5)
    np.testing.assert_allclose(rpn["refined_anchors_clipped"], np.clip(rpn["refined_anchors"], 0, 1), atol=1e-6)
    kept = rpn["post_nms_anchor_ix"]
    assert kept.ndim == 1 and 0 < len(kept) <= 20
    np.testing.assert_allclose(rpn["proposals"][0, : len(kept)], rpn["refined_anchors_clipped"][0, kept], atol=1e-6)
    assert not rpn["proposals"][0, len(kept) :].any()
    ours = utils.non_max_suppression(rpn["refined_anchors_clipped"][0], np.arange(50, 0, -1), 0.7)
    np.testing.assert_array_equal(kept, ours[:20])
    assert model.ancestor(pillar, "mrcnn_mask/Sigmoid:0") is None


def test_heads_and_detections(model, image):
    layer = model.keras_model.get_layer
    names = ("ROI", "mrcnn_class", "mrcnn_class_logits", "mrcnn_bbox", "mrcnn_detection", "mrcnn_mask")
    detections = model.run_graph([image], [(name, layer(name).output) for name in names])
    assert detections["mrcnn_class"].shape == (1, 20, 3) and detections["mrcnn_bbox"].shape == (1, 20, 3, 4)
    np.testing.assert_allclose(detections["mrcnn_class"].sum(-1), 1, rtol=1e-5)
    assert detections["mrcnn_detection"].shape == (1, 10, 6) and detections["mrcnn_mask"].shape == (1, 10, 28, 28, 3)
    result = model.detect([image])[0]
    assert len(result["rois"])
    _, metas, windows = model.mold_inputs([image])
    boxes, class_ids, scores, masks = model.unmold_detections(
        detections["mrcnn_detection"][0], detections["mrcnn_mask"][0], image.shape, (64, 64, 3), windows[0]
    )
    np.testing.assert_array_equal(boxes, result["rois"])
    np.testing.assert_array_equal(class_ids, result["class_ids"])
    np.testing.assert_allclose(scores, result["scores"], rtol=1e-4)
    assert np.mean(masks != result["masks"]) < 1e-3
    molded, _, _ = model.mold_inputs([image])
    again = model.run_graph(molded, [("scores", layer("mrcnn_detection").output)], metas)
    np.testing.assert_allclose(again["scores"], detections["mrcnn_detection"], rtol=1e-4, atol=1e-5)


def test_activations_inside_the_backbone(model, image):
    layer = model.keras_model.get_layer
    names = ["input_image", "conv1", "res2c_out", "res3c_out", "res4f_out", "fpn_p2", "fpn_p6", "rpn_bbox"]
    detections = model.run_graph([image], [(name, layer(name).output) for name in names])
    sides = [detections[name].shape[1] for name in names]
    assert sides == [64, 32, 16, 8, 4, 16, 1, 1023] and detections["res4f_out"].shape[-1] == 1024
    np.testing.assert_allclose(detections["input_image"], model.mold_inputs([image])[0], atol=1e-4)
    kernel = layer("conv1").get_weights()[0]
    molded = np.pad(detections["input_image"][0], ((3, 3), (3, 3), (0, 0)))
    at = molded[2 * 5 : 2 * 5 + 7, 2 * 9 : 2 * 9 + 7]  # row 5, column 9 at stride 2
    np.testing.assert_allclose(detections["conv1"][0, 5, 9], np.einsum("yxc,yxco->o", at, kernel), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"activation_1.*res2a_out"):
        layer("activation_1")


def test_keras_models_on_its_tensors(model, image):
    keras_model = model.keras_model
    molded, metas, _ = model.mold_inputs([image])
    anchors = model.get_anchors(molded[0].shape)[None]
    inner = keras.Model(inputs=keras_model.input, outputs=keras_model.get_layer("res2c_out").output)
    assert inner.predict([molded, metas, anchors], verbose=0).shape == (1, 16, 16, 256)
    assert len(keras_model.inputs) == 3 and len(keras_model.outputs) == 7
    values = keras_model.predict([molded, metas, anchors])
    assert [value.shape[1] for value in values] == [10, 20, 20, 10, 20, 1023, 1023]
    first_four = keras.Model(keras_model.inputs, keras_model.outputs[:4])
    for a, b in zip(first_four([molded, metas, anchors]), values, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_layers_by_name_hold_the_weights(model):
    conv = model.keras_model.get_layer("res2a_branch2a")
    kernel, bias = conv.get_weights()
    assert kernel.shape == (1, 1, 64, 64) and bias.shape == (64,)
    conv.set_weights([kernel + 1, bias])
    np.testing.assert_array_equal(model.keras_model.backbone.get_layer("stage2_block1_conv1").kernel, kernel + 1)
    conv.set_weights([kernel, bias])
    conv.trainable = False
    assert not conv.trainable and not conv.trainable_weights and "res2a_branch2a" in repr(conv)
    conv.trainable = True
    assert model.keras_model.get_layer("backbone") is model.keras_model.backbone
    assert model.keras_model.get_layer("ROI").get_weights() == []


@pytest.mark.slow
def test_against_matterports_own_numbers(tmp_path):
    golden = Golden("mp_mask_r50")

    class Coco(Config):
        NAME = "coco"
        BACKBONE = "resnet50"
        IMAGES_PER_GPU = 1
        NUM_CLASSES = 81
        IMAGE_MIN_DIM, IMAGE_MAX_DIM = 320, 512
        DETECTION_MIN_CONFIDENCE = 0.05

    model = modellib.MaskRCNN(mode="inference", model_dir=str(tmp_path), config=Coco())
    model.load_weights(str(golden.write_checkpoint(tmp_path)), by_name=True)
    layer = model.keras_model.get_layer
    names = ("fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5", "fpn_p6", "rpn_class", "rpn_bbox", "ROI")
    # As resized by the reference: exact ties of the resize are tested with it, not here
    image = golden.resized_image(model.keras_model.config.input)
    detections = model.run_graph([image], [(name, layer(name).output) for name in names])
    for name in names[:-1]:
        golden.assert_tap(name, detections[name])
    theirs = golden["proposals_yxyx_normalised"]
    np.testing.assert_allclose(detections["ROI"][0, 0], theirs[0], atol=1e-3)
    near = np.abs(theirs[:, None] - detections["ROI"][0][None]).max(-1).min(1)
    assert np.mean(near < 2e-3) >= 0.98
