"""Masks of RoIs: targets, a loss that looks at one class only, probabilities of detections."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.losses.base import MaskLogits
from mrcnn.modeling.losses.cross_entropy import MaskCrossEntropy
from mrcnn.modeling.losses.dice import MaskDice
from mrcnn.modeling.losses.focal import MaskFocal
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.recipes import Recipe
from mrcnn.structures.tensors import Detections, RoiSample
from tests.ground_truth import MASK_SIDE, ground_truth, stack
from tests.reference import losses as slow
from tests.reference import masks as reference

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
NUM_CLASSES = 3
WINDOW = tf.constant([[0.0, 0.0, 64.0, 64.0]] * 2)
SIDE = 6


def head_of(**changes):
    fields = {"pool": RoiPoolConfig(size=SIDE // 2), "conv_dims": (8,), "deconv_dim": 8, "num_foreground": 3}
    config = MaskHeadConfig(**(fields | changes))
    return config.build(NUM_CLASSES, RoiPooler(config.pool, STRIDES, 4))


def features_of(rng, batch=2):
    return {
        level: tf.constant(rng.normal(size=(batch, 64 // s, 64 // s, 4)).astype(np.float32))
        for level, s in STRIDES.items()
    }


def random_boxes(rng, *shape):
    corner = rng.uniform(0, 40, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(3, 24, (*shape, 2))], -1).astype(np.float32)


def rois_of(class_ids, boxes=None, gt_index=None):
    class_ids = np.asarray(class_ids, np.int32)
    boxes = np.zeros((*class_ids.shape, 4)) if boxes is None else boxes
    gt_index = np.zeros_like(class_ids) if gt_index is None else np.asarray(gt_index, np.int32)
    fields = (np.asarray(boxes, np.float32), class_ids, gt_index, class_ids > 0, np.ones(class_ids.shape, bool))
    return RoiSample(*(tf.constant(field) for field in fields))


def loss_of(head, logits, targets, rois):
    term = head.loss(logits, targets, rois)["roi_mask"]
    return term.mean()


# Predictions


def test_mask_is_laid_as_the_roi_is(rng):
    """Features that grow downwards give masks that grow downwards, not sideways."""
    head = head_of(conv_dims=())
    head.deconv.set_weights([np.ones((2, 2, 8, 4)) / 4, np.zeros(8)])
    head.mask_logits.set_weights([np.ones((1, 1, 8, 3)) / 8, np.zeros(3)])
    rows = {k: np.broadcast_to(np.arange(64 // s)[None, :, None, None], (1, 64 // s, 64 // s, 4)) for k, s in
            STRIDES.items()}  # fmt: skip
    features = {k: tf.constant(v, tf.float32) for k, v in rows.items()}
    box = tf.constant([[[8.0, 8.0, 56.0, 56.0]]])
    result = head(features, box, tf.ones([1, 1], tf.bool), WINDOW[:1]).numpy()[0, 0, ..., 0]
    # On p2 the RoI spans rows 2 to 14 in three bins, whose middles are 4, 8 and 12; each bin becomes two cells
    np.testing.assert_allclose(result, np.repeat([4, 4, 8, 8, 12, 12], SIDE).reshape(SIDE, SIDE), atol=1e-5)


def test_paper_sized_head_has_the_papers_weights():
    config = MaskHeadConfig()
    head = config.build(80, RoiPooler(config.pool, STRIDES, 256))
    shapes = {v.path.split("mask_head/")[-1]: tuple(v.shape) for v in head.weights}
    expected = {}
    for i in range(1, 5):
        expected |= {f"convs/conv{i}/kernel": (3, 3, 256, 256), f"convs/conv{i}/bias": (256,)}
    expected |= {"deconv/kernel": (2, 2, 256, 256), "deconv/bias": (256,)}
    expected |= {"mask_logits/kernel": (1, 1, 256, 80), "mask_logits/bias": (80,)}
    assert shapes == expected
    assert head.mask_side == 28
    kernels = [head.convs.convs[i].weights[0].numpy() for i in range(4)]
    assert not any(np.array_equal(kernels[0], kernel) for kernel in kernels[1:])
    # He et al., by fan-out
    assert np.std(kernels[0]) == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)


def test_batch_statistics_are_those_of_the_foreground(rng):
    """Background RoIs among the foreground entries change neither masks nor moving statistics."""
    features, boxes = features_of(rng), random_boxes(rng, 2, 3)
    results = []
    for num in (2, 3):
        keras.utils.set_random_seed(1)
        head = head_of(conv_norm="bn")
        rois = rois_of(np.array([[2, 1, 0], [1, 3, 0]])[:, :num], boxes[:, :num])
        own = head.rois_for(rois)
        pred = head(features, own.boxes, own.valid, WINDOW, training=True)
        results.append([pred[:, :2], *(v.numpy() for v in head.weights if "moving" in v.path)])
    for alone, padded in zip(*results, strict=True):
        np.testing.assert_allclose(padded, alone, atol=1e-6)


# Targets


def test_head_trains_on_the_first_rois_only():
    rois = rois_of([[2, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    own = head_of().rois_for(rois)
    np.testing.assert_array_equal(own.class_ids, [[2, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(own.valid, [[True, True, False], [True, True, True]])
    assert own.boxes.shape == (2, 3, 4)
    assert head_of(num_foreground=99).rois_for(rois).class_ids.shape == (2, 5)


def test_targets_by_hand():
    """An object whose left half is filled, seen through itself, its left half, its right half and from afar."""
    mask = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    mask[:, : MASK_SIDE // 2] = 1
    batch = stack([ground_truth([{"box": (0, 0, 9, 9)}, {"box": (10, 20, 30, 44), "mask": mask}])])
    boxes = [[10, 20, 30, 44], [10, 20, 30, 32], [10, 32, 30, 44], [40, 50, 60, 60]]
    rois = rois_of([[1] * 4], [boxes], [[1] * 4])
    targets = head_of().targets(rois, batch).numpy()[0]
    half = np.zeros((SIDE, SIDE))
    half[:, : SIDE // 2] = 1
    np.testing.assert_array_equal(
        targets, [half, np.ones((SIDE, SIDE)), np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))]
    )


def test_targets_equal_the_slow_ones(rng):
    masks = [(rng.random((MASK_SIDE, MASK_SIDE)) < 0.5).astype(np.uint8) for _ in range(4)]
    objects = [{"box": box, "mask": mask} for box, mask in zip(random_boxes(rng, 4), masks, strict=True)]
    gt_index = rng.integers(0, 4, (1, 8))
    boxes = np.stack([objects[g]["box"] for g in gt_index[0]]) + rng.normal(0, 1.5, (8, 4)).astype(np.float32)
    targets = head_of().targets(rois_of([[1] * 8], boxes[None], gt_index), stack([ground_truth(objects)])).numpy()[0]
    for target, box, g in zip(targets, boxes, gt_index[0], strict=True):
        values = reference.crop(masks[g], objects[g]["box"], box, SIDE)
        certain = np.abs(values - 0.5) > 1e-3
        np.testing.assert_array_equal(target[certain], values[certain] >= 0.5)


@pytest.mark.parametrize("target", ["project", "project_soft"])
def test_targets_from_full_frame_masks_by_hand(target):
    """An object that fills the left three of the four columns of pixels each cell covers; the image ends at 40."""
    masks = np.zeros((1, 2, 48, 48), np.uint8)
    masks[0, 1, 8:32, 8:27] = 1
    batch = {"gt_full_masks": tf.constant(masks), "content_shape": tf.constant([[40, 48]])}
    pool = RoiPoolConfig(size=SIDE // 2, aligned=True)
    head = head_of(target=target, pool=pool)
    result = head.targets(rois_of([[1]], [[[8, 8, 32, 32]]], [[1]]), batch).numpy()[0, 0]
    expected = np.array([1, 1, 1, 1, 0.75, 0])
    np.testing.assert_allclose(result, np.tile(expected if target == "project_soft" else np.ceil(expected), (SIDE, 1)))


# Loss


def test_loss_by_hand():
    """Mean over the pixels of a mask, then over the two foreground RoIs; the background RoI does not count."""
    logits = np.full((1, 3, SIDE, SIDE, 3), 7.0, np.float32)
    logits[0, 0, ..., 1] = 0.0  # ln 2 each, whatever the target
    logits[0, 1, ..., 0] = math.log(3.0)
    targets = np.zeros((1, 3, SIDE, SIDE), np.float32)
    targets[0, 1, 0] = 1.0  # one row of six
    result = loss_of(head_of(), tf.constant(logits), tf.constant(targets), rois_of([[2, 1, 0]]))
    second = math.log(4) - math.log(3) / SIDE
    assert float(result) == pytest.approx((math.log(2) + second) / 2, rel=1e-5)


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_loss_equals_the_slow_one(rng, class_agnostic):
    class_ids = np.array([[3, 1, 0], [2, 0, 0]])
    logits = rng.normal(size=(2, 3, SIDE, SIDE, 1 if class_agnostic else 3)).astype(np.float32)
    targets = (rng.random((2, 3, SIDE, SIDE)) < 0.5).astype(np.float32)
    result = loss_of(head_of(class_agnostic=class_agnostic, loss_weight=2.0), tf.constant(logits),
                    tf.constant(targets), rois_of(class_ids))  # fmt: skip
    total = 0.0
    for b, s in np.argwhere(class_ids > 0):
        own = logits[b, s, ..., 0 if class_agnostic else class_ids[b, s] - 1]
        pairs = zip(own.ravel(), targets[b, s].ravel(), strict=True)
        total += sum(slow.sigmoid_cross_entropy(x, t) for x, t in pairs) / SIDE**2
    assert float(result) == pytest.approx(2 * total / 3, rel=1e-4)


def test_gradient_of_every_other_class_is_exactly_zero(rng):
    """Masks of classes do not compete, and only positive RoIs have a mask loss. Ref: Mask R-CNN, section 3."""
    class_ids = np.array([[3, 1, 0], [2, 0, 0]])
    logits = tf.constant(rng.normal(size=(2, 3, SIDE, SIDE, 3)), tf.float32)
    targets = tf.constant(rng.random((2, 3, SIDE, SIDE)) < 0.5, tf.float32)
    head, rois = head_of(), rois_of(class_ids)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = loss_of(head, logits, targets, rois)
    gradient = tape.gradient(loss, logits).numpy()
    own = np.zeros((2, 3, SIDE, SIDE, 3), bool)
    for b, s in np.argwhere(class_ids > 0):
        own[b, s, ..., class_ids[b, s] - 1] = True
    assert (gradient[~own] == 0.0).all()
    expected = (1 / (1 + np.exp(-logits.numpy())) - targets.numpy()[..., None]) / SIDE**2 / 3
    np.testing.assert_allclose(gradient[own], expected[own], atol=1e-6)


def test_no_foreground_is_zero_with_zero_gradient(rng):
    logits = tf.constant(rng.normal(size=(1, 3, SIDE, SIDE, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = loss_of(head_of(), logits, tf.zeros([1, 3, SIDE, SIDE]), rois_of([[0, 0, 0]]))
    assert float(loss) == 0.0
    assert not tape.gradient(loss, logits).numpy().any()


def test_softmax_lets_classes_compete_for_pixels(rng):
    """Ref: Mask R-CNN, table 2b: one distribution over background and the classes for every pixel."""
    head = head_of(activation="softmax")
    channels = NUM_CLASSES + 1
    assert tuple(head.mask_logits.kernel.shape) == (1, 1, 8, channels)
    class_ids = np.array([[3, 1, 0]])
    logits = rng.normal(size=(1, 3, SIDE, SIDE, channels)).astype(np.float32)
    targets = (rng.random((1, 3, SIDE, SIDE)) < 0.5).astype(np.float32)
    with tf.GradientTape() as tape:
        pred = tf.constant(logits)
        tape.watch(pred)
        result = loss_of(head, pred, tf.constant(targets), rois_of(class_ids))
    total, gradient = 0.0, np.zeros_like(logits)
    for s, y, x in np.ndindex(2, SIDE, SIDE):
        own = class_ids[0, s] if targets[0, s, y, x] else 0
        total += slow.softmax_cross_entropy(logits[0, s, y, x], own) / SIDE**2
        gradient[0, s, y, x] = (slow.softmax(logits[0, s, y, x]) - np.eye(channels)[own]) / SIDE**2 / 2
    assert float(result) == pytest.approx(total / 2, rel=1e-4)
    np.testing.assert_allclose(tape.gradient(result, pred), gradient, atol=1e-6)
    detections = Detections(tf.zeros([1, 3, 4]), tf.constant(class_ids), tf.zeros([1, 3]), tf.constant(class_ids > 0))
    masks = head.attach(detections, tf.constant(logits)).masks.numpy()
    for y, x in np.ndindex(SIDE, SIDE):
        assert masks[0, 0, y, x] == pytest.approx(slow.softmax(logits[0, 0, y, x])[3], abs=1e-6)
        assert masks[0, 1, y, x] == pytest.approx(slow.softmax(logits[0, 1, y, x])[1], abs=1e-6)
    assert not masks[0, 2].any()


def test_softmax_masks_of_all_classes_and_background_share_each_pixel(rng):
    """Masks of the same RoI asked for as every class, and 1 less their sum for background."""
    head = head_of(activation="softmax")
    logits = np.repeat(rng.normal(size=(1, 1, SIDE, SIDE, NUM_CLASSES + 1)), NUM_CLASSES, 1).astype(np.float32)
    class_ids, there = tf.constant([[1, 2, 3]]), tf.ones([1, 3], tf.bool)
    masks = head.attach(Detections(tf.zeros([1, 3, 4]), class_ids, tf.zeros([1, 3]), there), tf.constant(logits)).masks
    background = np.exp(logits[0, 0, ..., 0]) / np.exp(logits[0, 0]).sum(-1)
    np.testing.assert_allclose(np.asarray(masks)[0].sum(0), 1 - background, atol=1e-6)
    assert (np.asarray(masks)[0] >= 0.5).sum(0).max() <= 1  # never two objects at one pixel


def test_softmax_without_classes_is_refused():
    with pytest.raises(ConfigError, match=r'^activation and class_agnostic: with activation "softmax"'):
        MaskHeadConfig(activation="softmax", class_agnostic=True)
    with pytest.raises(ConfigError, match=r"activation and class_agnostic"):
        Recipe().override({"model.heads.0.activation": "softmax", "model.heads.0.class_agnostic": True})


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("name, kind", [("bce", MaskCrossEntropy), ("dice", MaskDice), ("focal", MaskFocal)])
def test_activation_and_loss_are_chosen_apart(rng, activation, name, kind):
    head = head_of(activation=activation, loss=name)
    assert head.config.loss == kind()
    assert MaskHeadConfig.from_dict({"loss": name, "activation": activation}).loss == kind()
    assert MaskHeadConfig.from_dict(head.config.to_dict()) == head.config
    recipe = Recipe().override({"model.heads.0.loss": name, "model.heads.0.activation": activation})
    assert recipe.model.heads == (MaskHeadConfig(loss=kind(), activation=activation),)
    class_ids = np.array([[3, 1, 0]])
    logits = tf.constant(rng.normal(size=(1, 3, SIDE, SIDE, head.num_masks)), tf.float32)
    targets = (rng.random((1, 3, SIDE, SIDE)) < 0.5).astype(np.float32)
    own = class_ids - (activation == "sigmoid")
    per_roi = kind()(MaskLogits(logits, tf.constant(np.maximum(own, 0)), activation), tf.constant(targets)).numpy()
    result = loss_of(head, logits, tf.constant(targets), rois_of(class_ids))
    assert float(result) == pytest.approx(per_roi[0, :2].mean(), rel=1e-5)


def test_an_unknown_loss_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^loss: .* or one of 'bce', 'dice', 'focal', got 'hinge'$"):
        MaskHeadConfig(loss="hinge")


# Detections


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_detections_get_the_mask_of_their_class(rng, class_agnostic):
    logits = rng.normal(size=(1, 4, SIDE, SIDE, 1 if class_agnostic else 3)).astype(np.float32)
    detections = Detections(
        tf.zeros([1, 4, 4]), tf.constant([[3, 1, 2, 0]]), tf.zeros([1, 4]), tf.constant([[True, True, True, False]])
    )
    result = head_of(class_agnostic=class_agnostic).attach(detections, tf.constant(logits))
    probs = 1 / (1 + np.exp(-logits[0]))
    expected = [probs[i, ..., 0 if class_agnostic else k] for i, k in enumerate((2, 0, 1))]
    np.testing.assert_allclose(result.masks[0, :3], expected, atol=1e-6)
    assert not result.masks[0, 3].numpy().any()
    assert set(result.to_dict()) == {"boxes", "class_ids", "scores", "valid", "masks"}
