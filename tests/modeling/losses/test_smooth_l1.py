from __future__ import annotations

import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.losses.smooth_l1 import SmoothL1


def test_by_hand() -> None:
    pred, targets = tf.constant([[[0.5, 3.0, 0.0, -1.0]]]), tf.constant([[[0.0, 1.0, 0.0, 0.0]]])
    assert SmoothL1()(pred, targets).numpy().tolist() == [[pytest.approx(0.125 + 1.5 + 0.5)]]
    assert SmoothL1(0.0)(pred, targets).numpy().tolist() == [[pytest.approx(3.5)]]
    with pytest.raises(ConfigError, match="beta: expected at least 0"):
        SmoothL1(-1.0)
