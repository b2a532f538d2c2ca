"""Gradients of our own: as `tf.custom_gradient` gives them, and a graph that is dropped is gone."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.ops.custom_gradient import custom_gradient, gradients_forgotten


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


def test_a_dropped_graph_takes_what_it_reads_with_it() -> None:
    """`tf.custom_gradient` keeps every graph it was ever used in, and the weights of the model in it."""

    def traced() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        weights = tf.Variable(tf.ones([8]))
        run = tf.function(lambda x: _scaled(x * weights, x, shift=x, factor=2.0))
        graph = run.get_concrete_function(tf.TensorSpec([8])).graph
        return weakref.ref(weights), weakref.ref(graph)

    weights, graph = traced()
    gc.collect()
    assert weights() is None
    assert graph() is None


def test_what_tensorflow_registers_is_forgotten_where_asked() -> None:
    @tf.custom_gradient
    def theirs(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return x + 0.0, lambda upstream: upstream

    def traced(is_forgotten: bool) -> weakref.ref[Any]:
        def run(x: tf.Tensor) -> tf.Tensor:
            with gradients_forgotten() if is_forgotten else contextlib.nullcontext():
                return theirs(x)

        return weakref.ref(tf.function(run, autograph=False).get_concrete_function(tf.TensorSpec([8])).graph)

    kept, dropped = traced(is_forgotten=False), traced(is_forgotten=True)
    gc.collect()
    assert dropped() is None
    assert kept() is not None  # TensorFlow no longer keeps it: `gradients_forgotten` has had its day
