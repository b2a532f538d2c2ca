from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import MaskLogits
from mrcnn.modeling.losses.dice import MaskDice
from tests.reference import losses as slow


def test_by_hand() -> None:
    logits = tf.constant([[[[[np.log(3.0)], [0.0]]]]], tf.float32)  # p: 3/4 and 1/2
    pred = MaskLogits(logits, tf.constant([[0]]), "sigmoid")
    result = MaskDice(smooth=1.0)(pred, tf.constant([[[[1.0, 0.0]]]]))
    assert result.numpy() == pytest.approx(1 - (2 * 0.75 + 1) / (0.5625 + 0.25 + 1 + 1), rel=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_equals_the_slow_one(rng: np.random.Generator, activation: str) -> None:
    logits = rng.normal(0, 2, (1, 2, 4, 5, 3)).astype(np.float32)
    targets, channel = rng.integers(0, 2, (1, 2, 4, 5)).astype(np.float32), np.array([[2, 1]])
    result = MaskDice(0.5)(MaskLogits(tf.constant(logits), tf.constant(channel), activation), tf.constant(targets))
    for s in range(2):
        k = channel[0, s]
        if activation == "softmax":
            probs = [[slow.softmax(pixel)[k] for pixel in row] for row in logits[0, s]]
        else:
            probs = [[1 / (1 + np.exp(-pixel[k])) for pixel in row] for row in logits[0, s]]
        assert float(result[0, s]) == pytest.approx(slow.dice(probs, targets[0, s], 0.5), rel=1e-4)


def test_bounds() -> None:
    """0 for the object itself, near 1 for what misses it, and finite where there is nothing at all."""
    target = np.zeros((1, 1, 4, 4), np.float32)
    target[..., :2] = 1.0
    for mask, target_mask, value in (
        (target, target, 0.0),
        (1 - target, target, 1 - 1 / 17),
        (0 * target, 0 * target, 0),
    ):
        pred = MaskLogits(tf.constant(200.0 * (mask[..., None] - 0.5)), tf.constant([[0]]), "sigmoid")
        assert float(MaskDice()(pred, tf.constant(target_mask))[0, 0]) == pytest.approx(value, abs=1e-6)
    with pytest.raises(ConfigError, match=r"loss\.smooth: expected a positive number, got 0"):
        MaskDice(0)
