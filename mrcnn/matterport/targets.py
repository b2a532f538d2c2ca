"""What matterport's network was fed in training, for notebooks that look at it: anchor targets and batches of lists.

Training here does not use it: `mrcnn.modeling` makes its targets itself, by the same matching and sampling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mrcnn.matterport import utils
from mrcnn.matterport.eager import eagerly
from mrcnn.ops import boxes as box_ops
from mrcnn.ops.matching import match_boxes
from mrcnn.ops.sampling import sample_labels

_MOST_ERRORS = 5


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
    crowd = np.asarray(gt_class_ids) < 0
    boxes = np.asarray(gt_boxes, np.float32).reshape(-1, 4)
    seed = np.random.randint(2**31 - 1, size=2).astype(np.int32)  # noqa: NPY002 - scripts seed it

    def assign() -> tuple[np.ndarray, ...]:
        matches = match_boxes(
            anchors, boxes, np.ones(len(boxes), bool), crowd, 0.7, 0.3, allow_low_quality=True, crowd_coverage=1e-3
        )
        sample = sample_labels(matches.labels, num, 0.5, seed)
        return tuple(np.asarray(x) for x in (matches.gt_index, *sample))

    gt_index, index, foreground, valid = eagerly(assign)
    rpn_match = np.zeros([len(anchors)], np.int32)
    rpn_match[index[valid & ~foreground]], rpn_match[index[foreground]] = -1, 1
    positive = np.flatnonzero(rpn_match == 1)
    rpn_bbox = np.zeros((num, 4))
    if positive.size:
        weights = tuple(1.0 / np.asarray(config.RPN_BBOX_STD_DEV, np.float64))
        deltas = eagerly(
            lambda: np.asarray(box_ops.encode_deltas(boxes[gt_index[positive]], anchors[positive], weights))
        )
        rpn_bbox[: len(positive)] = deltas
    return rpn_match, rpn_bbox


def data_generator(
    load_image_gt: Callable[..., Any],
    mold_image: Callable[..., Any],
    backbone_shapes: Callable[..., Any],
    dataset: Any,
    config: Any,
    shuffle: bool,
    augment: bool,
    augmentation: Any,
    batch_size: int,
    no_augmentation_sources: Any,
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """`model.data_generator`, whose functions of one picture are handed in."""
    anchors = utils.generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        backbone_shapes(config, config.IMAGE_SHAPE),
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )
    plain_sources = no_augmentation_sources or []
    image_ids = np.copy(dataset.image_ids)
    rows: list[list[np.ndarray]] = []
    errors, place = 0, -1
    while True:
        place = (place + 1) % len(image_ids)
        if shuffle and place == 0:
            np.random.shuffle(image_ids)  # noqa: NPY002 - scripts seed it
        image_id = image_ids[place]
        try:
            plain = dataset.image_info[image_id]["source"] in plain_sources
            image, meta, class_ids, boxes, masks = load_image_gt(
                dataset,
                config,
                image_id,
                augment=augment,
                augmentation=None if plain else augmentation,
                use_mini_mask=config.USE_MINI_MASK,
            )
            if not np.any(class_ids > 0):
                continue
            rpn_match, rpn_bbox = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except Exception:
            logging.exception("Error processing image %s", dataset.image_info[image_id])
            errors += 1
            if errors > _MOST_ERRORS:
                raise
            continue
        most = config.MAX_GT_INSTANCES
        if len(boxes) > most:
            some = np.random.choice(np.arange(len(boxes)), most, replace=False)  # noqa: NPY002 - scripts seed it
            class_ids, boxes, masks = class_ids[some], boxes[some], masks[:, :, some]
        room = most - len(boxes)
        rows.append(
            [
                mold_image(image.astype(np.float32), config),
                meta,
                rpn_match[:, np.newaxis],
                rpn_bbox,
                np.pad(class_ids.astype(np.int32), (0, room)),
                np.pad(boxes.astype(np.int32), ((0, room), (0, 0))),
                np.pad(masks, ((0, 0), (0, 0), (0, room))),
            ]
        )
        if len(rows) == batch_size:
            yield [np.stack(column) for column in zip(*rows, strict=True)], []
            rows = []
