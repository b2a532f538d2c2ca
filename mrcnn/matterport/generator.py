"""Batches as matterport's network took them: an endless walk over a data set, as lists of arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mrcnn.matterport import utils
from mrcnn.matterport.targets import build_detection_targets, build_rpn_targets, generate_random_rois

MOST_ERRORS = 5
"""Images that cannot be loaded and are left out; the next one stops."""


class Samples:
    """The arrays of one image after the other.

    Args:
        load_image_gt, mold_image, backbone_shapes: functions of one image, as `mrcnn.matterport.model` has them.
        dataset: after `prepare`.
        config: the `Config`.
        shuffle: draw the order anew at each pass.
        augment, augmentation: see `load_image_gt`.
        plain_sources: sources whose images are not augmented.
        random_rois: draw so many RoIs of chance for each image; 0: none.
        detection_targets: with those that the heads train on.
    """

    def __init__(
        self,
        load_image_gt: Callable[..., Any],
        mold_image: Callable[..., Any],
        backbone_shapes: Callable[..., Any],
        dataset: Any,
        config: Any,
        *,
        shuffle: bool = True,
        augment: bool = False,
        augmentation: Any = None,
        plain_sources: Any = None,
        random_rois: int = 0,
        detection_targets: bool = False,
    ) -> None:
        self._load, self._mold, self._backbone_shapes = load_image_gt, mold_image, backbone_shapes
        self._dataset, self._config, self._shuffle = dataset, config, shuffle
        self._augment, self._augmentation, self._plain_sources = augment, augmentation, plain_sources or []
        self._random_rois, self._detection_targets = random_rois, detection_targets
        self._anchors: dict[tuple[int, int], np.ndarray] = {}  # by the image's size, which may vary

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """Rows without end: image, image_meta, rpn_match, rpn_bbox, gt_class_ids, gt_boxes, gt_masks, RoIs.

        Raises:
            ValueError: no image has an object.
            Exception: what the sixth image that cannot be loaded raised.
        """
        image_ids = np.copy(self._dataset.image_ids)
        errors, place, without = 0, -1, 0
        while True:
            if without >= max(3 * len(image_ids), 100):  # images that a script makes up may be without by chance
                raise ValueError("train: no image of the data set has an object in it")
            place = (place + 1) % len(image_ids)
            if self._shuffle and place == 0:
                np.random.shuffle(image_ids)  # noqa: NPY002 - scripts seed it
            try:
                row = self._row(image_ids[place])
            except Exception:
                logging.exception("Error processing image %s", self._dataset.image_info[image_ids[place]])
                errors += 1
                if errors > MOST_ERRORS:
                    raise
                continue
            without = without + 1 if row is None else 0
            if row is not None:
                yield row

    def _row(self, image_id: int) -> list[np.ndarray] | None:
        """The arrays of an image; None if it has no object."""
        config = self._config
        is_plain = self._dataset.image_info[image_id]["source"] in self._plain_sources
        image, meta, class_ids, boxes, masks = self._load(
            self._dataset,
            config,
            image_id,
            augment=self._augment,
            augmentation=None if is_plain else self._augmentation,
            use_mini_mask=config.USE_MINI_MASK,
        )
        if not np.any(class_ids > 0):
            return None
        rpn_match, rpn_bbox = build_rpn_targets(image.shape, self._anchors_of(image.shape), class_ids, boxes, config)
        rois: list[np.ndarray] = []
        if self._random_rois:
            rois = [generate_random_rois(image.shape, self._random_rois, class_ids, boxes)]
            if self._detection_targets:
                rois += build_detection_targets(rois[0], class_ids, boxes, masks, config)
        return [
            self._mold(image.astype(np.float32), config),
            meta,
            rpn_match[:, np.newaxis],
            rpn_bbox,
            *_padded(class_ids, boxes, masks, config.MAX_GT_INSTANCES),
            *rois,
        ]

    def _anchors_of(self, shape: tuple[int, ...]) -> np.ndarray:
        size, config = (int(shape[0]), int(shape[1])), self._config
        if size not in self._anchors:
            self._anchors[size] = utils.generate_pyramid_anchors(
                config.RPN_ANCHOR_SCALES,
                config.RPN_ANCHOR_RATIOS,
                self._backbone_shapes(config, shape),
                config.BACKBONE_STRIDES,
                config.RPN_ANCHOR_STRIDE,
            )
        return self._anchors[size]


def batches_of(samples: Samples, config: Any, batch_size: int) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The (inputs, outputs) of `model.data_generator`, so many images in each."""
    rows: list[list[np.ndarray]] = []
    for row in samples:
        rows.append(row)
        if len(rows) == batch_size:
            yield _stacked(rows, config)
            rows = []


def _padded(class_ids: np.ndarray, boxes: np.ndarray, masks: np.ndarray, most: int) -> list[np.ndarray]:
    """Exactly so many objects: some by chance where there are more, zeros where there are fewer."""
    if len(boxes) > most:
        some = np.random.choice(np.arange(len(boxes)), most, replace=False)  # noqa: NPY002 - scripts seed it
        class_ids, boxes, masks = class_ids[some], boxes[some], masks[:, :, some]
    missing = most - len(boxes)
    return [
        np.pad(class_ids.astype(np.int32), (0, missing)),
        np.pad(boxes.astype(np.int32), ((0, missing), (0, 0))),
        np.pad(masks, ((0, 0), (0, 0), (0, missing))),
    ]


def _stacked(rows: list[list[np.ndarray]], config: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The inputs and outputs of a batch, of one row an image.

    Raises:
        ValueError: the images are of several sizes.
    """
    sizes = {row[0].shape for row in rows}
    if len(sizes) > 1:
        raise ValueError(
            f"IMAGE_RESIZE_MODE = {config.IMAGE_RESIZE_MODE!r}: the images of a batch must have one size, "
            f"these have {sorted(sizes)}; set IMAGES_PER_GPU = 1, or take the mode 'square' or 'crop'"
        )
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    inputs, outputs = columns[:9], columns[9:]
    if outputs:
        outputs[0] = outputs[0][..., np.newaxis]
    return inputs, outputs
