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

    Products, softmax and sums over keys are of the dtype that comes in, as TensorFlow computes them in it; sums over
    chunks are float32. `chunk` queries are worked off at a time and again for the gradient, so that the largest array
    is [B, chunk, h * w].

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
    in_product = _adds_in_product(keys, size)

    def with_places() -> tf.Tensor:
        """The keys, and behind each a one at its row and a one at its column."""
        return tf.concat([keys, tf.broadcast_to(_places(size, keys.dtype), [*known_shape(keys)[:2], sum(size)])], 2)

    def weights_of(part: tf.Tensor, placed: tf.Tensor | None) -> tf.Tensor:
        if placed is not None:
            return tf.nn.softmax(tf.matmul(part, placed, transpose_b=True))  # [B, n, h * w]
        products = tf.matmul(part[..., :depth], keys, transpose_b=True)
        shape = known_shape(products)
        rows, columns = part[..., depth : depth + height], part[..., depth + height :]
        scores = tf.reshape(products, [*shape[:2], *size]) + (rows[..., tf.newaxis] + columns[:, :, tf.newaxis])
        return tf.nn.softmax(tf.reshape(scores, shape))

    def outputs_of(part: tf.Tensor, placed: tf.Tensor | None) -> tf.Tensor:
        return tf.matmul(weights_of(part, placed), values)

    def gradient_of(
        part: tf.Tensor, upstream: tf.Tensor, placed: tf.Tensor | None, with_ones: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        weights = weights_of(part, placed)
        means = _float(upstream) * _float(tf.matmul(weights, values))
        means = tf.reduce_sum(means, -1, keepdims=True)  # of the gradient of each query's weights, by them
        near = tf.cast(means, upstream.dtype)
        rest = tf.cast(means - _float(near), upstream.dtype)
        to_scores = weights * tf.matmul(tf.concat([upstream, -near, -rest], 2), with_ones, transpose_b=True)
        if placed is not None:
            to_part = tf.matmul(to_scores, placed)
        else:
            on_map = tf.reshape(to_scores, [*known_shape(to_scores)[:2], *size])
            to_part = tf.concat([tf.matmul(to_scores, keys), tf.reduce_sum(on_map, 3), tf.reduce_sum(on_map, 2)], 2)
        to_keys = tf.matmul(to_scores, part[..., :depth], transpose_a=True)
        return to_part, _float(to_keys), _float(tf.matmul(weights, upstream, transpose_a=True))

    def in_chunks() -> tf.Tensor:
        parts = split(asked, chunk)
        return join(for_each(lambda i: (outputs_of(parts[i], placed),), parts, (values.shape[2],), ())[0], asked)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        placed = with_places() if in_product else None  # made again, not kept
        with_ones = tf.concat([values, tf.ones([*known_shape(values)[:2], 2], values.dtype)], 2)
        if whole:
            to_asked, to_keys, to_values = gradient_of(asked, upstream, placed, with_ones)
        else:
            parts, upstreams = split(asked, chunk), split(upstream, chunk)
            to_parts, to_keys, to_values = for_each(
                lambda i: gradient_of(parts[i], upstreams[i], placed, with_ones),
                parts,
                (asked.shape[2],),
                tuple(tf.zeros_like(x, tf.float32) for x in (keys, values)),
            )
            to_asked = join(to_parts, asked)
        return to_asked, tf.cast(to_keys, keys.dtype), tf.cast(to_values, values.dtype)

    placed = with_places() if in_product else None
    return outputs_of(asked, placed) if whole else in_chunks(), gradient


def _adds_in_product(keys: tf.Tensor, size: tuple[Any, Any]) -> bool:
    """Whether rows and columns are added as channels of the product, which has that many more, or to its result.

    In half precision products cost less than passes over their results.
    """
    is_small = all(isinstance(side, int) for side in size) and sum(size) <= keys.shape[2]
    return is_small or keys.dtype != tf.float32


def _places(size: tuple[Any, Any], dtype: tf.DType) -> tf.Tensor:
    """[h * w, h + w], where each cell of a map has a one: at its row, and at its column."""
    height, width = size
    cells = tf.range(height * width)
    return tf.concat(
        [tf.one_hot(cells // width, height, dtype=dtype), tf.one_hot(cells % width, width, dtype=dtype)], 1
    )


def _float(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)
