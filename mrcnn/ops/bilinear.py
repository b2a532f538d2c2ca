"""Weighted sums of feature cells: every output bin of a RoI reads cells with weights that are a product of its axes.

Two ways to form the sums:

    "sparse"  one product of a sparse matrix (bins x cells) with the table of cells [cells, C]; the gradient is the
              product with the transposed matrix. Nothing of size bins x taps x C is ever built, both products run on
              all cores and are deterministic. Measured on two cores, forward + backward: 5 times as fast as gathering
              the corners for 512 RoIs of 7 x 7 x 256 on an 800 x 1088 image. XLA cannot compile it.
    "gather"  a loop over the taps that adds one weighted gather each. Compiles under XLA (jit_compile), where the
              loop body fuses; without XLA it is slow.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import tensorflow as tf

from mrcnn.ops.custom_gradient import custom_gradient
from mrcnn.ops.pyramid import PlacedRois, Windows, for_chunks, make_windows, window_entries
from mrcnn.structures.tensors import Tensor

Method = Literal["sparse", "gather"]

MAX_ENTRIES = 2**21
"""Cells read by one sparse matrix of `sum_runs`: about 150 MB of index arithmetic."""


def check_method(method: str | None) -> Method:
    """The method; raises ValueError unless it is one of `Method`."""
    for known in get_args(Method):
        if method == known:
            return known
    raise ValueError(f'roi_align: method must be "sparse" or "gather", got {method!r}')


def bilinear_taps(position: Tensor, inside: Tensor, share: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """The two cells each sample reads along one axis, and their weights.

    Args:
        position: f32[R, bins, samples] in cells, the center of cell i at i.
        inside: bool, broadcastable to it; other samples weigh nothing.
        share: f32, broadcastable to it: what a sample adds to its bin.
        size: i32[R], cells of the feature map along this axis.

    Returns:
        cell i32[R, bins, 2 * samples] and weight f32[R, bins, 2 * samples]. Beyond the center of the border cell its
        value holds.
    """
    size = size[:, tf.newaxis, tf.newaxis]
    position = tf.clip_by_value(tf.where(inside, position, 0.0), 0.0, tf.cast(size - 1, tf.float32))
    low = tf.floor(position)
    fraction = position - low
    share = tf.where(inside, share, 0.0)
    low = tf.cast(low, tf.int32)
    cell = tf.concat([low, tf.minimum(low + 1, size - 1)], axis=-1)
    return cell, tf.concat([share * (1.0 - fraction), share * fraction], axis=-1)


def sum_taps(rois: PlacedRois, y: Tensor, weight_y: Tensor, x: Tensor, weight_x: Tensor, method: Method) -> Tensor:
    """Each bin's sum over its taps, equally many for every bin; differentiable in the features only.

    Args:
        rois: R RoIs.
        y, weight_y: i32 and f32[R, h, Ty], rows each bin reads and their weights.
        x, weight_x: i32 and f32[R, w, Tx], columns.
        method: see the head of this module.

    Returns:
        f32[R * h * w, C]; zeros for RoIs that are not usable.
    """
    weight_y = tf.where(rois.usable[:, tf.newaxis, tf.newaxis], weight_y, 0.0)
    row_start = rois.origin[:, tf.newaxis, tf.newaxis] + y * rois.level_shape[:, 1, tf.newaxis, tf.newaxis]
    cell = row_start[:, :, tf.newaxis, :, tf.newaxis] + x[:, tf.newaxis, :, tf.newaxis, :]  # [R, h, w, Ty, Tx]
    weight = weight_y[:, :, tf.newaxis, :, tf.newaxis] * weight_x[:, tf.newaxis, :, tf.newaxis, :]
    num_taps = y.shape[-1] * x.shape[-1]
    num_sums = tf.shape(y)[0] * (y.shape[1] * x.shape[1])
    cell, weight = tf.reshape(cell, [num_sums, num_taps]), tf.reshape(weight, [num_sums, num_taps])
    return (_sparse_sums if method == "sparse" else _gather_sums)(rois.table, cell=cell, weight=weight)


def _matrix(row: Tensor, cell: Tensor, weight: Tensor, num_rows: Tensor, num_cells: Tensor, at_least: int) -> Tensor:
    """The sparse matrix [rows, cells] with `weight` at (`row`, `cell`), rows ascending; equal places add up."""
    indices = tf.cast(tf.stack([row, cell], axis=-1), tf.int64)
    shape = tf.cast(tf.stack([tf.maximum(num_rows, at_least), num_cells]), tf.int64)
    return tf.raw_ops.SparseTensorToCSRSparseMatrix(indices=indices, values=weight, dense_shape=shape)


def _product(matrix: Tensor, table: Tensor, num_rows: Tensor) -> Tensor:
    # A matrix without rows makes the kernel divide by zero: `matrix` has at least one. The slice copies nothing.
    return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=table)[:num_rows]


def _transposed_product(matrix: Tensor, upstream: Tensor) -> Tensor:
    # Transposing first is twice as fast as transpose_a=True, which gives every thread its own full result.
    transposed = tf.raw_ops.SparseMatrixTranspose(input=matrix, type=tf.float32)
    return tf.raw_ops.SparseMatrixMatMul(a=transposed, b=upstream)


@custom_gradient
def _sparse_sums(table: Tensor, *, cell: Tensor, weight: Tensor) -> tuple[Tensor, Any]:
    """out[r] = sum over t of weight[r, t] * table[cell[r, t]], differentiable in `table` only.

    Args:
        table: f32[cells, C].
        cell: i32[N, T].
        weight: f32[N, T].

    Returns:
        f32[N, C].
    """
    num_rows = tf.shape(cell)[0]

    def matrix(at_least: int = 0) -> Tensor:
        # Made anew for the gradient: a tape outside a tf.function cannot carry this variant tensor across.
        row = tf.repeat(tf.range(num_rows), tf.shape(cell)[1])
        flat = tf.reshape(cell, [-1]), tf.reshape(weight, [-1])
        return _matrix(row, *flat, num_rows, tf.shape(table)[0], at_least)

    def gradient(upstream: Tensor) -> Tensor:
        return _transposed_product(matrix(), upstream)

    return _product(matrix(at_least=1), table, num_rows), gradient


@custom_gradient
def _gather_sums(table: Tensor, *, cell: Tensor, weight: Tensor) -> tuple[Tensor, Any]:
    """The same sums as `_sparse_sums`, tap by tap, in operations XLA can compile."""
    num_rows, channels = tf.shape(cell)[0], table.shape[-1]
    num_taps = cell.shape[1]
    cell, weight = tf.transpose(cell), tf.transpose(weight)  # [T, N]

    def add(tap: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return tap + 1, total + weight[tap][:, tf.newaxis] * tf.gather(table, cell[tap])

    def gradient(upstream: Tensor) -> Tensor:
        def scatter(tap: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            update = weight[tap][:, tf.newaxis] * upstream
            return tap + 1, tf.tensor_scatter_nd_add(total, cell[tap][:, tf.newaxis], update)

        return tf.while_loop(lambda tap, _: tap < num_taps, scatter, (0, tf.zeros_like(table)))[1]

    return tf.while_loop(lambda tap, _: tap < num_taps, add, (0, tf.zeros([num_rows, channels])))[1], gradient


class AxisRuns(NamedTuple):
    """Per RoI and bin the run of neighboring cells read along one axis; runs differ in length."""

    first: Tensor  # i32[R, bins], first cell
    length: Tensor  # i32[R, bins], may be 0
    weight: Tensor  # f32[sum of the lengths], run after run


def axis_runs(
    position: Tensor, inside: Tensor, share: Tensor, owner: Tensor, size: Tensor, num_rois: Tensor, bins: int
) -> AxisRuns:
    """Samples along one axis as runs of cells: weights of samples that read the same cell are added.

    Args:
        position: f32[K], samples in cells, the center of cell i at i; at most one cell apart within a bin.
        inside: bool[K]; other samples weigh nothing.
        share: f32[K], what a sample adds to its bin.
        owner: i32[K], RoI * bins + bin of each sample, ascending.
        size: i32[K], cells of the feature map along this axis.
        num_rois, bins: R and output bins.

    Returns:
        See `AxisRuns`.
    """
    position = tf.clip_by_value(position, 0.0, tf.cast(size - 1, tf.float32))
    low = tf.floor(position)
    fraction = position - low
    low = tf.cast(low, tf.int32)
    high = tf.minimum(low + 1, size - 1)
    num_runs = num_rois * bins
    used = tf.where(inside, owner, -1)  # negative segments are dropped
    last = tf.math.unsorted_segment_max(high, used, num_runs)
    first = tf.math.unsorted_segment_min(low, used, num_runs)
    has_samples = last >= first  # a run without samples gets the extremes of int32 the wrong way round
    first = tf.where(has_samples, first, 0)
    length = tf.where(has_samples, last - first + 1, 0)
    place = tf.gather(tf.cumsum(length, exclusive=True) - first, owner)
    weight = tf.math.unsorted_segment_sum(
        tf.concat([share * (1.0 - fraction), share * fraction], axis=0),
        tf.where(tf.tile(inside, [2]), tf.concat([place + low, place + high], axis=0), -1),
        tf.reduce_sum(length),
    )
    return AxisRuns(tf.reshape(first, [num_rois, bins]), tf.reshape(length, [num_rois, bins]), weight)


def sum_runs(rois: PlacedRois, y: AxisRuns, x: AxisRuns, max_entries: int = MAX_ENTRIES) -> Tensor:
    """Each bin's sum over the rectangle its runs span; differentiable in the features only.

    Args:
        rois: R RoIs.
        y, x: runs of rows [R, h] and of columns [R, w].
        max_entries: cells taken at a time, which bounds the memory.

    Returns:
        f32[R * h * w, C]; zeros for RoIs that are not usable.
    """
    windows = make_windows(rois, y.first, y.length, x.first, x.length)
    shape = tf.concat([tf.shape(y.first), tf.shape(x.first)[1:]], axis=0)  # [R, h, w]

    def place(runs: AxisRuns, axis: int) -> Tensor:  # [N], where the weights of each bin's run begin
        start = tf.reshape(tf.cumsum(tf.reshape(runs.length, [-1]), exclusive=True), tf.shape(runs.first))
        return tf.reshape(tf.broadcast_to(tf.expand_dims(start, axis), shape), [-1])

    placed = {"windows": windows, "weight_y": y.weight, "place_y": place(y, 2), "weight_x": x.weight}
    return _run_sums(rois.table, **placed, place_x=place(x, 1), max_entries=max_entries)


@custom_gradient
def _run_sums(
    table: Tensor,
    *,
    windows: Windows,
    weight_y: Tensor,
    place_y: Tensor,
    weight_x: Tensor,
    place_x: Tensor,
    max_entries: int,
) -> tuple[Tensor, Any]:
    """`sum_runs` of N placed windows over the table; place_y and place_x: i32[N], where each one's weights begin."""
    num_cells, channels = tf.shape(table)[0], table.shape[-1]

    def matrix(start: Tensor, end: Tensor, at_least: int = 0) -> Tensor:
        entries = window_entries(Windows(*(field[start:end] for field in windows)))
        own_y = tf.gather(weight_y, tf.gather(place_y[start:end], entries.bin) + entries.y)
        own_x = tf.gather(weight_x, tf.gather(place_x[start:end], entries.bin) + entries.x)
        return _matrix(entries.bin, entries.cell, own_y * own_x, end - start, num_cells, at_least)

    def forward(start: Tensor, end: Tensor, sums: tf.TensorArray) -> tf.TensorArray:
        part = _product(matrix(start, end, at_least=1), table, end - start)
        return sums.write(sums.size(), tf.ensure_shape(part, [None, channels]))

    def gradient(upstream: Tensor) -> Tensor:
        def backward(start: Tensor, end: Tensor, total: Tensor) -> Tensor:
            return total + _transposed_product(matrix(start, end), upstream[start:end])

        return for_chunks(windows, max_entries, backward, tf.zeros_like(table))

    sums = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, element_shape=[None, channels])
    return for_chunks(windows, max_entries, forward, sums).concat(), gradient
