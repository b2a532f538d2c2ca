"""Non-maximum suppression with outputs of fixed size."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from mrcnn.structures.tensors import Tensor


def _separate_groups(boxes: Tensor, groups: Tensor, usable: Tensor) -> Tensor:
    """Moves each group to its own tile of a plane, so that boxes of different groups never overlap.

    Tiles form a square around the origin rather than a row: with 80 groups on a 1333 pixel image coordinates stay
    below 7000, where float32 still resolves 1/2048 pixel.
    """
    groups = tf.cast(groups, tf.int32)
    low = tf.reduce_min(tf.where(usable[:, tf.newaxis], boxes, 0.0))
    high = tf.reduce_max(tf.where(usable[:, tf.newaxis], boxes, 0.0))
    tile = tf.math.ceil(high - low) + 1.0
    num_groups = tf.reduce_max(tf.concat([groups, [0]], axis=0)) + 1
    columns = tf.cast(tf.math.ceil(tf.sqrt(tf.cast(num_groups, tf.float32))), tf.int32)
    row_column = tf.cast(tf.stack([groups // columns, groups % columns], axis=-1) - columns // 2, tf.float32)  # [N, 2]
    return boxes + tf.tile(row_column * tile, [1, 2])  # [N, 4]


def usable_entries(boxes: Tensor, scores: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes and scores as float32, and which entries may win.

    Args:
        boxes: [N, k], of any kind.
        scores: [N].
        valid: bool[N], or None: all.

    Returns:
        f32[N, k], f32[N] and bool[N]: False where a box is not finite or a score is NaN.
    """
    boxes, scores = tf.cast(boxes, tf.float32), tf.cast(scores, tf.float32)
    # Comparisons, since not every format to export to knows is_finite and is_nan
    usable = tf.reduce_all(tf.abs(boxes) < float("inf"), axis=-1) & (scores >= float("-inf"))
    return boxes, scores, usable if valid is None else usable & tf.cast(valid, tf.bool)


def padded_scores(scores: Tensor, usable: Tensor) -> Tensor:
    """f32[N + 1]; the last entry, and those that are not usable, below every threshold: it is defined for N = 0."""
    return tf.pad(tf.where(usable, scores, float("-inf")), [[0, 1]], constant_values=float("-inf"))


def nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = float("-inf"),
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Keeps the best boxes of one image, dropping those that overlap a better one of their group.

    Args:
        boxes: f32[N, 4], pixels.
        scores: f32[N]. A NaN score, or a box that is not finite, never wins.
        groups: i32[N] from 0 (classes or feature levels), or None: all boxes form one group.
        iou_threshold: a box whose IoU with a kept one is greater is dropped.
        max_outputs: entries of the result, padded ones included.
        score_threshold: only scores greater than this take part.
        valid: bool[N], or None: all.

    Returns:
        index i32[max_outputs], best score first, 0 in padded entries; keep_valid bool[max_outputs].
        Compiles under XLA.

    Empty: N = 0 gives no valid entry.
    """
    boxes, scores, usable = usable_entries(boxes, scores, valid)
    boxes = tf.where(usable[:, tf.newaxis], boxes, 0.0)
    if groups is not None:
        boxes = _separate_groups(boxes, groups, usable)
    index, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=tf.pad(boxes, [[0, 1], [0, 0]]),
        scores=padded_scores(scores, usable),
        max_output_size=max_outputs,
        iou_threshold=tf.constant(iou_threshold, tf.float32),
        score_threshold=tf.constant(score_threshold, tf.float32),
        pad_to_max_output_size=True,
    )
    index = tf.ensure_shape(index, [max_outputs])
    keep_valid = tf.range(max_outputs) < count
    return tf.where(keep_valid, index, 0), keep_valid


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float = float("-inf"),
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`nms` for each image of a batch.

    Args:
        boxes: f32[B, N, 4], pixels.
        scores: f32[B, N].
        groups: i32[B, N] or None.
        iou_threshold, max_outputs, score_threshold: see `nms`.
        valid: bool[B, N] or None.

    Returns:
        index i32[B, max_outputs] into N, best score first; keep_valid bool[B, max_outputs].
    """
    return for_each_image(nms, boxes, scores, groups, iou_threshold, max_outputs, score_threshold, valid)


def for_each_image(
    of_one: Callable[..., tuple[Tensor, Tensor]],
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor | None,
    iou_threshold: float,
    max_outputs: int,
    score_threshold: float,
    valid: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Suppression image by image, whatever the boxes are.

    Args:
        of_one: of one image; takes what follows, without the batch axis, and gives what `nms` gives.
        boxes, scores, groups, iou_threshold, max_outputs, score_threshold, valid: see `batched_nms`.
    """
    given = {"groups": groups, "valid": valid}
    inputs = {"boxes": boxes, "scores": scores} | {name: value for name, value in given.items() if value is not None}

    def one(x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return of_one(
            x["boxes"], x["scores"], x.get("groups"), iou_threshold, max_outputs, score_threshold, x.get("valid")
        )

    if boxes.shape[0] == 1:  # known to be one image: no loop, which formats to export to may not have
        index, keep = one({name: value[0] for name, value in inputs.items()})
        return index[tf.newaxis], keep[tf.newaxis]
    signature = (tf.TensorSpec([max_outputs], tf.int32), tf.TensorSpec([max_outputs], tf.bool))
    return tf.map_fn(one, inputs, fn_output_signature=signature)
