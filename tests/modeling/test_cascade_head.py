"""Cascade of box heads: what each stage sees, is trained on, and gives to the features and to the detections."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig, label_rois
from mrcnn.modeling.losses.sigmoid import ClassFederated
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.structures.tensors import Proposals, RoiSample
from tests.ground_truth import ground_truth, stack
from tests.reference import boxes as reference

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
NUM_CLASSES = 3
WINDOW = tf.constant([[0.0, 0.0, 64.0, 60.0]] * 2)
WEIGHTS = ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))


def head_of(**changes):
    config = CascadeBoxHeadConfig(**({"pool": RoiPoolConfig(size=2), "fc_dims": (6,)} | changes))
    head = config.build(NUM_CLASSES, RoiPooler(config.pool, STRIDES, 4))
    for stage in head.stages:  # deltas that move boxes by some pixels
        stage.deltas.kernel.assign(stage.deltas.kernel * 2000.0)
    return head


def features_of(rng, batch=2):
    return {k: tf.constant(rng.normal(size=(batch, 64 // s, 64 // s, 4)), tf.float32) for k, s in STRIDES.items()}


def random_boxes(rng, *shape):
    corner = rng.uniform(0, 40, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 24, (*shape, 2))], -1).astype(np.float32)


def test_config_and_names():
    head = head_of()
    names = {v.path.split("box_head/")[-1] for v in head.weights}
    layers = ("fc1", "class_logits", "deltas")
    assert names == {f"stage{k}/{layer}/{w}" for k in (1, 2, 3) for layer in layers for w in ("kernel", "bias")}
    assert head.config.loss_names == (
        "roi_class_1", "roi_box_1", "roi_class_2", "roi_box_2", "roi_class_3", "roi_box_3"
    )  # fmt: skip
    assert BoxHeadConfig.from_dict(head.config.to_dict()) == head.config
    with pytest.raises(ConfigError, match="got 2 and 3"):
        CascadeBoxHeadConfig(stage_ious=(0.5, 0.6))
    with pytest.raises(ConfigError, match="class_agnostic"):
        CascadeBoxHeadConfig(class_agnostic=False)


def test_each_stage_sees_what_the_one_before_made(rng):
    head, features = head_of(), features_of(rng)
    boxes, valid = random_boxes(rng, 2, 5), tf.constant(rng.random((2, 5)) < 0.8)
    detections = head(features, tf.constant(boxes), valid, WINDOW)
    np.testing.assert_array_equal(detections[0].boxes, boxes)
    np.testing.assert_array_equal(detections[0].valid, valid)
    for k in (1, 2):
        for b, s in np.ndindex(2, 5):
            before = detections[k - 1]
            delta = before.pred.deltas[b, s, :, 0].numpy().astype(float)
            expected = reference.decode(delta, before.boxes[b, s].numpy().astype(float), WEIGHTS[k - 1])
            expected = np.clip(expected, 0, [64, 60, 64, 60])
            np.testing.assert_allclose(detections[k].boxes[b, s], expected, atol=1e-3)
        sides = detections[k].boxes.numpy()[..., 2:] - detections[k].boxes.numpy()[..., :2]
        np.testing.assert_array_equal(detections[k].valid, detections[k - 1].valid & (sides > 0).all(-1))
        alone = head.stages[k](features, detections[k].boxes, detections[k].valid, WINDOW)
        np.testing.assert_allclose(detections[k].pred.class_logits, alone.class_logits, atol=1e-5)
    assert np.abs(detections[2].boxes - boxes).max() > 2


def test_features_see_the_mean_of_the_losses_and_weights_all_of_them(rng):
    head, features = head_of(), features_of(rng, 1)
    boxes, valid = tf.constant(random_boxes(rng, 1, 4)), tf.ones([1, 4], tf.bool)
    detections = head(features, boxes, valid, WINDOW[:1])
    variables = [stage.fcs[0].kernel for stage in head.stages]

    def gradients(run):
        with tf.GradientTape() as tape:
            tape.watch(features["p2"])
            total = tf.add_n([tf.reduce_sum(pred.class_logits**2) for pred in run()])
        return tape.gradient(total, [features["p2"], *(v.value for v in variables)])

    whole = gradients(lambda: [stage.pred for stage in head(features, boxes, valid, WINDOW[:1])])

    def plain_stages():
        plain = RoiPooler(head.config.pool, STRIDES, 4)
        result = []
        for stage, at in zip(head.stages, detections, strict=True):
            scaled, stage.pooler = stage.pooler, plain
            result.append(stage(features, at.boxes, at.valid, WINDOW[:1]))
            stage.pooler = scaled
        return result

    plain = gradients(plain_stages)
    np.testing.assert_allclose(whole[0], plain[0] / 3, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(whole[1:], plain[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_losses_match_each_stage_at_its_own_iou(rng):
    """Every stage alone, on its boxes labeled by the slow matcher."""
    head = head_of()
    ground_truths = [
        ground_truth([{"box": box, "class_id": k} for k, box in enumerate(random_boxes(rng, 3), start=1)]) for _ in "ab"
    ]
    boxes = np.stack([t["gt_boxes"][[0, 1, 2, 0, 1, 2]] for t in ground_truths]) + rng.normal(0, 1, (2, 6, 4)).astype(
        "f"
    )
    batch, valid = stack(ground_truths), tf.constant([[True] * 6, [True] * 4 + [False] * 2])
    detections = head(features_of(rng), tf.constant(boxes), valid, WINDOW)
    rois = label_rois(detections[0].boxes, valid, batch, 0.5)
    terms = head.loss(detections, head.targets(rois, batch), rois)
    assert tuple(terms) == head.config.loss_names
    for k, iou in enumerate((0.5, 0.6, 0.7)):
        class_ids, gt_index = np.zeros((2, 6), np.int32), np.zeros((2, 6), np.int32)
        for b, t in enumerate(ground_truths):
            index, labels, _ = reference.match(
                detections[k].boxes[b].numpy(), t["gt_boxes"], t["gt_valid"], t["gt_crowd"], iou, iou, False
            )
            gt_index[b] = index
            class_ids[b] = np.where(np.array(labels) == 1, t["gt_class_ids"][index], 0) * detections[k].valid[b].numpy()
        own = RoiSample(
            detections[k].boxes, tf.constant(class_ids), tf.constant(gt_index), class_ids > 0, detections[k].valid
        )
        expected = head.stages[k].loss(detections[k].pred, head.stages[k].targets(own, batch), own)
        for name in ("roi_class", "roi_box"):
            np.testing.assert_allclose(terms[f"{name}_{k + 1}"], expected[name], rtol=1e-5)


def test_labels_of_given_boxes_by_hand():
    batch = stack([ground_truth([{"box": (0, 0, 10, 10), "class_id": 2}, {"box": (20, 0, 60, 60), "crowd": True}])])
    boxes = tf.constant([[[0, 0, 10, 6.5], [0, 0, 10, 5.5], [30, 10, 40, 20], [0, 0, 10, 10]]], tf.float32)
    rois = label_rois(boxes, tf.constant([[True, True, True, False]]), batch, 0.6)
    np.testing.assert_array_equal(rois.class_ids, [[2, 0, 0, 0]])
    np.testing.assert_array_equal(rois.foreground, [[True, False, False, False]])
    np.testing.assert_array_equal(rois.valid, [[True, True, False, False]])  # the third lies in the crowd
    np.testing.assert_array_equal(rois.boxes, boxes)
    nothing = label_rois(boxes, tf.ones([1, 4], tf.bool), stack([ground_truth([])]), 0.5)
    assert not nothing.foreground.numpy().any()


def test_detections_take_mean_scores_and_last_boxes(rng):
    head = head_of(score_threshold=0.0, max_detections=6)
    boxes = tf.constant(random_boxes(rng, 2, 2))
    proposals = Proposals(boxes, tf.zeros([2, 2]), tf.constant([[True, True], [True, False]]))
    pred = head(features_of(rng), boxes, proposals.valid, WINDOW)
    detections = head.detect(pred, proposals, WINDOW)
    probs = np.mean([tf.nn.softmax(stage.pred.class_logits).numpy() for stage in pred], axis=0)
    last = head.stages[2].refine(pred[2].pred, pred[2].boxes, WINDOW).numpy()[:, :, 0]
    for d in np.flatnonzero(detections.valid[0]):
        p = int(np.abs(last[0] - detections.boxes[0, d]).sum(-1).argmin())
        np.testing.assert_allclose(detections.boxes[0, d], last[0, p], atol=1e-4)
        assert float(detections.scores[0, d]) == pytest.approx(probs[0, p, int(detections.class_ids[0, d])], abs=1e-5)
    assert detections.valid.numpy()[0].sum() >= 3
    assert detections.valid.numpy()[1].sum() <= 3


def test_mean_of_logits(rng):
    head = head_of(score_threshold=0.0, max_detections=6, scores="logits")
    boxes = tf.constant(random_boxes(rng, 1, 1))
    proposals = Proposals(boxes, tf.zeros([1, 1]), tf.constant([[True]]))
    pred = head(features_of(rng, 1), boxes, proposals.valid, WINDOW[:1])
    detections = head.detect(pred, proposals, WINDOW[:1])
    mean = np.mean([stage.pred.class_logits.numpy()[0, 0] for stage in pred], axis=0)
    probs = np.exp(mean) / np.exp(mean).sum()
    assert detections.valid.numpy().sum() == NUM_CLASSES
    for class_id, score in zip(detections.class_ids[0, :3], detections.scores[0, :3], strict=True):
        assert float(score) == pytest.approx(probs[int(class_id)], abs=1e-6)


def test_features_see_the_sum_where_asked(rng):
    features, boxes, valid = features_of(rng, 1), tf.constant(random_boxes(rng, 1, 3)), tf.ones([1, 3], tf.bool)
    mean, total = head_of(), head_of(feature_gradient="sum")
    for ours, theirs in zip(total.weights, mean.weights, strict=True):
        ours.assign(theirs)

    def gradient(head):
        with tf.GradientTape() as tape:
            tape.watch(features["p2"])
            loss = tf.add_n([tf.reduce_sum(s.pred.class_logits**2) for s in head(features, boxes, valid, WINDOW[:1])])
        return tape.gradient(loss, features["p2"])

    np.testing.assert_allclose(gradient(total), 3 * gradient(mean), rtol=1e-4, atol=1e-6)


def test_weights_of_stages_scale_their_terms(rng):
    plain, weighted = head_of(), head_of(stage_loss_weights=(1.0, 0.5, 0.25), loss_weight=2.0)
    for ours, theirs in zip(weighted.weights, plain.weights, strict=True):
        ours.assign(theirs)
    gt_boxes = random_boxes(rng, 2)
    batch = stack([ground_truth([{"box": box, "class_id": 1} for box in gt_boxes])])
    boxes, valid = tf.constant(gt_boxes[None] + 0.5), tf.ones([1, 2], tf.bool)
    rois = label_rois(boxes, valid, batch, 0.5)
    features = features_of(rng, 1)
    losses = [head.loss(head(features, boxes, valid, WINDOW[:1]), batch, rois) for head in (plain, weighted)]
    for k, factor in enumerate((2.0, 1.0, 0.5), start=1):
        for name in (f"roi_class_{k}", f"roi_box_{k}"):
            assert float(losses[1][name].total) == pytest.approx(factor * float(losses[0][name].total), rel=1e-5)
    with pytest.raises(ConfigError, match="expected none or 3, one per stage, got 2"):
        CascadeBoxHeadConfig(stage_loss_weights=(1.0, 0.5))


def test_stages_that_draw_let_the_true_boxes_leave_and_join_again(rng):
    """No RoI is left out, so a stage has all refined boxes that were no true ones, and the true ones as they are."""
    head = head_of(stage_rois="sample")
    head.sampler = RoiSamplerConfig(num_rois=16, positive_fraction=1.0)
    gt_boxes = random_boxes(rng, 3)
    batch = stack([ground_truth([{"box": box, "class_id": k} for k, box in enumerate(gt_boxes, start=1)])])
    boxes = np.concatenate([gt_boxes + rng.normal(0, 2, (3, 4)).astype("f"), random_boxes(rng, 2), gt_boxes])
    boxes, valid, seed = tf.constant(boxes[None]), tf.ones([1, 8], tf.bool), tf.constant([[3, 4]])
    targets = head.targets(label_rois(boxes, valid, batch, 0.5), batch)
    pred = head(features_of(rng, 1), boxes, valid, WINDOW[:1], training=True, seed=seed, targets=targets)
    stages = head.rois_of_stages(pred, targets, label_rois(boxes, valid, batch, 0.5))
    for k in (1, 2):
        own = stages[k]
        there = own.boxes.numpy()[0][own.valid.numpy()[0]]
        refined = head.stages[k - 1].refine(pred[k - 1].pred, pred[k - 1].boxes, WINDOW[:1]).numpy()[0, :, 0]
        old = pred[k - 1].boxes.numpy()[0]
        is_true = (old[:, None] == gt_boxes[None]).all(-1).any(-1)
        kept = refined[~is_true & pred[k - 1].valid.numpy()[0]]
        expected = np.concatenate([kept, gt_boxes])
        assert len(there) == len(expected) == 8
        np.testing.assert_allclose(there[np.lexsort(there.T)], expected[np.lexsort(expected.T)], atol=1e-4)
        iou = (0.5, 0.6, 0.7)[k]
        index, labels, _ = reference.match(there, gt_boxes, [True] * 3, [False] * 3, iou, iou, False)
        classes = np.where(np.array(labels) == 1, np.array(index) + 1, 0)
        np.testing.assert_array_equal(own.class_ids.numpy()[0][own.valid.numpy()[0]], classes)


@pytest.mark.parametrize("scores", ["probs", "logits"])
def test_sigmoids_of_the_stages_are_averaged(rng, scores):
    loss = ClassFederated(num_classes=2)
    head = head_of(activation="sigmoid", class_loss=loss, scores=scores, score_threshold=0.0, max_detections=3)
    boxes, valid = tf.constant([[[8.0, 8.0, 40.0, 40.0]]]), tf.ones([1, 1], tf.bool)
    pred = head({k: v[:1] for k, v in features_of(rng).items()}, boxes, valid, WINDOW[:1])
    detections = head.detect(pred, Proposals(boxes, tf.ones([1, 1]), valid), WINDOW[:1])
    logits = np.array([stage.pred.class_logits[0, 0, 1:] for stage in pred])
    one_by_one = 1 / (1 + np.exp(-logits))
    expected = one_by_one.mean(0) if scores == "probs" else 1 / (1 + np.exp(-logits.mean(0)))
    np.testing.assert_allclose(detections.scores[0], np.sort(expected)[::-1], rtol=1e-5)
