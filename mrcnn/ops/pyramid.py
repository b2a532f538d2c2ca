"""RoIs on a feature pyramid: which level a RoI belongs to, and where its cells lie.

All levels of all images are laid out as one table [cells, C]: level by level, image by image, row by row. Every
RoI operator then is a weighted sum or a maximum over rows of that table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import tensorflow as tf

from mrcnn.structures.tensors import Tensor

LevelRule = Literal["floor_inside", "floor_after", "round_image_area"]


class LevelAssignment(NamedTuple):
    """How the level of a RoI follows from its size; see `assign_levels`."""

    canonical_size: float = 224.0
    canonical_level: int = 4
    rule: LevelRule = "floor_inside"
    epsilon: float = 1e-6


def assign_levels(
    boxes: Tensor,
    min_level: int,
    max_level: int,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
    rule: LevelRule = "floor_inside",
    epsilon: float = 1e-6,
    image_shape: Tensor | None = None,
) -> Tensor:
    """The pyramid level each box is pooled from; larger boxes belong to coarser levels.

    With side = sqrt(area), k0 = canonical_level:

        "floor_inside"      floor(k0 + log2(side / canonical_size + epsilon))
        "floor_after"       floor(k0 + log2(side / canonical_size) + epsilon)
        "round_image_area"  k0 + round(log2(side / canonical_size)), half to even, the side measured with the distance
                            between the first and the last pixel of the image as the image's height and width:
                            side = sqrt(h / (H - 1) * w / (W - 1)) * sqrt(H * W)

    Args:
        boxes: f32[..., 4], pixels.
        min_level, max_level: bounds of the result, e.g. 2 and 5.
        canonical_size: square root of the area of a box that belongs to `canonical_level`, pixels.
        canonical_level: k0.
        rule: see above.
        epsilon: keeps a box of exactly canonical_size on its level in spite of rounding.
        image_shape: i32[2], height and width of the padded image; only "round_image_area" needs it.

    Returns:
        i32[...]; an empty box belongs to `min_level`.

    Ref: Feature Pyramid Networks, equation 1.
    """
    boxes = tf.cast(boxes, tf.float32)
    height = tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    width = tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    if rule == "floor_inside":
        level = tf.floor(canonical_level + _log2(tf.sqrt(height * width) / canonical_size + epsilon))
    elif rule == "floor_after":
        level = tf.floor(canonical_level + _log2(tf.sqrt(height * width) / canonical_size) + epsilon)
    elif rule == "round_image_area":
        if image_shape is None:
            raise ValueError('assign_levels: rule "round_image_area" needs image_shape')
        shape = tf.cast(image_shape, tf.float32)
        span = tf.maximum(shape - 1.0, 1.0)
        share = tf.sqrt((height / span[0]) * (width / span[1]))
        level = canonical_level + tf.round(_log2(share / (canonical_size / tf.sqrt(shape[0] * shape[1]))))
    else:
        rules = ", ".join(f'"{name}"' for name in get_args(LevelRule))
        raise ValueError(f"assign_levels: rule must be one of {rules}, got {rule!r}")
    # Bounded as a float: the area of a box beyond 1e19 pixels a side is infinite, which has no integer.
    return tf.cast(tf.clip_by_value(level, float(min_level), float(max_level)), tf.int32)


def _log2(x: Tensor) -> Tensor:
    # The log of an empty box would be -inf; one without height and of infinite width has an area that is no number.
    return tf.math.log(tf.where(x > 1e-30, x, 1e-30)) / tf.math.log(2.0)


def divide(x: Tensor, divisor: int) -> Tensor:
    """f32 -> f32, x / divisor rounded once, for quotients of which the ceiling is taken.

    Graphs are rewritten to multiply by the rounded reciprocal of a constant, so that 14 / 7 may exceed 2.
    """
    return tf.cast(tf.cast(x, tf.float64) / divisor, tf.float32)


DEFAULT_ASSIGNMENT = LevelAssignment()


def _level_places(features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns of each level i32[L, 2], its cells per image i32[L], its first row of the table i32[L]."""
    shapes = tf.stack([tf.shape(level)[1:3] for level in features])
    cells = shapes[:, 0] * shapes[:, 1]
    return shapes, cells, tf.shape(features[0])[0] * tf.cumsum(cells, exclusive=True)


def gather_patches(features: Sequence[Tensor], cell: Tensor, side: int) -> Tensor:
    """The square of cells around each of some cells; zeros beyond the border of the level, as SAME padding has it.

    Args:
        features: per level [B, Hl, Wl, C].
        cell: i32[B, n], counted level by level and row by row within the image.
        side: cells per axis, odd.

    Returns:
        [B, n, side, side, C] in the dtype of the features.
    """
    shapes, cells, starts = _level_places(features)
    first = tf.cumsum(cells, exclusive=True)  # [L], of an image's cells
    level = tf.reduce_sum(tf.cast(cell[..., tf.newaxis] >= first[1:], tf.int32), -1)  # [B, n]
    inner = cell - tf.gather(first, level)
    height, width = tf.unstack(tf.gather(shapes, level)[..., tf.newaxis], 2, axis=-2)  # [B, n, 1]
    around = tf.range(side) - side // 2
    y = (inner[..., tf.newaxis] // width + around)[..., :, tf.newaxis]  # [B, n, side, 1]
    x = (inner[..., tf.newaxis] % width + around)[..., tf.newaxis, :]  # [B, n, 1, side]
    height, width = height[..., tf.newaxis], width[..., tf.newaxis]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)  # [B, n, side, side]
    image = tf.range(tf.shape(cell)[0])[:, tf.newaxis]
    origin = tf.gather(starts, level) + image * tf.gather(cells, level)  # [B, n]
    row = tf.clip_by_value(y, 0, height - 1) * width + tf.clip_by_value(x, 0, width - 1)
    row += origin[..., tf.newaxis, tf.newaxis]
    table = tf.concat([tf.reshape(level, [-1, level.shape[-1]]) for level in features], axis=0)
    return tf.where(inside[..., tf.newaxis], tf.gather(table, row), tf.zeros([], table.dtype))


class PlacedRois(NamedTuple):
    """RoIs and the cells they lie on. R = B * S."""

    table: Tensor  # f32[cells, C]
    boxes: Tensor  # f32[R, 4], pixels; zeros where not usable
    stride: Tensor  # f32[R], pixels per cell of the RoI's level
    level_shape: Tensor  # i32[R, 2], rows and columns of the RoI's level
    origin: Tensor  # i32[R], row of the table that holds the first cell of the RoI's image and level
    usable: Tensor  # bool[R], valid and finite
    image_shape: Tensor  # i32[2], height and width of the padded image as the finest level tells them


def place_rois(
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    valid: Tensor | None = None,
    assignment: LevelAssignment = DEFAULT_ASSIGNMENT,
    end_offset: float = 0.0,
) -> PlacedRois:
    """Each RoI on the level that suits its size.

    Args:
        features: per level [B, Hl, Wl, C], fine to coarse.
        boxes: f32[B, S, 4], pixels of the padded image; gradients do not flow into them.
        strides: pixels per feature cell of each level; powers of two, each level twice the one before.
        valid: bool[B, S] or None: all.
        assignment: the level rule. "floor_*" measure the box as it is given, "round_image_area" after `end_offset`.
        end_offset: pixels added to y2 and x2.

    Returns:
        See `PlacedRois`.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    batch, num_rois = tf.shape(boxes)[0], tf.shape(boxes)[1]
    channels = features[0].shape[-1]
    level_shapes, cells, level_starts = _level_places(features)
    table = tf.concat([tf.reshape(tf.cast(level, tf.float32), [-1, channels]) for level in features], axis=0)
    image_shape = level_shapes[0] * int(strides[0])

    flat = tf.reshape(boxes, [-1, 4])  # [R, 4]
    usable = tf.reduce_all(tf.abs(flat) < float("inf"), axis=-1)  # finite, in terms that every export format knows
    if valid is not None:
        usable &= tf.reshape(valid, [-1])
    flat = tf.where(usable[:, tf.newaxis], flat, 0.0)
    moved = flat + tf.constant([0.0, 0.0, end_offset, end_offset]) if end_offset else flat
    if len(features) > 1:
        min_level = int(strides[0]).bit_length() - 1
        measured = moved if assignment.rule == "round_image_area" else flat
        level = assign_levels(measured, min_level, min_level + len(features) - 1, *assignment, image_shape=image_shape)
        level -= min_level
    else:
        level = tf.zeros_like(flat[:, 0], tf.int32)
    image = tf.repeat(tf.range(batch), num_rois)
    return PlacedRois(
        table=table,
        boxes=moved,
        stride=tf.gather(tf.constant(strides, tf.float32), level),
        level_shape=tf.gather(level_shapes, level),
        origin=tf.gather(level_starts, level) + image * tf.gather(cells, level),
        usable=usable,
        image_shape=image_shape,
    )


def unplace(pooled: Tensor, features: Sequence[Tensor], boxes: Tensor, height: int, width: int) -> Tensor:
    """[R * h * w, C] -> [B, S, h, w, C] in the dtype of the features."""
    channels = features[0].shape[-1]
    boxes = tf.convert_to_tensor(boxes)
    shape = tf.shape(boxes)
    pooled = tf.reshape(pooled, [shape[0], shape[1], height, width, channels])
    pooled = tf.ensure_shape(pooled, [*boxes.shape[:2], height, width, channels])
    return tf.cast(pooled, features[0].dtype)


class Windows(NamedTuple):
    """Per output bin the rectangle of cells it reads; bins are ordered RoI by RoI, row by row. N = R * h * w."""

    first: Tensor  # i32[N], row of the table that holds the first cell
    row_length: Tensor  # i32[N], cells from one row of the rectangle to the next in the table
    height: Tensor  # i32[N], may be 0
    width: Tensor  # i32[N], may be 0


def make_windows(rois: PlacedRois, y: Tensor, height: Tensor, x: Tensor, width: Tensor) -> Windows:
    """Rectangles of all bins from their extent per axis.

    Args:
        rois: the RoIs.
        y, height: i32[R, h], first row and number of rows of each bin.
        x, width: i32[R, w], first column and number of columns of each bin.

    Returns:
        See `Windows`; empty for RoIs that are not usable.
    """
    height = tf.where(rois.usable[:, tf.newaxis], height, 0)
    row_length = rois.level_shape[:, 1, tf.newaxis, tf.newaxis]  # [R, 1, 1]
    first = rois.origin[:, tf.newaxis, tf.newaxis] + y[:, :, tf.newaxis] * row_length + x[:, tf.newaxis, :]
    shape = tf.shape(first)  # [R, h, w]

    def per_bin(value: Tensor) -> Tensor:
        return tf.reshape(tf.broadcast_to(value, shape), [-1])

    return Windows(
        tf.reshape(first, [-1]), per_bin(row_length), per_bin(height[:, :, tf.newaxis]), per_bin(width[:, tf.newaxis])
    )


class Entries(NamedTuple):
    """The cells of some windows, one after the other. K is their number."""

    bin: Tensor  # i32[K], ascending, counted from the first of these windows
    cell: Tensor  # i32[K], row of the table
    y: Tensor  # i32[K], row inside the window
    x: Tensor  # i32[K], column inside the window


def window_entries(windows: Windows) -> Entries:
    """Every cell of every window, windows in order, each row by row."""
    count = windows.height * windows.width
    owner = tf.repeat(tf.range(tf.size(count)), count)
    constants = tf.stack([tf.cumsum(count, exclusive=True), windows.width, windows.row_length, windows.first], axis=-1)
    start, width, row_length, first = tf.unstack(tf.gather(constants, owner), axis=-1)  # each [K]
    index = tf.range(tf.size(owner)) - start
    y = index // width
    x = index - y * width
    return Entries(owner, first + y * row_length + x, y, x)


def for_chunks(windows: Windows, max_entries: int, body: Callable[[Tensor, Tensor, Any], Any], state: Any) -> Any:
    """Runs `body` over consecutive runs of windows that hold about `max_entries` cells each, so that memory is bounded.

    Args:
        windows: all windows.
        max_entries: cells per run; a single window may exceed it.
        body: (start, end, state) -> state, for windows start .. end - 1; runs at least once.
        state: tensors or tensor arrays.

    Returns:
        The last state.
    """
    count = tf.cast(windows.height, tf.int64) * tf.cast(windows.width, tf.int64)
    num = tf.size(count)
    chunk = tf.concat([tf.cumsum(count, exclusive=True) // max_entries, [0]], axis=0)  # ascending up to the last

    def step(start: Tensor, _: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        end = tf.searchsorted(chunk[:num], chunk[start : start + 1], side="right")[0]
        return end, tf.constant(True), body(start, end, state)

    return tf.while_loop(lambda start, ran, _: (start < num) | ~ran, step, (0, tf.constant(False), state))[2]
