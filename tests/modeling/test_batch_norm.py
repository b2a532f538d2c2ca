from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.batch_norm import BatchNorm


def _pair(seed: int = 0, **options) -> tuple[BatchNorm, keras.layers.BatchNormalization]:
    rng = np.random.default_rng(seed)
    layers = BatchNorm(**options), keras.layers.BatchNormalization(**options)
    values = [rng.uniform(0.5, 1.5, 6).astype(np.float32) for _ in range(4)]
    for layer in layers:
        layer.build((None, None, None, 6))
        layer.set_weights(values)
    return layers


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("synchronized", [True, False])
def test_values_statistics_and_gradients_are_those_of_keras(training: bool, synchronized: bool) -> None:
    x = tf.constant(np.random.default_rng(1).normal(3, 2, (2, 5, 7, 6)), tf.float32)
    weight = tf.constant(np.random.default_rng(2).normal(size=x.shape), tf.float32)
    results = []
    for layer in _pair(synchronized=synchronized, momentum=0.9, epsilon=1e-5):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weight * layer(x, training=training))
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        results.append([layer(x, training=training), *gradients, layer.moving_mean, layer.moving_variance])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_large_map_is_summed_exactly_enough() -> None:
    x = np.random.default_rng(3).normal(50, 1, (1, 160, 224, 2)).astype(np.float32)
    layer = BatchNorm(momentum=0.0)
    layer(tf.constant(x), training=True)
    np.testing.assert_allclose(layer.moving_mean, x.astype(np.float64).mean((0, 1, 2)), rtol=3e-7)
    np.testing.assert_allclose(layer.moving_variance, x.astype(np.float64).var((0, 1, 2)), rtol=3e-6)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    layer, _ = _pair()
    layer.trainable = False
    before = layer.moving_mean.numpy()
    layer(tf.ones((1, 2, 2, 6)), training=True)
    np.testing.assert_array_equal(layer.moving_mean, before)


def test_statistics_stay_float32_under_mixed_precision_and_the_layer_is_rebuilt_from_its_config() -> None:
    layer = BatchNorm(momentum=0.5, dtype="mixed_bfloat16")
    out = layer(tf.cast(tf.random.stateless_normal((1, 4, 4, 3), (0, 1)), tf.bfloat16), training=True)
    assert out.dtype == tf.bfloat16 and layer.moving_mean.dtype == "float32"
    assert keras.layers.deserialize(keras.layers.serialize(layer)).momentum == 0.5
