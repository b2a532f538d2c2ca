from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.decay import mean_square_penalty
from tests.tiny_model import tiny_model


def test_means_of_kernels_and_biases():
    variables = [tf.Variable(value, name=name) for name, value in (
        ("kernel", [[3.0, 1.0]]), ("bias", [2.0]), ("gamma", [9.0]), ("beta", [9.0]))]  # fmt: skip
    assert float(mean_square_penalty(variables, 0.1)) == pytest.approx(0.1 * (5.0 + 4.0))
    assert float(mean_square_penalty(variables[2:], 0.1)) == 0.0 == float(mean_square_penalty([], 1.0))


def test_it_is_a_part_of_the_models_loss():
    model = tiny_model()
    losses = dict.fromkeys(model.loss_names, tf.constant(1.0))
    before = float(model.compute_loss(y_pred=losses))
    model.mean_square_decay = 0.5
    added = float(model.compute_loss(y_pred=losses)) - before
    kernels = [v for v in model.trainable_variables if v.path.rpartition("/")[2] not in ("gamma", "beta")]
    assert added == pytest.approx(0.5 * sum(np.square(np.asarray(v)).mean() for v in kernels), rel=1e-4)
