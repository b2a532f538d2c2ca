"""A model made ready to train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.recipes import TrainConfig
from mrcnn.training.plan import make_plan
from mrcnn.training.setup import averaged_weights, compile_model, model_for
from tests.mean_color import MeanColor
from tests.training.drawn import small_model, weights

ONE = tf.distribute.get_strategy()
CONFIG = TrainConfig(images=8, batch_size=2, train_layers="all")


def _compile(model, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return compile_model(model, make_plan(config, 4, 1), config, ONE)


def test_a_model_of_the_run_s_strategy_and_precision_is_used_itself() -> None:
    model = small_model()
    assert model_for(model, ONE, "float32") is model
    twin = model_for(model, ONE, "mixed_float16")
    assert twin is not model and twin.dtype_policy.name == "mixed_float16"
    for path, value in weights(model).items():
        np.testing.assert_array_equal(weights(twin)[path], value, err_msg=path)


def test_the_optimizer_knows_what_any_phase_trains_in_the_model_s_order() -> None:
    model = MeanColor()
    assert [v.path for v in _compile(model, train_layers="heads")] == [v.path for v in model.head.trainable_variables]
    both = _compile(model, train_layers="heads", unfreeze=((0.5, "all"),))
    assert [v.path for v in both] == [v.path for v in model.backbone.variables + model.head.variables]


def test_what_a_model_s_step_cannot_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"train\.accumulate: the step of MeanColor cannot be taken in parts"):
        _compile(MeanColor(), accumulate=2)
    with pytest.raises(InputError, match=r"train\.recompute_backbone: backbone norm bn would count each batch twice"):
        _compile(small_model("bn"), recompute_backbone=True)


def test_the_average_is_there_for_a_while() -> None:
    model = MeanColor()
    variables = _compile(model, weight_average=0.5, learning_rate=0.1)
    before = [v.numpy() for v in variables]
    for _ in range(2):  # the first step begins the average
        model.optimizer.apply([tf.ones_like(v) for v in variables])
    own = [v.numpy() for v in variables]
    with averaged_weights(model, variables, 0.5):
        inside = [v.numpy() for v in variables]
    with averaged_weights(model, variables, 0.0):
        for variable, value in zip(variables, own, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)  # no average is wanted, and its own are back
    assert any((a != b).any() for a, b in zip(own, before, strict=True))
    assert any((a != b).any() for a, b in zip(own, inside, strict=True))
    with pytest.raises(ZeroDivisionError), averaged_weights(model, variables, 0.5):
        raise ZeroDivisionError
    for variable, value in zip(variables, own, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
