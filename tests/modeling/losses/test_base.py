from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.components import subclasses_of
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.losses.base import PACKAGE, BoxLoss, ClassLoss, MaskLogits, MaskLoss
from mrcnn.modeling.losses.cross_entropy import ClassCrossEntropy, MaskCrossEntropy
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.recipes import Recipe


@dataclasses.dataclass(frozen=True)
class Absolute(MaskLoss):
    """A component of another package, as far as this one knows."""

    power: float = 1.0

    def __call__(self, pred, targets):
        return tf.reduce_mean(tf.abs(pred.probs() - targets) ** self.power, [-2, -1])


def test_built_in_ones_are_found_where_they_lie() -> None:
    for base, built_in in ((MaskLoss, "MaskCrossEntropy"), (ClassLoss, "ClassCrossEntropy"), (BoxLoss, "SmoothL1")):
        assert built_in in subclasses_of(base, PACKAGE)
        assert base.__name__ not in subclasses_of(base, PACKAGE)


def test_one_of_another_module_is_chosen_by_its_name() -> None:
    recipe = Recipe().override({"model.heads.0.loss": {"kind": f"{__name__}:Absolute", "power": 2.0}})
    assert recipe.model.heads == (MaskHeadConfig(loss=Absolute(2.0)),)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ConfigError, match="is not one of MaskCrossEntropy, MaskDice, MaskFocal"):
        Recipe().override({"model.heads.0.loss": {"kind": "SmoothL1"}})


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_are_those_of_the_class(activation: str) -> None:
    logits = np.random.default_rng(0).normal(size=(1, 2, 3, 3, 4)).astype(np.float32)
    pred = MaskLogits(tf.constant(logits), tf.constant([[3, 0]]), activation)
    exps = np.exp(logits)
    probs = exps / exps.sum(-1, keepdims=True) if activation == "softmax" else exps / (1 + exps)
    np.testing.assert_allclose(pred.probs()[0], [probs[0, 0, ..., 3], probs[0, 1, ..., 0]], atol=1e-6)


def test_defaults_are_the_papers() -> None:
    model = Recipe().model
    assert (model.box_head.class_loss, model.box_head.box_loss) == (ClassCrossEntropy(), SmoothL1(1.0))
    assert (model.heads[0].loss, model.heads[0].activation) == (MaskCrossEntropy(), "sigmoid")
