"""Attention among the cells of a map whose relative positions count row by row and column by column."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mrcnn.ops.attention import for_each, join, split
from mrcnn.ops.classes import known_shape
from mrcnn.ops.custom_gradient import custom_gradient

CHUNK = 256
"""Queries of each head worked off together. A square of 1024 pixels at stride 16 has 4096 cells: all scores of twelve
heads would be 805 MB in float32, those of 256 queries are 50 MB."""


def attend_map(
    queries: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    rows: tf.Tensor,
    columns: tf.Tensor,
    *,
    chunk: int = CHUNK,
) -> tf.Tensor:
    """For every query the mean of the values, weighted by the softmax of queries x keys + rows + columns.

    Products are of the dtype that comes in, the softmax is float32. `chunk` queries are worked off at a time and again
    for the gradient, so that the largest array is f32[B, chunk, h * w].

    Args:
        queries: [B, N, D], scaled.
        keys: [B, h * w, D], row by row of a map.
        values: [B, h * w, E].
        rows: [B, N, h], what is added to the score of a query and every key of that row.
        columns: [B, N, w], the same of that column.
        chunk: queries at a time, from 1; changes rounding only.

    Returns:
        [B, N, E] in the dtype of the values. Empty: of no map or no query nothing.

    Ref: MViTv2, arXiv 2112.01526, section 4.1, "decomposed relative position embeddings"; for the gradient without the
    weights kept, Self-attention Does Not Need O(n^2) Memory, arXiv 2112.05682.

    Example:
        >>> nothing, values = tf.zeros([1, 1, 1]), tf.constant([[[2.0], [4.0], [6.0], [8.0]]])
        >>> in_the_second_row = tf.constant([[[0.0, 99.0]]])
        >>> attend_map(nothing, tf.zeros([1, 4, 1]), values, in_the_second_row, tf.zeros([1, 1, 2])).numpy().tolist()
        [[[7.0]]]
    """
    size = (known_shape(rows)[2], known_shape(columns)[2])
    asked = tf.concat([queries, *(tf.cast(x, queries.dtype) for x in (rows, columns))], 2)
    result = _attend(asked, keys, values, size=size, chunk=chunk)
    return tf.ensure_shape(result, [*queries.shape[:2], values.shape[2]])


@custom_gradient
def _attend(
    asked: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, *, size: tuple[Any, Any], chunk: int
) -> tuple[tf.Tensor, Any]:
    """`asked` is [B, N, D + h + w], what belongs to each query side by side; the gradient is, too."""
    whole = asked.shape[1] is not None and asked.shape[1] <= chunk
    depth, height = keys.shape[2], size[0]

    def weights_of(part: tf.Tensor) -> tf.Tensor:
        products = tf.matmul(part[..., :depth], keys, transpose_b=True)
        shape = known_shape(products)
        rows, columns = part[..., depth : depth + height], part[..., depth + height :]
        scores = tf.reshape(tf.cast(products, tf.float32), [*shape[:2], *size])
        scores += tf.cast(rows, tf.float32)[..., tf.newaxis] + tf.cast(columns, tf.float32)[:, :, tf.newaxis]
        return tf.nn.softmax(tf.reshape(scores, shape))  # f32[B, n, h * w]

    def outputs_of(part: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.cast(weights_of(part), values.dtype), values)

    def gradient_of(part: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = weights_of(part)
        to_weights = tf.cast(tf.matmul(upstream, values, transpose_b=True), tf.float32)
        to_scores = weights * (to_weights - tf.reduce_sum(weights * to_weights, -1, keepdims=True))
        on_map = tf.reshape(to_scores, [*known_shape(to_scores)[:2], *size])
        to_positions = tf.concat([tf.reduce_sum(on_map, 3), tf.reduce_sum(on_map, 2)], 2)
        to_products = tf.cast(to_scores, part.dtype)
        to_keys = tf.matmul(to_products, part[..., :depth], transpose_a=True)
        to_values = tf.matmul(tf.cast(weights, upstream.dtype), upstream, transpose_a=True)
        return (
            tf.concat([tf.matmul(to_products, keys), tf.cast(to_positions, part.dtype)], 2),
            tf.cast(to_keys, tf.float32),
            tf.cast(to_values, tf.float32),
        )

    def in_chunks() -> tf.Tensor:
        parts = split(asked, chunk)
        return join(for_each(lambda i: (outputs_of(parts[i]),), parts, (values.shape[2],), ())[0], asked)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if whole:
            to_asked, to_keys, to_values = gradient_of(asked, upstream)
        else:
            parts, upstreams = split(asked, chunk), split(upstream, chunk)
            to_parts, to_keys, to_values = for_each(
                lambda i: gradient_of(parts[i], upstreams[i]),
                parts,
                (asked.shape[2],),
                tuple(tf.zeros_like(x, tf.float32) for x in (keys, values)),
            )
            to_asked = join(to_parts, asked)
        return to_asked, tf.cast(to_keys, keys.dtype), tf.cast(to_values, values.dtype)

    return outputs_of(asked) if whole else in_chunks(), gradient
