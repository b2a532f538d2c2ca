"""Attention of every place to every other, in memory that does not grow with the square of the map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from mrcnn.ops.classes import known_shape
from mrcnn.ops.custom_gradient import custom_gradient

CHUNK = 1024
"""Queries worked off together. A map of 800 x 1333 pixels at stride 16 has 4,200 places, one of 1024 x 2048 has 8,192,
whose square would take 268 MB in float32 for each image, and several times so in the gradient."""


def attend(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, *, chunk: int = CHUNK) -> tf.Tensor:
    """For every query the mean of the values, weighted by the softmax of its products with the keys.

    Products and softmax are float32 whatever comes in. `chunk` queries are worked off at a time and again for the
    gradient, so that the largest array is f32[B, chunk, M].

    Args:
        queries: [B, N, D].
        keys: [B, M, D], M at least 1.
        values: [B, M, E].
        chunk: queries at a time, from 1; changes rounding only.

    Returns:
        [B, N, E] in the dtype of the values. Empty: of no image or no query nothing.

    Ref: Non-local Neural Networks, arXiv 1711.07971, equation 2 with the embedded Gaussian; for the gradient without
    the weights kept, Self-attention Does Not Need O(n^2) Memory, arXiv 2112.05682.

    Example:
        >>> import tensorflow as tf
        >>> keys, values = tf.constant([[[0.0], [1.0]]]), tf.constant([[[2.0], [4.0]]])
        >>> attend(tf.constant([[[0.0]]]), keys, values).numpy().tolist()
        [[[3.0]]]
    """
    wide = [tf.cast(x, tf.float32) for x in (queries, keys, values)]
    result = tf.ensure_shape(_attend(*wide, chunk=chunk), [*queries.shape[:2], values.shape[2]])
    return tf.cast(result, values.dtype)


@custom_gradient
def _attend(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, *, chunk: int) -> tuple[tf.Tensor, Any]:
    whole = queries.shape[1] is not None and queries.shape[1] <= chunk

    def weights_of(rows: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.matmul(rows, keys, transpose_b=True))  # [B, rows, M]

    def outputs_of(rows: tf.Tensor) -> tf.Tensor:
        return tf.matmul(weights_of(rows), values)

    def gradient_of(rows: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = weights_of(rows)
        to_weights = tf.matmul(upstream, values, transpose_b=True)
        to_products = weights * (to_weights - tf.reduce_sum(weights * to_weights, -1, keepdims=True))
        return (
            tf.matmul(to_products, keys),
            tf.matmul(to_products, rows, transpose_a=True),
            tf.matmul(weights, upstream, transpose_a=True),
        )

    def in_chunks() -> tf.Tensor:
        parts = split(queries, chunk)  # [n, B, N / n, D]
        return join(for_each(lambda i: (outputs_of(parts[i]),), parts, (values.shape[2],), ())[0], queries)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if whole:
            return gradient_of(queries, upstream)
        parts, upstreams = split(queries, chunk), split(upstream, chunk)
        to_queries, to_keys, to_values = for_each(
            lambda i: gradient_of(parts[i], upstreams[i]),
            parts,
            (queries.shape[2],),
            (tf.zeros_like(keys), tf.zeros_like(values)),
        )
        return join(to_queries, queries), to_keys, to_values

    return outputs_of(queries) if whole else in_chunks(), gradient


def for_each(
    function: Callable[[Any], tuple[tf.Tensor, ...]],
    parts: tf.Tensor,
    channels: tuple[int | None],
    sums: tuple[tf.Tensor, ...],
) -> tuple[tf.Tensor, ...]:
    """What a function gives for the parts one after the other: the first result stacked, the others added up.

    Where the number of parts is known it is no loop: OpenVINO cannot run one. The parts still wait for each other, as
    several at a time would need the memory of several.

    Args:
        function: from the number of a part.
        parts: [n, B, N / n, ...].
        channels: last size of the first result [B, N / n, channels], which has the dtype of the parts.
        sums: zeros of the shapes of the others.
    """
    if parts.shape[0] is not None:
        firsts: list[tf.Tensor] = []
        for i in range(parts.shape[0]):
            with tf.control_dependencies(firsts[-1:]):
                first, *more = function(i)
            firsts.append(first)
            sums = tuple(total + value for total, value in zip(sums, more, strict=True))
        return tf.stack(firsts), *sums
    stacked = tf.TensorArray(parts.dtype, tf.shape(parts)[0], element_shape=[*parts.shape[1:3], *channels])

    def step(i: tf.Tensor, stacked: tf.TensorArray, *sums: tf.Tensor) -> Any:
        first, *more = function(i)
        return i + 1, stacked.write(i, first), *(total + value for total, value in zip(sums, more, strict=True))

    _, stacked, *sums = tf.while_loop(
        lambda i, *_: i < tf.shape(parts)[0], step, (0, stacked, *sums), parallel_iterations=1
    )
    return stacked.stack(), *sums


def split(x: tf.Tensor, chunk: int) -> tf.Tensor:
    """[B, N, D] -> [n, B, N / n, D] with n the fewest parts of at most `chunk`, filled up with zeros."""
    batch, num, channels = known_shape(x)
    parts = max(-(-num // chunk), 1) if isinstance(num, int) else tf.maximum(-(-num // chunk), 1)
    size = -(-num // parts)
    padded = tf.pad(x, [[0, 0], [0, parts * size - num], [0, 0]])
    return tf.transpose(tf.reshape(padded, [batch, parts, size, channels]), [1, 0, 2, 3])


def join(parts: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The inverse of `split`: [n, B, N / n, E] -> [B, N, E] with the N of `like`."""
    number, batch, size, channels = tf.unstack(tf.shape(parts))
    joined = tf.reshape(tf.transpose(parts, [1, 0, 2, 3]), [batch, number * size, channels])
    return joined[:, : known_shape(like)[1]]
