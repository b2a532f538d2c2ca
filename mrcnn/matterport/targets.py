"""matterport's targets in NumPy, for one image: which anchors and RoIs train, and what they should say."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.matterport import utils
from mrcnn.matterport.eager import eagerly
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.masks import crop_masks


def build_rpn_targets(
    image_shape: Any, anchors: np.ndarray, gt_class_ids: np.ndarray, gt_boxes: np.ndarray, config: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Which anchors the region proposal network trains on, and where the positive ones should move.

    Args:
        image_shape: not needed.
        anchors: f[A, 4], pixels.
        gt_class_ids: i[n]; negative: a crowd.
        gt_boxes: [n, 4], pixels.
        config: RPN_TRAIN_ANCHORS_PER_IMAGE and RPN_BBOX_STD_DEV.

    Returns:
        rpn_match i32[A]: 1 positive, -1 negative, 0 neither; rpn_bbox f[RPN_TRAIN_ANCHORS_PER_IMAGE, 4]: the deltas of
        the positive anchors in their order, then zeros.
    """
    del image_shape
    num = int(config.RPN_TRAIN_ANCHORS_PER_IMAGE)
    boxes = np.asarray(gt_boxes, np.float64).reshape(-1, 4)
    crowd = np.asarray(gt_class_ids)[: len(boxes)] < 0
    rpn_match, rpn_bbox = np.zeros([len(anchors)], np.int32), np.zeros((num, 4))
    near_crowd = np.zeros(len(anchors), bool)
    if crowd.any():
        near_crowd = utils.compute_overlaps(anchors, boxes[crowd]).max(axis=1) >= 0.001
    boxes = boxes[~crowd]
    overlaps = utils.compute_overlaps(anchors, boxes)
    matched = overlaps.argmax(axis=1) if len(boxes) else np.zeros(len(anchors), int)
    best = overlaps.max(axis=1, initial=0.0)
    rpn_match[(best < 0.3) & ~near_crowd] = -1
    rpn_match[(overlaps == overlaps.max(axis=0, initial=0.0)).any(axis=1)] = 1  # every object has an anchor
    rpn_match[best >= 0.7] = 1
    _thin_out(rpn_match, 1, num // 2)
    _thin_out(rpn_match, -1, num - int(np.sum(rpn_match == 1)))
    positive = np.flatnonzero(rpn_match == 1)
    reference, target = np.asarray(anchors)[positive], boxes[matched[positive]]
    size, goal = reference[:, 2:] - reference[:, :2], target[:, 2:] - target[:, :2]
    shift = (target[:, :2] + 0.5 * goal - (reference[:, :2] + 0.5 * size)) / size
    rpn_bbox[: len(positive)] = np.concatenate([shift, np.log(goal / size)], axis=1) / config.RPN_BBOX_STD_DEV
    return rpn_match, rpn_bbox


def _thin_out(rpn_match: np.ndarray, kind: int, most: int) -> None:
    """Leave at most so many anchors of a kind, by chance; NumPy's generator, which scripts seed, decides."""
    ids = np.flatnonzero(rpn_match == kind)
    if len(ids) > most:
        rpn_match[np.random.choice(ids, len(ids) - most, replace=False)] = 0  # noqa: NPY002


def generate_random_rois(image_shape: Any, count: int, gt_class_ids: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """i32[count, 4], boxes of chance: nine in ten lie up to its own size around an object, the others anywhere."""
    height, width = (int(side) for side in image_shape[:2])
    per_box = int(0.9 * count / len(gt_boxes)) if len(gt_boxes) else 0
    rois = []
    for y1, x1, y2, x2 in np.asarray(gt_boxes, np.int64)[: len(gt_class_ids) or None]:
        h, w = y2 - y1, x2 - x1
        rois.append(_boxes_in(max(y1 - h, 0), max(x1 - w, 0), min(y2 + h, height), min(x2 + w, width), per_box))
    rois.append(_boxes_in(0, 0, height, width, count - per_box * len(rois)))
    return np.concatenate(rois).astype(np.int32)


def _boxes_in(y1: int, x1: int, y2: int, x2: int, count: int) -> np.ndarray:
    """i64[count, 4], boxes of at least one pixel with corners drawn in a window."""

    def pairs(low: int, high: int) -> np.ndarray:
        drawn = np.sort(np.random.randint(low, high + 1, (count, 2)), axis=1)  # noqa: NPY002 - scripts seed it
        same = drawn[:, 0] == drawn[:, 1]
        drawn[same, 0] = np.minimum(drawn[same, 0], high - 1)
        drawn[same, 1] = drawn[same, 0] + 1
        return drawn

    y, x = pairs(y1, y2), pairs(x1, x2)
    return np.stack([y[:, 0], x[:, 0], y[:, 1], x[:, 1]], axis=1)


def build_detection_targets(
    rpn_rois: np.ndarray, gt_class_ids: np.ndarray, gt_boxes: np.ndarray, gt_masks: np.ndarray, config: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """RoIs to train the heads on and what they should say, for one image.

    Args:
        rpn_rois: i32[N, 4], proposals in pixels; rows of zeros are padding.
        gt_class_ids: i32[n]. gt_boxes: i32[n, 4]. gt_masks: [h, w, n], or mini masks with USE_MINI_MASK.
        config: TRAIN_ROIS_PER_IMAGE (T), ROI_POSITIVE_RATIO, BBOX_STD_DEV, MASK_SHAPE, USE_MINI_MASK.

    Returns:
        (rois [T, 4], class ids i32[T] with 0 for background, deltas f32[T, NUM_CLASSES, 4] and masks
        f32[T, m, m, NUM_CLASSES], both only in the place of the RoI's class). Where there are too few boxes some
        negative ones come several times.

    Raises:
        ValueError: no object, or no proposal that is negative.
    """
    total, classes = int(config.TRAIN_ROIS_PER_IMAGE), int(config.NUM_CLASSES)
    rois = rpn_rois[np.any(rpn_rois != 0, axis=1)].astype(np.float32)
    real = np.asarray(gt_class_ids) > 0
    class_ids, boxes = np.asarray(gt_class_ids)[real], np.asarray(gt_boxes, np.float32)[real]
    masks = np.asarray(gt_masks)[..., real]
    if not len(boxes):
        raise ValueError("build_detection_targets: the image has no object")
    overlaps = utils.compute_overlaps(rois, boxes)
    best = overlaps.max(axis=1)
    positive, negative = np.flatnonzero(best >= 0.5), np.flatnonzero(best < 0.5)
    choose = np.random.choice
    most = int(total * config.ROI_POSITIVE_RATIO)
    positive = choose(positive, min(most, len(positive)), replace=False)
    if not len(negative) and len(positive) < total:
        raise ValueError("build_detection_targets: no proposal is negative")
    missing = total - len(positive)
    negative = choose(negative, missing, replace=len(negative) < missing)
    kept = np.concatenate([positive, negative])
    rois, matched, num = rois[kept], overlaps[kept].argmax(axis=1), len(positive)
    target_ids = np.where(np.arange(total) < num, class_ids[matched], 0).astype(np.int32)
    weights = tuple(1.0 / np.asarray(config.BBOX_STD_DEV, np.float64))
    side = int(config.MASK_SHAPE[0])
    if not config.USE_MINI_MASK:
        fine = 4 * side
        masks = utils.minimize_mask(boxes, masks, (fine, fine))
    squares = np.moveaxis(masks, -1, 0)[None].astype(np.uint8)  # [1, n, K, K]

    def make() -> tuple[np.ndarray, np.ndarray]:
        deltas = box_ops.encode_deltas(boxes[matched], rois, weights)
        cut = crop_masks(squares, boxes[None], matched[None].astype(np.int32), rois[None], side)[0]
        return np.asarray(deltas), np.asarray(cut)

    deltas, cut = eagerly(make)
    target_bbox = np.zeros((total, classes, 4), np.float32)
    target_mask = np.zeros((total, side, side, classes), np.float32)
    rows = np.arange(num)
    target_bbox[rows, target_ids[:num]] = deltas[:num]
    target_mask[rows, :, :, target_ids[:num]] = cut[:num]
    return rois, target_ids, target_bbox, target_mask
