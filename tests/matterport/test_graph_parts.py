"""matterport's layers and losses in models of a script's own, against the whole model and against numbers by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import model as modellib
from mrcnn import utils
from tests.matterport.small import SmallConfig, finding_model, small_dataset


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return finding_model(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def values(model):
    """What the whole model computes on one image, and what went in."""
    image = small_dataset().load_image(0)
    names = (
        "rpn_class", "rpn_bbox", "ROI", "mrcnn_class", "mrcnn_bbox", "mrcnn_detection", "roi_align_classifier",
        "fpn_p2", "fpn_p3", "fpn_p4", "fpn_p5",
    )  # fmt: skip
    layer = model.keras_model.get_layer
    result = model.run_graph([image], [(name, layer(name).output) for name in names])
    _, metas, _ = model.mold_inputs([image])
    return dict(result) | {"meta": metas.astype(np.float32), "anchors": model.get_anchors((64, 64, 3))[None]}


def test_proposal_layer(model, values):
    layer = modellib.ProposalLayer(proposal_count=20, nms_threshold=0.7, name="ROI", config=model.config)
    rois = layer([values["rpn_class"], values["rpn_bbox"], values["anchors"].astype(np.float32)])
    np.testing.assert_allclose(rois, values["ROI"], atol=1e-5)


def test_pyramid_roi_align(values):
    maps = [values[f"fpn_p{level}"] for level in (2, 3, 4, 5)]
    pooled = modellib.PyramidROIAlign([7, 7], name="roi_align")([values["ROI"], values["meta"], *maps])
    assert pooled.shape == (1, 20, 7, 7, 16)
    np.testing.assert_allclose(pooled, values["roi_align_classifier"], rtol=1e-4, atol=1e-4)


def test_detection_layer(model, values):
    inputs = [values["ROI"], values["mrcnn_class"], values["mrcnn_bbox"], values["meta"]]
    result = modellib.DetectionLayer(model.config, name="mrcnn_detection")(inputs)
    np.testing.assert_allclose(result, values["mrcnn_detection"], atol=1e-5)
    window = modellib.norm_boxes_graph(values["meta"][0, 7:11], values["meta"][0, 4:6])
    one = modellib.refine_detections_graph(*(tf.constant(x[0]) for x in inputs[:3]), window, model.config)
    np.testing.assert_allclose(one, result[0], atol=1e-6)


def test_detection_target_layer():
    config = SmallConfig()
    config.USE_MINI_MASK = False
    gt_boxes = np.float32([[[0.1, 0.1, 0.5, 0.5], [0, 0, 0, 0]]])
    masks = np.zeros((1, 64, 64, 2), np.float32)
    masks[0, 6:32, 6:19, 0] = 1  # the left half of the box
    proposals = np.float32([[[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9], [0.1, 0.1, 0.5, 0.45], [0, 0, 0, 0]]])
    layer = modellib.DetectionTargetLayer(config, name="proposal_targets")
    rois, class_ids, deltas, targets = layer([proposals, np.int32([[2, 0]]), gt_boxes, masks])
    assert rois.shape == (1, 9, 4) and targets.shape == (1, 9, 28, 28)
    order = np.argsort(-rois[0, :2, 3])
    assert class_ids[0].numpy().tolist() == [2, 2, 0, 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(np.asarray(rois)[0, :2][order], proposals[0, [0, 2]], atol=1e-6)
    np.testing.assert_allclose(rois[0, 2], proposals[0, 1], atol=1e-6)
    assert not np.asarray(rois)[0, 3:].any()
    # (0.1, 0.45) to (0.1, 0.5): the center moves by 0.025 of 0.35, in units of a deviation of 0.1 and 0.2.
    np.testing.assert_allclose(
        np.asarray(deltas)[0, :2][order][1], [0, 0.025 / 0.35 / 0.1, 0, np.log(0.4 / 0.35) / 0.2], atol=1e-5
    )
    left = np.asarray(targets)[0, :2][order][0]
    assert left[:, :13].mean() > 0.9 and left[:, 15:].mean() == 0
    pieces = [tf.constant(x[0]) for x in (proposals, np.int32([[2, 0]]), gt_boxes, masks)]
    assert modellib.detection_targets_graph(*pieces, config)[1].numpy().tolist() == class_ids[0].numpy().tolist()


def test_networks_of_a_scripts_own_train():
    config = SmallConfig()
    image = keras.Input((64, 64, 3))
    meta = keras.Input((config.IMAGE_META_SIZE,))
    rois = keras.Input((4, 4))
    c1, *maps = modellib.resnet_graph(image, "resnet50", stage5=True, train_bn=False)
    assert tuple(c1.shape) == (None, 16, 16, 64) and [m.shape[-1] for m in maps] == [256, 512, 1024, 2048]
    assert modellib.resnet_graph(image, "resnet101", stage5=False, train_bn=False)[4] is None
    pyramid = [keras.layers.Conv2D(16, 1)(m) for m in maps]
    pyramid = [modellib.BatchNorm(name=f"bn{i}")(m, training=False) for i, m in enumerate(pyramid)]
    logits, probs, deltas = modellib.fpn_classifier_graph(rois, pyramid, meta, 7, 3, train_bn=False, fc_layers_size=8)
    masks = modellib.build_fpn_mask_graph(rois, pyramid, meta, 14, 3, train_bn=False)
    rpn = modellib.build_rpn_model(1, 3, 16)
    rpn_logits, rpn_class, rpn_bbox = rpn(pyramid[2])
    made = keras.Model([image, meta, rois], [logits, probs, deltas, masks, rpn_logits, rpn_class, rpn_bbox])
    row = modellib.compose_image_meta(0, (64, 64, 3), (64, 64, 3), (0, 0, 64, 64), 1, [1, 1, 1])
    boxes = np.float32([[[0, 0, 0.5, 0.5], [0.2, 0.2, 1, 1], [0.5, 0, 1, 0.5], [0, 0, 0, 0]]])
    inputs = [np.random.default_rng(0).uniform(-100, 100, (1, 64, 64, 3)).astype(np.float32), row[None], boxes]
    inputs[1] = inputs[1].astype(np.float32)
    with tf.GradientTape() as tape:
        result = made(inputs)
        loss = tf.add_n([tf.reduce_sum(value**2) for value in result])
    assert [tuple(v.shape) for v in result] == [
        (1, 4, 3), (1, 4, 3), (1, 4, 3, 4), (1, 4, 28, 28, 3), (1, 48, 2), (1, 48, 2), (1, 48, 4),
    ]  # fmt: skip
    gradients = tape.gradient(loss, made.trainable_variables)
    heads = [v.path for v, g in zip(made.trainable_variables, gradients, strict=True) if g is not None]
    for part in ("mrcnn_classifier", "mrcnn_masks", "rpn"):
        assert any(part in path for path in heads), part
    assert len(modellib.rpn_graph(pyramid[0], 3, 1)) == 3
    with pytest.raises(ValueError, match="anchor_stride"):
        modellib.build_rpn_model(2, 3, 16)


def test_blocks():
    x = keras.Input((16, 16, 64))
    y = modellib.conv_block(x, 3, [64, 64, 256], stage=2, block="a", strides=(1, 1), train_bn=False)
    y = modellib.identity_block(y, 3, [64, 64, 256], stage=2, block="b", train_bn=False)
    assert tuple(y.shape) == (None, 16, 16, 256)
    with pytest.raises(ValueError, match="res2c"):
        modellib.identity_block(y, 5, [64, 64, 256], stage=2, block="c")


def test_losses_by_hand():
    match = np.array([[[1], [-1], [0], [1]]], np.int32)
    logits = np.float32([[[0, 2], [0, 2], [9, 9], [0, 0]]])
    expected = np.mean([np.log1p(np.exp(-2)), np.log1p(np.exp(2)), np.log(2)])
    assert float(modellib.rpn_class_loss_graph(match, logits)) == pytest.approx(expected, rel=1e-5)
    config = SmallConfig()
    target = np.float32([[[0.5, 0, 0, 0], [2, 0, 0, 0], [9, 9, 9, 9]]])
    pred = np.zeros((1, 4, 4), np.float32)
    expected = (0.5 * 0.25 + 1.5) / 8
    assert float(modellib.rpn_bbox_loss_graph(config, target, match, pred)) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(modellib.smooth_l1_loss(np.float32([0, 0]), np.float32([0.5, 3])), [0.125, 2.5])

    ids = np.array([[2, 0, 1]], np.int32)
    class_logits = np.float32([[[0, 0, 3], [0, 5, 0], [0, 0, 0]]])
    active = np.int32([[1, 0, 1]])  # class 1 is of another source, so the second RoI does not count
    first, third = np.log(np.exp(3) + 2) - 3, np.log(3)
    loss = modellib.mrcnn_class_loss_graph(ids, class_logits, active)
    assert float(loss) == pytest.approx((first + third) / 2, rel=1e-5)
    boxes, own = np.zeros((1, 3, 4), np.float32), np.zeros((1, 3, 3, 4), np.float32)
    own[0, 0, 2], own[0, 0, 1] = 1, 9
    assert float(modellib.mrcnn_bbox_loss_graph(boxes, ids, own)) == pytest.approx(4 * 0.5 / 8, rel=1e-5)
    masks, probs = np.ones((1, 3, 2, 2), np.float32), np.full((1, 3, 2, 2, 3), 0.5, np.float32)
    probs[0, 0, :, :, 2] = 0.25
    expected = -(np.log(0.25) + np.log(0.5)) / 2
    assert float(modellib.mrcnn_mask_loss_graph(masks, ids, probs)) == pytest.approx(expected, rel=1e-5)
    nothing = np.zeros((1, 3), np.int32)
    assert float(modellib.mrcnn_mask_loss_graph(masks, nothing, probs)) == 0
    assert float(modellib.mrcnn_bbox_loss_graph(boxes, nothing, own)) == 0


def test_small_functions():
    boxes = np.float32([[0, 0, 33, 65], [0, 0, 0, 0], [10, 10, 20, 20]])
    normal = modellib.norm_boxes_graph(boxes, tf.constant([65, 65]))
    np.testing.assert_allclose(normal, utils.norm_boxes(boxes, (65, 65)), atol=1e-6)
    np.testing.assert_array_equal(modellib.denorm_boxes_graph(normal, tf.constant([65, 65])), boxes)
    clipped = modellib.clip_boxes_graph(boxes, tf.constant([5.0, 5, 30, 30]))
    np.testing.assert_array_equal(clipped, [[5, 5, 30, 30], [5, 5, 5, 5], [10, 10, 20, 20]])
    deltas = np.float32([[0.1, 0, 0, 0], [0, 0, 0, 0], [0, 0, np.log(2), 0]])
    moved = modellib.apply_box_deltas_graph(boxes, deltas)
    np.testing.assert_allclose(moved, utils.apply_box_deltas(boxes, deltas), atol=1e-5)
    np.testing.assert_allclose(modellib.overlaps_graph(boxes, boxes[:1])[0], [1.0])
    assert float(modellib.log2_graph(8.0)) == pytest.approx(3)
    rows, filled = modellib.trim_zeros_graph(boxes)
    np.testing.assert_array_equal(rows, boxes[[0, 2]])
    assert filled.numpy().tolist() == [True, False, True]
    packed = modellib.batch_pack_graph(tf.reshape(tf.range(8), [2, 4]), tf.constant([1, 3]), 2)
    assert packed.numpy().tolist() == [0, 4, 5, 6]
