"""Gradients of our own: as `tf.custom_gradient` gives them, and a graph that is dropped is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.custom_gradient import custom_gradient


@custom_gradient
def _scaled(x: tf.Tensor, y: tf.Tensor, *, shift: tf.Tensor, factor: float) -> tuple[tf.Tensor, Any]:
    """x * y + shift, whose gradient is that of x * y times a factor."""
    return x * y + shift, lambda upstream: (upstream * y * factor, upstream * x * factor)


@pytest.mark.parametrize("in_graph", [False, True])
def test_value_and_gradients_by_hand(in_graph: bool) -> None:
    def step(x: tf.Tensor, y: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            out = _scaled(x, y, shift=tf.constant([1.0, -1.0]), factor=10.0)
        return [out, *tape.gradient(out, [x, y])]

    run = tf.function(step) if in_graph else step
    out, to_x, to_y = run(tf.constant([1.0, 2.0]), tf.constant([3.0, 4.0]))
    np.testing.assert_array_equal(out, [4.0, 7.0])
    np.testing.assert_array_equal(to_x, [30.0, 40.0])
    np.testing.assert_array_equal(to_y, [10.0, 20.0])


def test_variables_and_plain_numbers_are_arguments_too() -> None:
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        out = _scaled(x, 2.0, shift=0.0, factor=1.0)
    assert float(out) == 6.0
    assert float(tape.gradient(out, x)) == 2.0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_another_factor_is_another_function(jit_compile: bool) -> None:
    run = tf.function(
        lambda x, factor: tf.gradients(_scaled(x, x, shift=x, factor=factor), x)[0], jit_compile=jit_compile
    )
    assert float(run(tf.constant(1.0), 1.0)) == 2.0
    assert float(run(tf.constant(1.0), 5.0)) == 10.0


DROPPED = """
import contextlib, gc, weakref
import tensorflow as tf
from mrcnn.ops.custom_gradient import gradients_forgotten
from tests.ops.test_custom_gradient import _scaled

def ours(x):
    return _scaled(x, x, shift=x, factor=2.0)

@tf.custom_gradient
def theirs(x):
    return x + 0.0, lambda upstream: upstream

def forgotten(x):
    with gradients_forgotten():
        return theirs(x)

def is_freed(function):
    weights = tf.Variable(tf.ones([8]))
    run = tf.function(lambda x: function(x * weights), autograph=False)
    held = [weakref.ref(run.get_concrete_function(tf.TensorSpec([8])).graph), weakref.ref(weights)]
    del run, weights
    gc.collect()
    return all(one() is None for one in held)

print(is_freed(ours), is_freed(forgotten), is_freed(theirs))
"""


def test_a_dropped_graph_is_freed_with_the_weights_it_reads() -> None:
    """In a process of its own. A `tf.custom_gradient` keeps every graph it was ever used in, and the weights in it."""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", DROPPED], cwd=root, capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["True", "True", "False"], run.stderr
