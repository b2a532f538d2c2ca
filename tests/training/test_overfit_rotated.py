"""A handful of bars in all directions is overfit with rotated boxes, from random weights, by a small network."""

from __future__ import annotations

import importlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.data.pipeline import make_pipeline
from mrcnn.training.evaluation_run import evaluate
from tests.conftest import SAMPLES

STEPS = 140
SEEDS = (3, 8, 16, 20)  # of images with two or three bars each


@pytest.mark.slow
def test_bars_in_all_directions_are_overfit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SAMPLES / "bars")
    bars: Any = importlib.import_module("bars")
    images = bars.Bars(0, 21).subset(SEEDS)
    assert 8 <= sum(images.load_mask(i)[0].shape[-1] for i in range(len(images))) <= 16
    recipe = bars.recipe(rotated=True)
    keras.utils.set_random_seed(0)
    model = recipe.build_model(images.class_names, images.category_ids)
    batch = next(iter(make_pipeline(images, recipe, batch_size=len(SEEDS), training=False)))
    rates = keras.optimizers.schedules.CosineDecay(3e-3, STEPS, 0.1)
    model.compile(keras.optimizers.AdamW(rates, clipnorm=5.0))
    step, losses = tf.function(model.train_step), []
    for i in range(STEPS):
        model.reset_metrics()
        losses.append(float(step(batch | {"seed": batch["seed"] + i})["loss"]))
    assert np.isfinite(losses).all() and losses[-1] < 0.4 * losses[0]
    result = evaluate(model, images)
    print(result)
    assert result["mask/AP50"] >= 0.9 and result["rotated/AP50"] >= 0.9
