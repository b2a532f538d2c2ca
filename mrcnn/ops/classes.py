"""Predictions of which each class has its own."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def select_class(values: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
    """The predictions for one class per RoI.

    Args:
        values: [B, S, ..., K] with K classes last.
        class_index: i32[B, S], 0 .. K - 1.

    Returns:
        [B, S, ...].
    """
    num_classes = values.shape[-1]
    if num_classes == 1:
        return tf.squeeze(values, -1)
    inner = len(values.shape) - 3
    # A product with one-hot rows reads the map once and, unlike a gather, has a cheap gradient.
    one_hot = tf.one_hot(class_index, num_classes, dtype=values.dtype)
    one_hot = tf.reshape(one_hot, [*known_shape(class_index), *[1] * inner, num_classes])
    return tf.reduce_sum(values * one_hot, axis=-1)


def known_shape(x: tf.Tensor) -> list[Any]:
    """Each side as an int where it is known, else as i32[]."""
    shape = tf.shape(x)
    return [shape[i] if size is None else size for i, size in enumerate(x.shape)]
