"""Elementwise losses and their masked sum. Always float32; all work eagerly, in a graph and under XLA."""

from __future__ import annotations

import tensorflow as tf

from mrcnn.structures.tensors import Tensor


def smooth_l1(pred: Tensor, target: Tensor, beta: float) -> Tensor:
    """Quadratic within `beta` of the target, linear beyond.

    Args:
        pred: f32[...].
        target: f32[...].
        beta: where the two pieces meet; 0 is the plain absolute difference.

    Returns:
        f32[...]: 0.5 d^2 / beta for d < beta, else d - 0.5 beta.

    Ref: Fast R-CNN, section 2.3 (beta = 1 there).
    """
    difference = tf.abs(tf.cast(pred, tf.float32) - tf.cast(target, tf.float32))
    if beta <= 0.0:
        return difference
    return tf.where(difference < beta, 0.5 * difference * difference / beta, difference - 0.5 * beta)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(logits), stable for large logits.

    Args:
        logits: f32[...].
        targets: f32[...] in [0, 1].

    Returns:
        f32[...].
    """
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(targets, tf.float32), tf.cast(logits, tf.float32))


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Binary cross-entropy of sigmoid(logits), weighted down where the target is already near.

    Args:
        logits: f32[...].
        targets: f32[...] in [0, 1].
        gamma: how strongly; 0 is the plain cross-entropy.

    Returns:
        f32[...]: |t - p|^gamma times the cross-entropy, which for targets of 0 and 1 is (1 - p_t)^gamma * -log p_t.

    Ref: Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 4; for targets between Generalized Focal
    Loss, arXiv 2006.04388, equation 5.
    """
    entropy = sigmoid_cross_entropy(logits, targets)
    if gamma == 0.0:
        return entropy
    difference = tf.abs(tf.cast(targets, tf.float32) - tf.sigmoid(tf.cast(logits, tf.float32)))
    # At 0 a power below 1 would have no finite gradient.
    return tf.maximum(difference, 1e-7) ** gamma * entropy


def softmax_cross_entropy(logits: Tensor, class_ids: Tensor) -> Tensor:
    """Cross-entropy of softmax(logits).

    Args:
        logits: f32[..., C + 1], class 0 is background.
        class_ids: i32[...] in [0, C].

    Returns:
        f32[...].
    """
    logits, class_ids = tf.cast(logits, tf.float32), tf.cast(class_ids, tf.int32)
    # As rows: for other shapes TensorFlow compares their sizes on the host.
    rows = tf.reshape(logits, [-1, tf.shape(logits)[-1]])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(class_ids, [-1]), rows)
    return tf.ensure_shape(tf.reshape(losses, tf.shape(class_ids)), class_ids.shape)


def softmax_focal_loss(logits: Tensor, class_ids: Tensor, gamma: float) -> Tensor:
    """Cross-entropy of softmax(logits), weighted down where the true class is already likely.

    Args:
        logits: f32[..., C + 1], class 0 is background.
        class_ids: i32[...] in [0, C].
        gamma: how strongly; 0 is the plain cross-entropy.

    Returns:
        f32[...]: (1 - p)^gamma times -log p, p the probability of the true class.

    Ref: Focal Loss for Dense Object Detection, arXiv 1708.02002, equation 4, with softmax in place of its sigmoid.
    """
    entropy = softmax_cross_entropy(logits, class_ids)
    if gamma == 0.0:
        return entropy
    # 1 - p without the cancellation of subtracting; at 0 a power below 1 would have no finite gradient.
    unlikely = tf.maximum(-tf.math.expm1(-entropy), 1e-7)
    return unlikely**gamma * entropy


def masked_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of values times weights; where the weight is 0 the value does not count, whatever it is.

    Args:
        values: f32[...].
        weights: f32 or bool, broadcasts against `values`.

    Returns:
        f32[].
    """
    values, weights = tf.cast(values, tf.float32), tf.cast(weights, tf.float32)
    return tf.reduce_sum(tf.where(weights != 0.0, values * weights, 0.0))
