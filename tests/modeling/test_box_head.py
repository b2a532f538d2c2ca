"""Class and refined box of each RoI; losses by hand and by plain loops; detections."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.base import select_class
from mrcnn.modeling.heads.box import BoxHeadConfig, BoxPrediction, BoxTarget
from mrcnn.modeling.layers import norm_of_rois
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy
from mrcnn.modeling.losses.sigmoid import ClassSigmoidCrossEntropy
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.normalize import make_norm
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.structures.tensors import Proposals, RoiSample
from tests.ground_truth import ground_truth, stack
from tests.reference import boxes as reference
from tests.reference import losses as slow

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
SMALL = {"pool": RoiPoolConfig(size=3), "fc_dims": (8,)}
NUM_CLASSES = 3
WINDOW = tf.constant([[0.0, 0.0, 64.0, 64.0]] * 2)


def head_of(num_classes=NUM_CLASSES, **changes):
    config = BoxHeadConfig(**(SMALL | changes))
    return config.build(num_classes, RoiPooler(config.pool, STRIDES, 4))


def features_of(rng, height=64, width=64, batch=2):
    return {
        level: tf.constant(rng.normal(size=(batch, height // s, width // s, 4)).astype(np.float32))
        for level, s in STRIDES.items()
    }


def random_boxes(rng, *shape):
    corner = rng.uniform(0, 40, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 24, (*shape, 2))], -1).astype(np.float32)


def rois_of(class_ids, valid=None, boxes=None, gt_index=None):
    """RoIs of given classes, arrays [B, S]; class 0 is background."""
    class_ids = np.asarray(class_ids, np.int32)
    valid = np.ones(class_ids.shape, bool) if valid is None else np.asarray(valid)
    boxes = np.zeros((*class_ids.shape, 4)) if boxes is None else boxes
    gt_index = np.zeros_like(class_ids) if gt_index is None else np.asarray(gt_index, np.int32)
    fields = (np.asarray(boxes, np.float32), class_ids, gt_index, class_ids > 0, valid)
    return RoiSample(*(tf.constant(field) for field in fields))


def values(terms):
    return {name: float(term.mean()) for name, term in terms.items()}


# Predictions


def test_prediction_of_a_roi_depends_on_that_roi_only(rng):
    head = head_of()
    features, boxes, valid = features_of(rng), random_boxes(rng, 2, 5), tf.ones([2, 5], tf.bool)
    expected = head(features, tf.constant(boxes), valid, WINDOW)
    order = rng.permutation(5)
    result = head(features, tf.constant(boxes[:, order]), valid, WINDOW)
    np.testing.assert_allclose(result.class_logits, expected.class_logits.numpy()[:, order], atol=1e-5)
    np.testing.assert_allclose(result.deltas, expected.deltas.numpy()[:, order], atol=1e-5)
    second = head({k: v[1:] for k, v in features.items()}, tf.constant(boxes[1:]), valid[1:], WINDOW[1:])
    np.testing.assert_allclose(second.class_logits[0], expected.class_logits[1], atol=1e-5)


def test_paper_sized_head_has_the_papers_weights():
    config = BoxHeadConfig()
    head = config.build(80, RoiPooler(config.pool, STRIDES, 256))
    shapes = {v.path.split("box_head/")[-1]: tuple(v.shape) for v in head.weights}
    assert shapes == {
        "fc1/kernel": (7 * 7 * 256, 1024),
        "fc1/bias": (1024,),
        "fc2/kernel": (1024, 1024),
        "fc2/bias": (1024,),
        "class_logits/kernel": (1024, 81),
        "class_logits/bias": (81,),
        "deltas/kernel": (1024, 320),
        "deltas/bias": (320,),
    }
    assert 0.009 < head.class_logits.kernel.numpy().std() < 0.011
    assert 0.0009 < head.deltas.kernel.numpy().std() < 0.0011


def test_boxes_stay_float32_under_half_precision(rng):
    """A coordinate of 1001 is 1000 in bfloat16; the head must pool from the given box."""
    seen = []

    class Pooler(RoiPooler):
        def __call__(self, features, boxes, valid, training=None):
            seen.append((features["p2"].dtype, boxes.dtype, boxes.numpy().tolist()))
            return tf.zeros([1, 1, 3, 3, 4], features["p2"].dtype)

    features = {k: tf.cast(v, tf.bfloat16) for k, v in features_of(rng, batch=1).items()}
    box = [1.0, 257.0, 601.0, 1001.0]
    config = BoxHeadConfig(**SMALL)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        head = config.build(NUM_CLASSES, Pooler(config.pool, STRIDES, 4))
        pred = head(features, tf.constant([[box]]), tf.ones([1, 1], tf.bool), WINDOW[:1])
    finally:
        keras.config.set_dtype_policy(before)
    assert seen == [(tf.bfloat16, tf.float32, [[box]])]
    assert pred.class_logits.dtype == pred.deltas.dtype == tf.float32


def test_normed_layers_without_fc_bias(rng):
    """Every fully connected layer, then its norm, then ReLU; the output layers keep their bias."""
    head = head_of(fc_dims=(6, 5), fc_norm="frozen_bn", norm_epsilon=0.5)
    names = {v.path.split("box_head/")[-1] for v in head.weights}
    norm = {"gamma", "beta", "moving_mean", "moving_variance"}
    expected = {f"fc{i}_norm/{w}" for i in (1, 2) for w in norm} | {"fc1/kernel", "fc2/kernel"}
    assert names == expected | {f"{layer}/{w}" for layer in ("class_logits", "deltas") for w in ("kernel", "bias")}
    for variable in head.weights:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape) * (0.1 if "kernel" in variable.path else 1.0))
    features, boxes, valid = features_of(rng), tf.constant(random_boxes(rng, 2, 3)), tf.ones([2, 3], tf.bool)
    x = head.pooler(features, boxes, valid).numpy().reshape(6, -1)
    for fc, layer in zip(head.fcs, head.fc_norms, strict=True):
        gamma, beta, mean, variance = (
            w.numpy() for w in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        )
        x = np.maximum((x @ fc.kernel.numpy() - mean) / np.sqrt(variance + 0.5) * gamma + beta, 0)
    expected = x @ head.class_logits.kernel.numpy() + head.class_logits.bias.numpy()
    np.testing.assert_allclose(
        head(features, boxes, valid, WINDOW).class_logits.numpy().reshape(6, -1), expected, rtol=1e-4
    )


def test_mean_over_bins_feeds_the_outputs_directly(rng):
    head = head_of(fc_dims=(), reduce="mean")
    assert tuple(head.class_logits.kernel.shape) == (4, NUM_CLASSES + 1)
    features, boxes, valid = features_of(rng), tf.constant(random_boxes(rng, 2, 3)), tf.ones([2, 3], tf.bool)
    pooled = head.pooler(features, boxes, valid).numpy().mean((2, 3))
    result = head(features, boxes, valid, WINDOW)
    np.testing.assert_allclose(result.class_logits, pooled @ head.class_logits.kernel.numpy(), atol=1e-6)


# Batch statistics


@pytest.mark.parametrize("layers", [{"conv_dims": (3,), "conv_norm": "bn"}, {"fc_norm": "bn"}])
def test_batch_statistics_are_those_of_the_valid_rois(rng, layers):
    """What lies in padding entries, and how many there are, changes nothing; not even the moving statistics."""
    features, boxes = features_of(rng), random_boxes(rng, 2, 6)
    results = []
    for padding in (0, 2):
        keras.utils.set_random_seed(1)
        head = head_of(**layers)
        shown = boxes[:, : 4 + padding]
        valid = np.broadcast_to(np.arange(4 + padding) < 4, shown.shape[:2])
        pred = head(features, tf.constant(shown), tf.constant(valid), WINDOW, training=True)
        results.append([pred.class_logits[:, :4], *(v.numpy() for v in head.weights if "moving" in v.path)])
    assert len(results[0]) == 3
    for alone, padded in zip(*results, strict=True):
        np.testing.assert_allclose(padded, alone, atol=1e-5)


def test_batch_norm_by_hand():
    norm = make_norm("bn", 0.25, momentum=0.9)
    norm.build((None, 2))
    x = tf.constant([[1.0, 0.0], [5.0, 0.0], [99.0, 7.0]])
    result = norm_of_rois(norm, x, tf.constant([True, True, False]), training=True)
    np.testing.assert_allclose(result[:2], [[-2 / 4.25**0.5, 0], [2 / 4.25**0.5, 0]], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_mean, [0.3, 0.0], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, [0.9 + 0.4, 0.9], rtol=1e-5)
    # Without any valid RoI no statistics move; in inference the moving statistics are used
    norm_of_rois(norm, x, tf.zeros([3], tf.bool), training=True)
    np.testing.assert_allclose(norm.moving_mean, [0.3, 0.0], rtol=1e-5)
    result = norm_of_rois(norm, x, tf.ones([3], tf.bool), training=False)
    np.testing.assert_allclose(result[0, 0], (1 - 0.3) / (1.3 + 0.25) ** 0.5, rtol=1e-5)


# Targets and losses


def test_targets_by_hand():
    """A RoI of side 10 moved by 2 and enlarged twofold, weights 10, 10, 5, 5."""
    batch = stack([ground_truth([{"box": (0, 0, 1, 1)}, {"box": (12, 10, 22, 30), "class_id": 2}])])
    rois = rois_of([[2, 0]], boxes=[[[10, 15, 20, 25], [0, 0, 4, 4]]], gt_index=[[1, 0]])
    targets = head_of().targets(rois, batch)
    np.testing.assert_array_equal(targets.class_ids, [[2, 0]])
    np.testing.assert_allclose(targets.deltas[0, 0], [2.0, 0.0, 0.0, 5 * math.log(2)], atol=1e-5)


def test_losses_by_hand():
    """Two RoIs count for the class, one for the box; both are divided by 2, the RoIs there are."""
    logits = np.array([[[0.0, math.log(3.0), 0.0, -99.0], [0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]], np.float32)
    deltas = np.full((1, 3, 4, 3), 55.0, np.float32)
    deltas[0, 0, :, 0] = [1.5, 0.0, 0.0, -0.5]  # of class 1
    pred = BoxPrediction(tf.constant(logits), tf.constant(deltas))
    rois = rois_of([[1, 0, 0]], valid=[[True, True, False]])
    result = values(head_of().loss(pred, BoxTarget(rois.class_ids, tf.constant([[[1.0, 0, 0, 1.0]] * 3])), rois))
    class_loss = math.log(5 / 3) + math.log(4)
    box_loss = 0.5 * 0.5**2 + (1.5 - 0.5)
    assert result == {"roi_class": pytest.approx(class_loss / 2), "roi_box": pytest.approx(box_loss / 2)}


def test_focal_and_weighted_class_loss_by_hand():
    """Probabilities of the true classes 1/2 (class 1), 1/4 (background) and, not valid, something else."""
    logits = np.log([[[1 / 4, 1 / 2, 1 / 8, 1 / 8], [1 / 4, 1 / 4, 1 / 4, 1 / 4], [1, 1e-3, 1e-3, 1e-3]]])
    rois = rois_of([[1, 0, 2]], valid=[[True, True, False]])
    pred = BoxPrediction(tf.constant(logits, tf.float32), tf.zeros([1, 3, 4, 3]))
    of_class, of_background = math.log(2), math.log(4)
    for config, expected in (
        ({"class_weights": (0.5, 3.0, 100.0, 7.0)}, 3 * of_class + 0.5 * of_background),
        ({"focal_gamma": 2.0}, 0.5**2 * of_class + 0.75**2 * of_background),
        ({"focal_gamma": 1.0, "class_weights": (1.0, 2.0, 1.0, 1.0)}, 2 * 0.5 * of_class + 0.75 * of_background),
    ):
        result = values(
            head_of(class_loss=ClassCrossEntropy(**config)).loss(
                pred, BoxTarget(rois.class_ids, tf.zeros([1, 3, 4])), rois
            )
        )
        assert result["roi_class"] == pytest.approx(expected / 2, rel=1e-5), config


def test_class_weights_and_gamma_are_checked():
    with pytest.raises(ConfigError, match=r"class_weights: expected 4, background first .*, got 3"):
        head_of(class_loss=ClassCrossEntropy(class_weights=(1.0, 2.0, 3.0)))
    with pytest.raises(ConfigError, match="class_weights: expected numbers from 0"):
        ClassCrossEntropy(class_weights=(1.0, -2.0, 3.0, 1.0))
    with pytest.raises(ConfigError, match="focal_gamma: expected at least 0"):
        ClassCrossEntropy(focal_gamma=-1.0)


@pytest.mark.parametrize("beta", [1.0, 0.1])
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_losses_equal_the_slow_ones(rng, beta, class_agnostic):
    class_ids = rng.integers(0, NUM_CLASSES + 1, (2, 7))
    valid = np.arange(7) < np.array([[7], [4]])
    class_ids = np.where(valid, class_ids, 0)
    class_ids[:, 0] = 3
    logits = rng.normal(size=(2, 7, 4)).astype(np.float32)
    deltas = rng.normal(size=(2, 7, 4, 1 if class_agnostic else 3)).astype(np.float32)
    boxes, gt_index = random_boxes(rng, 2, 7), rng.integers(0, 4, (2, 7))
    ground_truths = [ground_truth([{"box": box} for box in random_boxes(rng, 4)]) for _ in range(2)]
    head = head_of(box_loss=SmoothL1(beta), class_agnostic=class_agnostic, loss_weight=2.0)
    rois = rois_of(class_ids, valid, boxes, gt_index)
    pred = BoxPrediction(tf.constant(logits), tf.constant(deltas))
    result = values(head.loss(pred, head.targets(rois, stack(ground_truths)), rois))
    by_class = by_box = 0.0
    for b, s in np.argwhere(valid):
        k = class_ids[b, s]
        by_class += slow.softmax_cross_entropy(logits[b, s], k)
        if k > 0:
            target = reference.encode(ground_truths[b]["gt_boxes"][gt_index[b, s]], boxes[b, s], (10, 10, 5, 5))
            ours = deltas[b, s, :, 0 if class_agnostic else k - 1]
            by_box += sum(slow.smooth_l1(p, t, beta) for p, t in zip(ours, target, strict=True))
    assert result == {
        "roi_class": pytest.approx(2 * by_class / 11, rel=1e-4),
        "roi_box": pytest.approx(2 * by_box / 11, rel=1e-4),
    }


def test_gradient_reaches_the_true_class_of_foreground_only(rng):
    class_ids, valid = np.array([[2, 1, 0, 0]]), np.array([[True, True, True, False]])
    logits, deltas = (tf.constant(rng.normal(size=s), tf.float32) for s in ((1, 4, 4), (1, 4, 4, 3)))
    head, rois = head_of(), rois_of(class_ids, valid)
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        terms = head.loss(BoxPrediction(logits, deltas), BoxTarget(rois.class_ids, tf.zeros([1, 4, 4])), rois)
        total = tf.add_n([t.mean() for t in terms.values()])
    by_logit, by_delta = (g.numpy()[0] for g in tape.gradient(total, [logits, deltas]))
    np.testing.assert_array_equal((by_logit != 0).all(-1), valid[0])
    expected = np.zeros((4, 4, 3), bool)
    expected[0, :, 1] = expected[1, :, 0] = True
    np.testing.assert_array_equal(by_delta != 0, expected)


def test_no_roi_at_all_is_zero_not_nan():
    rois = rois_of(np.zeros((2, 3)), valid=np.zeros((2, 3), bool))
    head, batch = head_of(), stack([ground_truth([]), ground_truth([])])
    pred = BoxPrediction(tf.zeros([2, 3, 4]), tf.zeros([2, 3, 4, 3]))
    assert values(head.loss(pred, head.targets(rois, batch), rois)) == {"roi_class": 0.0, "roi_box": 0.0}


def test_select_class_is_indexing(rng):
    x, k = rng.normal(size=(2, 3, 5, 4)).astype(np.float32), rng.integers(0, 4, (2, 3))
    expected = np.stack([[x[b, s, ..., k[b, s]] for s in range(3)] for b in range(2)])
    np.testing.assert_array_equal(select_class(tf.constant(x), tf.constant(k, tf.int32)), expected)
    np.testing.assert_array_equal(select_class(tf.constant(x[..., :1]), tf.constant(k, tf.int32)), x[..., 0])


# Detections


def logits_for(probs):
    """Logits whose softmax gives these class probabilities [..., C]; the rest is background."""
    probs = np.asarray(probs, np.float64)
    background = 1 - probs.sum(-1, keepdims=True)
    return np.log(np.maximum(np.concatenate([background, probs], -1), 1e-12)).astype(np.float32)


def detect(head, probs, boxes, deltas=None, valid=None, content=((64, 64),)):
    logits, boxes = tf.constant(logits_for(probs)), tf.constant(np.asarray(boxes, np.float32))
    batch, num = np.shape(probs)[:2]
    deltas = np.zeros((batch, num, 4, head.num_boxes)) if deltas is None else deltas
    valid = np.ones((batch, num), bool) if valid is None else np.asarray(valid)
    proposals = Proposals(boxes, tf.zeros([batch, num]), tf.constant(valid))
    pred = BoxPrediction(logits, tf.constant(np.asarray(deltas, np.float32)))
    content = np.asarray(content, np.float32)
    return head.detect(pred, proposals, tf.constant(np.concatenate([np.zeros_like(content), content], -1)))


def test_detections_by_hand():
    boxes = [[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [50, 50, 80, 60], [30, 30, 40, 40]]]
    probs = [
        [
            [0.6, 0.3, 0.0],
            [0.5, 0.35, 0.0],  # overlaps the first by 0.9: dropped from class 1, first in class 2
            [0.2, 0.051, 0.0],  # overlaps by 0.4: stays
            [0.0, 0.0, 0.0499],  # not above the threshold
            [0.9, 0.0, 0.0],  # no valid proposal
        ]
    ]
    result = detect(head_of(max_detections=6), probs, boxes, valid=[[True] * 4 + [False]])
    np.testing.assert_array_equal(result.valid[0], [True, True, True, True, False, False])
    np.testing.assert_array_equal(result.class_ids[0], [1, 2, 1, 2, 0, 0])
    np.testing.assert_allclose(result.scores[0], [0.6, 0.35, 0.2, 0.051, 0, 0], atol=1e-5)
    expected = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [0, 0, 10, 4], [0] * 4, [0] * 4]
    np.testing.assert_allclose(result.boxes[0], expected, atol=1e-5)
    assert result.masks is None


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_detections_equal_the_slow_ones(rng, class_agnostic):
    num, content = 20, [[60, 40], [33, 64]]
    head = head_of(max_detections=15, score_threshold=0.15, nms_iou=0.4, class_agnostic=class_agnostic)
    probs = rng.dirichlet(np.ones(4), (2, num))[..., 1:]
    boxes, valid = random_boxes(rng, 2, num), rng.random((2, num)) < 0.8
    deltas = rng.normal(0, 2, (2, num, 4, head.num_boxes))
    result = detect(head, probs, boxes, deltas, valid, content)
    for b, (height, width) in enumerate(content):
        candidates, scores, classes = [], [], []
        for p in np.flatnonzero(valid[b]):
            for c in range(NUM_CLASSES):
                own = deltas[b, p, :, 0 if class_agnostic else c]
                box = reference.decode(own, boxes[b, p], (10, 10, 5, 5))
                candidates.append(np.clip(box, 0, [height, width] * 2))
                scores.append(probs[b, p, c])
                classes.append(c)
                if reference.area(candidates[-1]) == 0:
                    scores[-1] = -1.0
        kept = reference.suppress(candidates, scores, classes, 0.4, 15, 0.15)
        n = len(kept)
        assert n > 5
        np.testing.assert_array_equal(result.valid[b], np.arange(15) < n)
        np.testing.assert_array_equal(result.class_ids[b][:n], [classes[i] + 1 for i in kept])
        np.testing.assert_allclose(result.scores[b][:n], [scores[i] for i in kept], atol=1e-5)
        np.testing.assert_allclose(result.boxes[b][:n], [candidates[i] for i in kept], atol=1e-3)
        for field in (result.boxes, result.class_ids, result.scores):
            assert not field.numpy()[b, n:].any()


def test_only_the_best_class_of_each_roi():
    """The rule of matterport's code: arg max, background included; a score at the threshold counts."""
    boxes = [[[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [0, 30, 10, 40], [0, 30, 10, 41]]]
    probs = [
        [
            [0.5, 0.4, 0.0],  # class 1 only, though class 2 is above the threshold too
            [0.3, 0.0, 0.25],  # background is more probable
            [0.0, 0.0, 0.49],  # arg max is background again
            [0.0, 0.7, 0.0],
            [0.8, 0.0, 0.0],  # overlaps the one before, in another class
        ]
    ]
    deltas = np.zeros((1, 5, 4, 3))
    deltas[0, 0, 0] = [10.0, 20.0, 30.0]  # class 1 moves one side down, class 2 two
    head = head_of(detection_rule="best_class", score_threshold=0.45, max_detections=4)
    result = detect(head, probs, boxes, deltas)
    np.testing.assert_array_equal(result.class_ids[0], [1, 2, 1, 0])
    np.testing.assert_allclose(result.scores[0], [0.8, 0.7, 0.5, 0], atol=1e-5)
    np.testing.assert_allclose(result.boxes[0, 2], [10, 0, 20, 10], atol=1e-4)
    agnostic = head_of(detection_rule="best_class", score_threshold=0.45, max_detections=4, class_agnostic=True)
    result = detect(agnostic, probs, boxes)
    np.testing.assert_allclose(result.boxes[0], [*np.array(boxes)[0, [4, 3, 0]], [0] * 4], atol=1e-4)


def test_a_window_that_is_not_in_the_corner():
    window = tf.constant([[8.0, 4.0, 30.0, 20.0]])
    proposals = Proposals(tf.constant([[[0.0, 0.0, 40.0, 40.0]]]), tf.zeros([1, 1]), tf.ones([1, 1], tf.bool))
    head = head_of(max_detections=1)
    pred = BoxPrediction(tf.constant(logits_for([[[0.9, 0.0, 0.0]]])), tf.zeros([1, 1, 4, 3]))
    np.testing.assert_allclose(head.detect(pred, proposals, window).boxes[0], [[8, 4, 30, 20]])


def test_tiny_boxes_and_growth_have_their_bounds():
    probs, boxes = [[[0.9, 0, 0], [0.8, 0, 0]]], [[[0, 0, 9, 9], [30, 30, 31, 31]]]
    assert detect(head_of(min_size=0.5), probs, boxes).valid.numpy().sum() == 2
    assert detect(head_of(min_size=1.0), probs, boxes).valid.numpy().sum() == 1
    deltas = np.zeros((1, 1, 4, 3))
    deltas[..., 2:, :] = 5.0 * math.log(100.0)  # a hundredfold
    small = [[[2000, 2000, 2001, 2001]]]
    content = [[4000, 4000]]
    for bound, side in ((math.log(1000 / 16), 62.5), (None, 100.0)):
        result = detect(head_of(max_log_scale=bound), [probs[0][:1]], small, deltas, content=content)
        np.testing.assert_allclose(result.boxes[0, 0, 2] - result.boxes[0, 0, 0], side, rtol=1e-4)


def test_class_agnostic_classes_share_the_box():
    deltas = np.zeros((1, 1, 4, 1))
    deltas[0, 0, :2, 0] = [5.0, -5.0]  # half a side down, half a side left
    result = detect(head_of(class_agnostic=True, max_detections=4), [[[0.5, 0.3, 0.1]]], [[[10, 20, 20, 30]]], deltas)
    np.testing.assert_array_equal(result.class_ids[0], [1, 2, 3, 0])
    np.testing.assert_allclose(result.boxes[0], [[15, 15, 25, 25]] * 3 + [[0] * 4], atol=1e-5)


def test_best_over_all_classes_fill_few_entries():
    probs = [[[0.1, 0.2, 0.4], [0.3, 0.15, 0.5]]]
    boxes = [[[0, 0, 9, 9], [30, 30, 50, 50]]]
    result = detect(head_of(max_detections=3), probs, boxes)
    np.testing.assert_allclose(result.scores[0], [0.5, 0.4, 0.3], atol=1e-5)
    np.testing.assert_array_equal(result.class_ids[0], [3, 3, 1])


@pytest.mark.parametrize("valid", [True, False])
def test_nothing_found_is_all_zero(valid):
    boxes, valid = np.tile([0, 0, 9, 9], (2, 3, 1)), np.full((2, 3), valid)
    result = detect(head_of(max_detections=5), np.full((2, 3, 3), 0.01), boxes, valid=valid, content=[[9, 9]] * 2)
    for field in (result.boxes, result.class_ids, result.scores, result.valid):
        assert not field.numpy().any()
        assert field.shape[:2] == (2, 5)


def test_open_shapes_detect_as_static_ones(rng):
    head = head_of(max_detections=6)
    probs, boxes = rng.dirichlet(np.ones(4), (2, 5))[..., 1:], random_boxes(rng, 2, 5)
    expected = detect(head, probs, boxes, content=[[64, 64]] * 2)

    @tf.function
    def run(logits, deltas, boxes, valid, window):
        return head.detect(BoxPrediction(logits, deltas), Proposals(boxes, boxes[..., 0], valid), window)

    concrete = run.get_concrete_function(
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None, 4, 3]),
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None], tf.bool),
        tf.TensorSpec([None, 4]),
    )
    result = concrete(
        tf.constant(logits_for(probs)), tf.zeros([2, 5, 4, 3]), tf.constant(boxes), tf.ones([2, 5], tf.bool),
        WINDOW
    )  # fmt: skip
    for ours, theirs in zip(result[:4], expected[:4], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_box_loss_as_the_mean_over_the_elements_of_foreground():
    head = head_of(num_classes=1, box_normalizer="elements")
    rois = rois_of([[1, 0, 0, 0]])
    pred = BoxPrediction(tf.zeros([1, 4, 2]), tf.zeros([1, 4, 4, 1]))
    result = values(head.loss(pred, BoxTarget(rois.class_ids, tf.constant([[[2.0, 0, 0, 0]] * 4])), rois))
    assert result["roi_box"] == pytest.approx((2.0 - 0.5) / 4) and result["roi_class"] == pytest.approx(math.log(2))


def test_heads_behind_can_train_on_refined_boxes():
    """The box of each RoI's class, by deltas of half a side; the gradient stops."""
    config = BoxHeadConfig(train_on_pred_boxes=True, fc_dims=(4,), delta_weights=(1.0, 1.0, 1.0, 1.0))
    head = config.build(2, RoiPooler(config.pool, {"p2": 4, "p3": 8, "p4": 16, "p5": 32}, 4))
    fields = ([[[0, 0, 10, 20], [0, 0, 10, 20]]], [[1, 2]], [[0, 0]], [[True, True]], [[True, True]])
    types = (tf.float32, tf.int32, tf.int32, tf.bool, tf.bool)
    rois = RoiSample(*(tf.constant(field, dtype) for field, dtype in zip(fields, types, strict=True)))
    deltas = np.zeros((1, 2, 4, 2), np.float32)
    deltas[..., 0, 1] = 0.5  # class 2 moves down by half a height
    pred = BoxPrediction(tf.zeros([1, 2, 3]), tf.constant(deltas))
    (refined,) = head.next_rois(pred, rois, (rois,))
    np.testing.assert_allclose(refined.boxes, [[[0, 0, 10, 20], [5, 0, 15, 20]]], atol=1e-5)
    plain = BoxHeadConfig(fc_dims=(4,)).build(2, RoiPooler(config.pool, {"p2": 4, "p3": 8, "p4": 16, "p5": 32}, 4))
    assert plain.next_rois(pred, rois, (rois,))[0] is rois


def test_sigmoid_scores_by_hand():
    """Each class by itself: a RoI may be of two, and background's logit takes nothing from them."""
    logits = np.array([[[50.0, 0.0, 2.0, -9.0], [-50.0, -9.0, -1.0, 1.0]]], np.float32)
    boxes = tf.constant([[[0, 0, 10, 10], [20, 20, 40, 40]]], tf.float32)
    head = head_of(activation="sigmoid", class_loss=ClassSigmoidCrossEntropy(), score_threshold=0.2, max_detections=6)
    pred = BoxPrediction(tf.constant(logits), tf.zeros([1, 2, 4, 3]))
    detections = head.detect(pred, Proposals(boxes, tf.ones([1, 2]), tf.ones([1, 2], tf.bool)), WINDOW[:1])
    expected = [(2, 2.0, 0), (3, 1.0, 1), (1, 0.0, 0), (2, -1.0, 1)]
    np.testing.assert_array_equal(detections.class_ids[0], [k for k, *_ in expected] + [0, 0])
    scores = [1 / (1 + math.exp(-x)) for _, x, _ in expected]
    np.testing.assert_allclose(detections.scores[0], [*scores, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(detections.boxes[0, :4], [boxes[0, i] for *_, i in expected], atol=1e-4)
