"""Deformable convolution: every tap of the kernel reads where an offset of its own says, bilinearly.

The map is read tap by tap, and what one tap gives is multiplied with its part of the kernel before the next one is
read: memory holds the samples of a single tap (four reads of output cells x channels), never those of the whole kernel.
Nothing sampled is kept for the gradient, which reads the map again.

The same in C++ and CUDA, where it has been built, takes over by default (`native.loading`): the samples of all taps,
the columns, lie in memory at once there, and one matrix product follows; they are not kept for the gradient either.

Ref: Dai et al., Deformable Convolutional Networks, arXiv 1703.06211, section 2.1; with a mask, Zhu et al., Deformable
ConvNets v2, arXiv 1811.11168, section 3.2.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import tensorflow as tf

from mrcnn.native import loading
from mrcnn.ops.custom_gradient import custom_gradient
from mrcnn.structures.tensors import Tensor


def deformable_conv2d(
    inputs: Tensor,
    offsets: Tensor,
    kernel: Tensor,
    mask: Tensor | None = None,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: int | None = None,
    method: Literal["op", "gather"] | None = None,
) -> Tensor:
    """Convolution whose taps are moved by offsets and, with a mask, weighted ("modulated", v2).

    Gradients flow into all four tensors. Outside of the map lie zeros: a sample between the border and the outside
    fades to 0. An offset that is not finite reads outside.

    Args:
        inputs: f32|f16|bf16[B, H, W, C].
        offsets: [B, H', W', G * kh * kw * 2], cells by which each tap of each of G groups of input channels is moved,
            (y, x) of a tap side by side, taps row by row.
        kernel: [kh, kw, C / groups, F]; output channels group after group.
        mask: [B, H', W', G * kh * kw], what each sample is multiplied with, or None: 1.
        stride: step in both directions.
        dilation: cells from one tap of the kernel to the next, before offsets.
        groups: of the convolution; they are not those of the offsets.
        padding: cells of zeros on every side; None: dilation * (kh - 1) / 2, as "same" at stride 1.
        method: "op", see `native.loading`; "gather", of TensorFlow's own operations; None: "op" where it is loaded and
            may be used, else "gather". Same numbers up to rounding.

    Returns:
        [B, H', W', F] in the dtype of `inputs`, H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1; positions
        and bilinear sums are float32.

    Raises:
        ValueError: channels that the groups do not divide, or offsets or a mask of other channels; another `method`.
        BuildError: `method` is "op", and there is none.

    Empty: B = 0 gives an empty result.

    Example:
        >>> image = tf.reshape(tf.range(9.0), [1, 3, 3, 1])
        >>> half_a_cell_down = tf.tile(tf.constant([0.5, 0.0]), [9])
        >>> offsets = tf.broadcast_to(half_a_cell_down, [1, 3, 3, 18])
        >>> only_the_center = tf.scatter_nd([[1, 1]], [[[1.0]]], [3, 3, 1, 1])
        >>> deformable_conv2d(image, offsets, only_the_center)[0, :, :, 0].numpy().tolist()
        [[1.5, 2.5, 3.5], [4.5, 5.5, 6.5], [3.0, 3.5, 4.0]]
    """
    geometry = _check(inputs, offsets, kernel, mask, stride, dilation, groups, padding)
    given = (inputs, offsets, kernel) if mask is None else (inputs, offsets, kernel, mask)
    if method not in (None, "op", "gather"):
        raise ValueError(f'deformable_conv2d: expected method "op" or "gather", got {method!r}')
    if method == "op":
        loading.require()
    use_op = method == "op" or (method is None and loading.choose([inputs], "deformable convolution") is not None)
    convolve = _by_op if use_op else _by_gathering
    outputs = convolve(*given, geometry=geometry)
    return tf.ensure_shape(outputs, [*offsets.shape[:3], kernel.shape[3]])


class Geometry(NamedTuple):
    """Where the taps lie without offsets, and how channels are split."""

    kernel_size: tuple[int, int]
    stride: int
    dilation: int
    padding: int
    groups: int
    offset_groups: int


def _check(
    inputs: Tensor,
    offsets: Tensor,
    kernel: Tensor,
    mask: Tensor | None,
    stride: int,
    dilation: int,
    groups: int,
    padding: int | None,
) -> Geometry:
    height, width, per_group, filters = kernel.shape
    taps, channels = height * width, inputs.shape[-1]
    if per_group * groups != channels or filters % groups:
        raise ValueError(
            f"deformable_conv2d: {groups} groups and a kernel of {list(kernel.shape)} do not fit {channels} channels"
        )
    offset_groups = offsets.shape[-1] // (2 * taps)
    if offset_groups < 1 or offsets.shape[-1] != 2 * taps * offset_groups or channels % offset_groups:
        raise ValueError(
            f"deformable_conv2d: offsets have {offsets.shape[-1]} channels, expected {2 * taps} for each of the groups"
            f" that divide {channels} channels"
        )
    if mask is not None and mask.shape[-1] != taps * offset_groups:
        raise ValueError(
            f"deformable_conv2d: the mask has {mask.shape[-1]} channels, expected {taps * offset_groups}, half of the"
            " offsets'"
        )
    padding = dilation * (height - 1) // 2 if padding is None else padding
    return Geometry((height, width), stride, dilation, padding, groups, offset_groups)


class _Samples(NamedTuple):
    """What each tap reads: K taps, N = B * H' * W' output cells, G groups of input channels."""

    cell: Tensor  # i32[K, N, G, 4], rows of the table of [B * H * W * G] cells; (y, x) low low, low high, high low, ...
    inside: Tensor  # f32[K, N, G, 4], 1 where there is such a cell, else 0
    fraction: Tensor  # f32[K, N, G, 2], of the way from the lower cell to the higher one, (y, x)
    mask: Tensor | None  # f32[K, N, G, 1]

    def weight(self, tap: int) -> Tensor:
        """f32[N, G, 4]: bilinear weights of the four cells, 0 for those outside."""
        y, x = self.fraction[tap, ..., 0], self.fraction[tap, ..., 1]
        corners = [(1.0 - y) * (1.0 - x), (1.0 - y) * x, y * (1.0 - x), y * x]
        return tf.stack(corners, axis=-1) * self.inside[tap]


def _place(shape: Tensor, offsets: Tensor, mask: Tensor | None, geometry: Geometry) -> _Samples:
    """Where every tap of every output cell reads in inputs of `shape` i32[4]."""
    rows, columns = geometry.kernel_size
    taps, offset_groups = rows * columns, geometry.offset_groups
    size = shape[1:3]
    out = tf.shape(offsets)
    ij = tf.stack(tf.meshgrid(tf.range(rows), tf.range(columns), indexing="ij"), axis=-1)
    cells = tf.stack(tf.meshgrid(tf.range(out[1]), tf.range(out[2]), indexing="ij"), axis=-1)
    start = tf.cast(tf.reshape(cells, [-1, 2]) * geometry.stride - geometry.padding, tf.float32)  # [H' W', 2]
    reach = tf.cast(tf.reshape(ij, [-1, 1, 2]) * geometry.dilation, tf.float32)  # [K, 1, 2]
    unmoved = (start + reach)[:, tf.newaxis, :, tf.newaxis]  # [K, 1, H' W', 1, 2]
    moved_by = tf.reshape(tf.cast(offsets, tf.float32), [out[0], out[1] * out[2], offset_groups, taps, 2])
    position = unmoved + tf.transpose(moved_by, [3, 0, 1, 2, 4])  # [K, B, H' W', G, 2]
    # Further out than this all four cells are outside, and numbers remain that integers can hold.
    limit = tf.cast(size, tf.float32) + 1.0
    position = tf.where(tf.math.is_finite(position), tf.clip_by_value(position, -2.0, limit), -2.0)
    low = tf.floor(position)
    fraction, low = position - low, tf.cast(low, tf.int32)
    image = tf.range(out[0])[:, tf.newaxis, tf.newaxis]
    group = tf.range(offset_groups)
    cell, inside = [], []
    for y in (low[..., 0], low[..., 0] + 1):
        for x in (low[..., 1], low[..., 1] + 1):
            is_inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
            place = ((image * size[0] + y) * size[1] + x) * offset_groups + group
            cell.append(tf.where(is_inside, place, 0))
            inside.append(tf.cast(is_inside, tf.float32))
    flat = [taps, -1, offset_groups]
    if mask is not None:
        mask = tf.reshape(tf.cast(mask, tf.float32), [-1, offset_groups, taps])
        mask = tf.transpose(mask, [2, 0, 1])[..., tf.newaxis]
    return _Samples(
        tf.reshape(tf.stack(cell, axis=-1), [*flat, 4]),
        tf.reshape(tf.stack(inside, axis=-1), [*flat, 4]),
        tf.reshape(fraction, [*flat, 2]),
        mask,
    )


def _table(inputs: Tensor, offset_groups: int) -> Tensor:
    """[B * H * W * G, C / G]: the map as rows that samples are gathered from."""
    return tf.reshape(inputs, [-1, inputs.shape[-1] // offset_groups])


def _corners(table: Tensor, samples: _Samples, tap: int) -> list[Tensor]:
    """Four times f32[N, G, C / G]: the cells one tap reads, also those for which the first cell stands."""
    return [tf.cast(tf.gather(table, samples.cell[tap, ..., corner]), tf.float32) for corner in range(4)]


def _sampled(corners: list[Tensor], weight: Tensor) -> Tensor:
    """f32[N, G, C / G]."""
    return tf.add_n([value * weight[..., i : i + 1] for i, value in enumerate(corners)])


def _split(x: Tensor, groups: int) -> Tensor:
    """[N, C] -> [groups, N, C / groups]."""
    return tf.transpose(tf.reshape(x, [tf.shape(x)[0], groups, x.shape[-1] // groups]), [1, 0, 2])


def _join(x: Tensor) -> Tensor:
    """[groups, N, C / groups] -> [N, C]."""
    groups, _, width = x.shape
    return tf.reshape(tf.transpose(x, [1, 0, 2]), [tf.shape(x)[1], groups * width])


def _kernels(kernel: Tensor, groups: int) -> Tensor:
    """[kh, kw, C / groups, F] -> [K, groups, C / groups, F / groups]."""
    rows, columns, width, filters = kernel.shape
    split = tf.reshape(kernel, [rows * columns, width, groups, filters // groups])
    return tf.transpose(split, [0, 2, 1, 3])


@custom_gradient
def _by_gathering(
    inputs: Tensor, offsets: Tensor, kernel: Tensor, *mask: Tensor, geometry: Geometry
) -> tuple[Tensor, Any]:
    groups, channels = geometry.groups, inputs.shape[-1]
    samples = _place(tf.shape(inputs), offsets, mask[0] if mask else None, geometry)
    table, kernels = _table(inputs, geometry.offset_groups), _kernels(tf.cast(kernel, inputs.dtype), groups)
    outputs: Tensor = 0.0
    for tap in range(kernels.shape[0]):
        read = _sampled(_corners(table, samples, tap), samples.weight(tap))
        read = read if samples.mask is None else read * samples.mask[tap]
        read = tf.cast(tf.reshape(read, [-1, channels]), inputs.dtype)
        outputs += tf.cast(_join(tf.matmul(_split(read, groups), kernels[tap])), tf.float32)
    shape = tf.concat([tf.shape(offsets)[:3], [kernel.shape[3]]], 0)

    def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
        return _gradients(inputs, offsets, kernel, mask, upstream, geometry)

    return tf.cast(tf.reshape(outputs, shape), inputs.dtype), gradient


def _gradients(
    inputs: Tensor, offsets: Tensor, kernel: Tensor, mask: tuple[Tensor, ...], upstream: Tensor, geometry: Geometry
) -> tuple[Tensor, ...]:
    """Of inputs, offsets, kernel and, where there is one, mask."""
    groups, offset_groups, channels = geometry.groups, geometry.offset_groups, inputs.shape[-1]
    samples = _place(tf.shape(inputs), offsets, mask[0] if mask else None, geometry)
    table, kernels = _table(inputs, offset_groups), _kernels(tf.cast(kernel, inputs.dtype), groups)
    above = _split(tf.reshape(upstream, [-1, kernel.shape[3]]), groups)  # [groups, N, F / groups]
    to_table = tf.zeros(tf.shape(table), tf.float32)
    to_offsets, to_kernel, to_mask = [], [], []
    for tap in range(kernels.shape[0]):
        corners, weight = _corners(table, samples, tap), samples.weight(tap)
        read = _sampled(corners, weight)
        to_read = tf.cast(_join(tf.matmul(above, kernels[tap], transpose_b=True)), tf.float32)
        to_read = tf.reshape(to_read, [-1, offset_groups, channels // offset_groups])
        # How the loss grows with a cell's weight; everything else follows from these four numbers per sample.
        slope = tf.stack([tf.reduce_sum(to_read * value, axis=-1) for value in corners], axis=-1)
        slope *= samples.inside[tap]  # [N, G, 4]
        to_mask.append(tf.reduce_sum(slope * weight, axis=-1))
        if samples.mask is not None:
            read, slope, to_read = (x * samples.mask[tap] for x in (read, slope, to_read))
        y, x = samples.fraction[tap, ..., 0], samples.fraction[tap, ..., 1]
        to_y = (1.0 - x) * (slope[..., 2] - slope[..., 0]) + x * (slope[..., 3] - slope[..., 1])
        to_x = (1.0 - y) * (slope[..., 1] - slope[..., 0]) + y * (slope[..., 3] - slope[..., 2])
        to_offsets.append(tf.stack([to_y, to_x], axis=-1))
        read = _split(tf.cast(tf.reshape(read, [-1, channels]), inputs.dtype), groups)
        to_kernel.append(tf.matmul(read, above, transpose_a=True))
        for i in range(4):
            to_table += tf.math.unsorted_segment_sum(
                to_read * weight[..., i : i + 1], samples.cell[tap, ..., i], tf.shape(table)[0]
            )
    by_tap = tf.transpose(tf.stack(to_kernel), [0, 2, 1, 3])  # [K, C / groups, groups, F / groups]
    gradients = (
        tf.cast(tf.reshape(to_table, tf.shape(inputs)), inputs.dtype),
        tf.cast(tf.reshape(tf.stack(to_offsets, axis=2), tf.shape(offsets)), offsets.dtype),
        tf.cast(tf.reshape(by_tap, kernel.shape), kernel.dtype),
    )
    if not mask:
        return gradients
    return *gradients, tf.cast(tf.reshape(tf.stack(to_mask, axis=2), tf.shape(mask[0])), mask[0].dtype)


# --- By the op ---


@custom_gradient
def _by_op(inputs: Tensor, offsets: Tensor, kernel: Tensor, *mask: Tensor, geometry: Geometry) -> tuple[Tensor, Any]:
    filters, library = kernel.shape[3], loading.require()
    attributes = {
        "kernel_height": geometry.kernel_size[0],
        "kernel_width": geometry.kernel_size[1],
        "stride": geometry.stride,
        "dilation": geometry.dilation,
        "padding": geometry.padding,
        "groups": geometry.groups,
    }
    moved_by = tf.cast(offsets, tf.float32)
    weights = tf.cast(mask[0], tf.float32) if mask else tf.zeros([0, 0, 0, 0])
    flat = _flat_kernel(tf.cast(kernel, inputs.dtype), geometry.groups)

    def columns() -> Tensor:
        return library.mrcnn_deformable_columns(features=inputs, offsets=moved_by, mask=weights, **attributes)

    shape = tf.concat([tf.shape(offsets)[:3], [filters]], 0)
    outputs = tf.reshape(_join(tf.matmul(columns(), flat)), shape)

    def gradient(upstream: Tensor) -> tuple[Tensor, ...]:
        above = _split(tf.reshape(upstream, [-1, filters]), geometry.groups)  # [groups, N, F / groups]
        to_kernel = _unflat_kernel(tf.matmul(columns(), above, transpose_a=True), kernel.shape)
        to_inputs, to_offsets, to_mask = library.mrcnn_deformable_columns_grad(
            gradient=tf.matmul(above, flat, transpose_b=True),
            features=inputs,
            offsets=moved_by,
            mask=weights,
            **attributes,
        )
        gradients = (
            tf.cast(to_inputs, inputs.dtype),
            tf.cast(to_offsets, offsets.dtype),
            tf.cast(to_kernel, kernel.dtype),
        )
        return (*gradients, tf.cast(to_mask, mask[0].dtype)) if mask else gradients

    return outputs, gradient


def _flat_kernel(kernel: Tensor, groups: int) -> Tensor:
    """[kh, kw, C / groups, F] -> [groups, kh * kw * C / groups, F / groups]."""
    by_tap = _kernels(kernel, groups)
    return tf.reshape(tf.transpose(by_tap, [1, 0, 2, 3]), [groups, -1, kernel.shape[3] // groups])


def _unflat_kernel(flat: Tensor, shape: tf.TensorShape) -> Tensor:
    """The reverse of `_flat_kernel`."""
    rows, columns, width, filters = shape
    groups = flat.shape[0]
    by_group = tf.reshape(flat, [groups, rows * columns, width, filters // groups])
    return tf.reshape(tf.transpose(by_group, [1, 2, 0, 3]), shape)
