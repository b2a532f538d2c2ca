"""Stochastic depth: what is left out, how often, and that the seed alone decides."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.drop_path import DropPath, draw, drawn, drop_paths


def test_images_below_the_rate_are_zero_and_the_others_grow():
    layer = DropPath(0.25)
    x = tf.ones([3, 2, 2, 1])
    with drawn([layer], tf.constant([[0.2], [0.25], [0.9]])):
        y = layer(x, training=True).numpy()
        assert np.array_equal(layer(x, training=False), x)
    np.testing.assert_allclose(y[:, 0, 0, 0], [0, 4 / 3, 4 / 3], rtol=1e-6)
    assert np.array_equal(layer(x, training=True), x)  # nothing is drawn outside


def test_rows_are_drawn_from_their_own_seed():
    seeds = tf.constant([[1, 2], [3, 4], [1, 3]])
    numbers = draw(seeds, 6).numpy()
    np.testing.assert_array_equal(numbers[1:2], draw(seeds[1:2], 6))
    assert len(np.unique(numbers)) == 18
    assert draw(seeds[:0], 6).shape == (0, 6)


def test_as_many_are_left_out_as_the_rate_says():
    seeds = tf.stack([tf.range(500), tf.range(500)], 1)
    numbers = draw(seeds, 4).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    assert np.abs(np.sort(numbers.ravel()) - np.linspace(0, 1, numbers.size)).max() < 0.04  # uniform
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.2


def test_a_compiled_graph_draws_the_same():
    seeds = tf.constant([[1, 2], [3, 4]])
    compiled = tf.function(lambda s: draw(s, 5), jit_compile=True)
    np.testing.assert_array_equal(compiled(seeds), draw(seeds, 5))


def test_layers_are_found_in_order_and_keep_their_rate():
    x = keras.Input((4,))
    model = keras.Model(x, DropPath(0.2, name="b")(DropPath(0.1, name="a")(x)))
    assert [layer.rate for layer in drop_paths(model)] == [0.1, 0.2]
    assert DropPath.from_config(DropPath(0.3, name="c").get_config()).rate == 0.3


def test_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="rate"):
        DropPath(1.0)
