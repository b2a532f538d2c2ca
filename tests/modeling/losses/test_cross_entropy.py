from __future__ import annotations

import math

import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import MaskLogits
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy, MaskCrossEntropy


def test_classes_by_hand() -> None:
    logits, ids = tf.math.log(tf.constant([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]])), tf.constant([[0, 2]])
    one, two = math.log(2), math.log(4)
    assert ClassCrossEntropy()(logits, ids).numpy()[0] == pytest.approx([one, two])
    assert ClassCrossEntropy(2.0)(logits, ids).numpy()[0] == pytest.approx([0.5**2 * one, 0.75**2 * two])
    assert ClassCrossEntropy(0.0, (1.0, 2.0, 3.0))(logits, ids).numpy()[0] == pytest.approx([one, 3 * two])


def test_weights_must_fit_the_classes() -> None:
    ClassCrossEntropy().check(7)
    ClassCrossEntropy(0.0, (1.0, 2.0, 3.0)).check(2)
    with pytest.raises(ConfigError, match=r"expected 4, background first .*, got 3"):
        ClassCrossEntropy(0.0, (1.0, 2.0, 3.0)).check(3)


def test_masks_by_hand() -> None:
    targets = tf.constant([[[[1.0, 0.0]]]])
    logits = tf.constant([[[[[9.0, math.log(3)], [9.0, 0.0]]]]])  # p of channel 1: 3/4 and 1/2
    result = MaskCrossEntropy()(MaskLogits(logits, tf.constant([[1]]), "sigmoid"), targets)
    assert result.numpy() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    logits = tf.math.log(tf.constant([[[[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]]]]))
    result = MaskCrossEntropy()(MaskLogits(logits, tf.constant([[2]]), "softmax"), targets)
    assert result.numpy() == pytest.approx((math.log(4) + math.log(2)) / 2)  # class 2, then background
