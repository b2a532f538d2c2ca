"""Lists as matterport's network took them, as batches of this package's; targets that lie in them are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.matterport import utils
from mrcnn.modeling.rpn import RPN, AnchorSample
from mrcnn.ops import boxes as box_ops
from mrcnn.structures.tensors import Batch, Proposals, RPNOutput

MATCH, DELTAS, ROIS = "rpn_match", "rpn_bbox", "rpn_rois"
"""Keys that a batch has beside those of `structures.batch_spec` where its lists hold targets or RoIs."""


def as_batches(generator: Iterable[Any], config: Any) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """What Keras' `fit` takes of what `data_generator` yields."""
    for inputs, _ in generator:
        yield (as_batch(inputs, config),)


def as_batch(inputs: Sequence[Any], config: Any, molded: bool = True) -> dict[str, np.ndarray]:
    """Lists of `data_generator` as a batch of this package; see `structures.batch_spec`.

    Args:
        inputs: images, image_meta, rpn_match, rpn_bbox, gt_class_ids, gt_boxes, gt_masks and, where RoIs come from
            outside, rpn_rois.
        config: the `Config`.
        molded: the images are less their mean, which the model takes off itself.
    """
    images, metas, match, deltas, class_ids, boxes, masks = inputs[:7]
    window = metas[:, 7:11].astype(np.int32)
    content_shape = np.stack([window[:, 2] - window[:, 0], window[:, 3] - window[:, 1]], axis=1)
    valid = np.any(boxes != 0, axis=-1)
    if config.PAPER:  # which knows neither full masks nor images in the middle of their canvas, and draws its anchors
        content_shape = np.broadcast_to(np.int32(images.shape[1:3]), content_shape.shape)
        masks = masks if config.USE_MINI_MASK else _mini_masks(boxes, masks, valid)
    mini = np.ascontiguousarray(np.moveaxis(masks, -1, 1)).astype(np.uint8)
    batch = {
        "image": (images + np.asarray(config.MEAN_PIXEL) if molded else images).astype(np.float32),
        "image_id": metas[:, 0].astype(np.int64),
        "original_shape": metas[:, 1:3].astype(np.int32),
        "content_shape": content_shape,
        "gt_boxes": boxes.astype(np.float32),
        "gt_class_ids": np.abs(class_ids).astype(np.int32),
        "gt_masks": mini,
        "gt_crowd": class_ids < 0,
        "gt_valid": valid,
        "seed": np.random.randint(2**31 - 1, size=(len(images), 2)).astype(np.int32),  # noqa: NPY002 - scripts seed it
    }
    if config.PAPER:
        return batch
    if not config.USE_MINI_MASK:
        batch |= {"gt_masks": np.zeros((*mini.shape[:2], 1, 1), np.uint8), "gt_full_masks": mini}
    batch |= {MATCH: match.reshape(len(images), -1).astype(np.int32), DELTAS: deltas.astype(np.float32)}
    if len(inputs) > 7 and not config.USE_RPN_ROIS:
        batch[ROIS] = inputs[7].astype(np.float32)
    return batch


def _mini_masks(boxes: np.ndarray, masks: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """bool[B, 112, 112, G], masks [B, h, w, G] in their own boxes."""
    side = 112  # as in the paper's recipes
    small = np.zeros((len(boxes), side, side, boxes.shape[1]), bool)
    for i in range(len(boxes)):
        small[i][..., valid[i]] = utils.minimize_mask(boxes[i][valid[i]], masks[i][..., valid[i]], (side, side))
    return small


def given_anchors(rpn: RPN, output: RPNOutput, batch: Batch) -> AnchorSample:
    """The anchors that `rpn_match` i32[B, A] names, positive ones first, with the objects that `rpn_bbox` leads to.

    Args:
        rpn: whose anchors they are.
        output: its predictions.
        batch: with `MATCH` and `DELTAS`, f32[B, n, 4], the deltas of the positive anchors in their order, then zeros;
            at most n anchors may be positive or negative.
    """
    match, deltas = batch[MATCH], batch[DELTAS]
    most = min(int(deltas.shape[1]), int(output.anchors.shape[0] or deltas.shape[1]))
    # Positive anchors, then negative ones, each in their order: the keys of one kind fall with the index.
    order = 1.0 - tf.range(tf.shape(match)[1], dtype=tf.float64) / tf.cast(tf.shape(match)[1], tf.float64)
    keys = tf.where(match == 1, 2.0 + order, tf.where(match == -1, 1.0 + order, 0.0 * order))
    _, index = tf.math.top_k(keys, most)
    kind = tf.gather(match, index, batch_dims=1)
    foreground, valid = kind == 1, kind != 0
    deltas = deltas[:, :most]
    anchors = rpn.in_target_frame(tf.gather(output.anchors, index))
    boxes = box_ops.decode_deltas(deltas, anchors, rpn.config.delta_weights, None)
    return AnchorSample(index, foreground, valid, rpn.from_target_frame(boxes))


def given_proposals(batch: Batch, end_offset: float) -> Proposals:
    """The RoIs `ROIS` f32[B, N, 4] as proposals of the model; rows of zeros are padding."""
    valid = tf.reduce_any(batch[ROIS] != 0.0, axis=-1)
    boxes = batch[ROIS] + tf.constant([0.0, 0.0, end_offset, end_offset])
    return Proposals(boxes, tf.cast(valid, tf.float32), valid)
