from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.base import MaskLogits
from mrcnn.modeling.losses.cross_entropy import MaskCrossEntropy
from mrcnn.modeling.losses.focal import MaskFocal
from tests.reference import losses as slow


def test_by_hand() -> None:
    pred = MaskLogits(tf.constant([[[[[math.log(3)], [0.0]]]]]), tf.constant([[0]]), "sigmoid")  # p: 3/4 and 1/2
    targets = tf.constant([[[[1.0, 0.0]]]])
    inside, outside = 0.25**2 * math.log(4 / 3), 0.5**2 * math.log(2)
    assert float(MaskFocal()(pred, targets)[0, 0]) == pytest.approx((inside + outside) / 2, rel=1e-5)
    weighted = MaskFocal(alpha=0.25)(pred, targets)
    assert float(weighted[0, 0]) == pytest.approx((0.25 * inside + 0.75 * outside) / 2, rel=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_equals_the_slow_one(rng: np.random.Generator, activation: str) -> None:
    logits = rng.normal(0, 2, (1, 2, 4, 5, 3)).astype(np.float32)
    targets, channel = rng.integers(0, 2, (1, 2, 4, 5)).astype(np.float32), np.array([[2, 1]])
    pred = MaskLogits(tf.constant(logits), tf.constant(channel), activation)
    result = MaskFocal(1.5)(pred, tf.constant(targets))
    for s in range(2):
        values = []
        for y, x in np.ndindex(4, 5):
            k, t = int(channel[0, s]), targets[0, s, y, x]
            if activation == "softmax":
                values.append(slow.softmax_focal(logits[0, s, y, x], k if t else 0, 1.5))
            else:
                values.append(slow.sigmoid_focal(logits[0, s, y, x, k], t, 1.5))
        assert float(result[0, s]) == pytest.approx(np.mean(values), rel=1e-4)
    plain = MaskCrossEntropy()(pred, tf.constant(targets))
    np.testing.assert_allclose(MaskFocal(0.0)(pred, tf.constant(targets)), plain, rtol=1e-5)


@pytest.mark.parametrize("field, value", [("gamma", -1.0), ("alpha", 1.5)])
def test_bad_parameters_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"loss\.{field}: expected a number from 0.*got {value}"):
        MaskFocal(**{field: value})
