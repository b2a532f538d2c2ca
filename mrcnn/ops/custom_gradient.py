"""Gradients of our own that do not outlive the graph they were made for."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import tensorflow as tf


def custom_gradient(function: Callable[..., tuple[tf.Tensor, Any]]) -> Callable[..., tf.Tensor]:
    """`tf.custom_gradient` for a function at the top level of a module, without its leak.

    In a graph, `tf.custom_gradient` writes the gradient into a registry of the process, and with it the graph around,
    and the weights that graph reads, for good: 200 MB for each ResNet-50-FPN that was ever traced. Here the function
    gets a graph of its own, which sees its arguments alone and is kept once per signature.

    Args:
        function: as for `tf.custom_gradient`: from tensors to an output and the function that makes the gradients of
            its positional arguments. Arguments given by name have none; they are tensors, tuples of such or hashable.
            It reads no other tensor or variable.

    Returns:
        A function of the same arguments that returns the output.

    Example:
        >>> @custom_gradient
        ... def reversed_gradient(x):
        ...     return tf.identity(x), lambda upstream: -upstream
        >>> x = tf.Variable(2.0)
        >>> with tf.GradientTape() as tape:
        ...     y = reversed_gradient(x)
        >>> float(tape.gradient(y, x))
        -1.0
    """

    @functools.wraps(function)
    def direct(*tensors: tf.Tensor, **static: Any) -> tf.Tensor:
        @tf.custom_gradient
        def of_tensors(*tensors: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return function(*tensors, **static)

        return of_tensors(*tensors)

    in_own_graph = tf.function(direct, autograph=False)

    @functools.wraps(function)
    def call(*tensors: tf.Tensor, **static: Any) -> tf.Tensor:
        tensors = tuple(tf.convert_to_tensor(tensor) for tensor in tensors)
        return (direct if tf.executing_eagerly() else in_own_graph)(*tensors, **static)

    return call


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """For what is traced inside and never differentiated: gradients registered meanwhile leave the registry again.

    TensorFlow's all-reduce, which Keras' optimizers call, is a `tf.custom_gradient`: every training would stay in the
    process with its graph and weights.
    """
    registry = _registry()
    before = set(registry)
    try:
        yield
    finally:
        for name in [name for name in registry if name not in before and name.startswith("CustomGradient-")]:
            del registry[name]


def _registry() -> MutableMapping[str, Any]:
    """TensorFlow's gradients by name; empty for a TensorFlow that keeps them elsewhere."""
    try:
        from tensorflow.python.framework.ops import gradient_registry
    except ImportError:
        return {}
    registry: MutableMapping[str, Any] = getattr(gradient_registry, "_registry", {})
    return registry
