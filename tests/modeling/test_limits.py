"""A model that is larger than it may be is noticed before its memory is taken."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.modeling.limits import TooManyVariablesError, counted_apart, limited_variables


def test_what_is_within_the_limit_is_built() -> None:
    with limited_variables(2, 12):
        layer = keras.layers.Dense(3)
        layer.build((None, 3))
    assert [tuple(v.shape) for v in layer.weights] == [(3, 3), (3,)]


@pytest.mark.parametrize("number, values", [(1, 100), (2, 11), (2, 0)])
def test_what_is_beyond_is_not(number: int, values: int) -> None:
    with pytest.raises(TooManyVariablesError, match="expected"), limited_variables(number, values):
        keras.layers.Dense(3).build((None, 3))


def test_no_memory_is_taken_for_what_is_refused() -> None:
    with pytest.raises(TooManyVariablesError, match=r"shape \[10000000, 10000000\]"), limited_variables(9, 10**6):
        keras.layers.Dense(10_000_000).build((None, 10_000_000))


@pytest.mark.parametrize("value", [np.zeros((20, 20), np.float32), lambda: tf.zeros((20, 20))])
def test_variables_of_tensorflow_count_too(value: object) -> None:
    with pytest.raises(TooManyVariablesError, match=r"shape \[20, 20\]"), limited_variables(9, 399):
        tf.Variable(value)
    with limited_variables(9, 400):
        tf.Variable(value)


def test_the_limit_ends_with_its_block() -> None:
    with limited_variables(0, 0):
        pass
    assert keras.Variable(np.zeros(5)).shape == (5,)


def test_what_is_only_looked_at_is_counted_apart_and_limited_too() -> None:
    with limited_variables(2, 12):
        for _ in range(2):
            with counted_apart():
                keras.layers.Dense(3).build((None, 3))
        keras.layers.Dense(3).build((None, 3))
        with pytest.raises(TooManyVariablesError), counted_apart():
            keras.layers.Dense(4).build((None, 3))
        with pytest.raises(TooManyVariablesError):
            keras.layers.Dense(1).build((None, 1))
