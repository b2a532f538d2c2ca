"""Images as matterport's network is shown them, and what is said of each in one row."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.data import augmenters
from mrcnn.data.rgb import turned
from mrcnn.matterport import utils
from mrcnn.matterport.resizing import centered, enlarged
from mrcnn.ops import resize as resize_ops


def mold_image(images: np.ndarray, config: Any) -> np.ndarray:
    """f32, an image or a batch of them less the mean pixel."""
    return (images.astype(np.float32) - config.MEAN_PIXEL).astype(np.float32)


def unmold_image(normalized_images: np.ndarray, config: Any) -> np.ndarray:
    """u8, the inverse of `mold_image`."""
    return (normalized_images + config.MEAN_PIXEL).astype(np.uint8)


def compose_image_meta(
    image_id: int, original_image_shape: Any, image_shape: Any, window: Any, scale: float, active_class_ids: Any
) -> np.ndarray:
    """f[12 + NUM_CLASSES], what is known of an image in one row."""
    return np.array([image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids])


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of rows of `compose_image_meta`, [B, 12 + NUM_CLASSES], by name."""
    return {
        "image_id": meta[:, 0].astype(np.int32),
        "original_image_shape": meta[:, 1:4].astype(np.int32),
        "image_shape": meta[:, 4:7].astype(np.int32),
        "window": meta[:, 7:11].astype(np.int32),
        "scale": meta[:, 11].astype(np.float32),
        "active_class_ids": meta[:, 12:].astype(np.int32),
    }


def parse_image_meta_graph(meta: tf.Tensor) -> dict[str, tf.Tensor]:
    """`parse_image_meta` for tensors, which keep their type."""
    return {
        "image_id": meta[:, 0],
        "original_image_shape": meta[:, 1:4],
        "image_shape": meta[:, 4:7],
        "window": meta[:, 7:11],
        "scale": meta[:, 11],
        "active_class_ids": meta[:, 12:],
    }


def compute_backbone_shapes(config: Any, image_shape: Any) -> np.ndarray:
    """i[5, 2], height and width of each level of the pyramid."""
    if callable(config.BACKBONE):
        return config.COMPUTE_BACKBONE_SHAPE(image_shape)
    return np.array(
        [[math.ceil(image_shape[0] / stride), math.ceil(image_shape[1] / stride)] for stride in config.BACKBONE_STRIDES]
    )


def resized(image: np.ndarray, config: Any) -> Any:
    """`utils.resize_image` as a `Config` says."""
    return utils.resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        max_dim=config.IMAGE_MAX_DIM,
        mode=config.IMAGE_RESIZE_MODE,
    )


def whole(image: np.ndarray, config: Any) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An image that is enlarged as the mode "crop" does and not cropped: (image on its canvas, window in it)."""
    large, _ = enlarged(image, config.IMAGE_MIN_DIM, config.IMAGE_MIN_SCALE)
    height, width = resize_ops.padded_shape(large.shape[0], large.shape[1], 64)
    shown, window, _ = centered(large, height, width)
    return shown.astype(image.dtype), window


def mold_inputs(images: Sequence[np.ndarray], config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images resized and less the mean: (molded f32[B, h, w, 3], image_metas [B, ...], windows i[B, 4])."""
    molded, metas, windows = [], [], []
    for image in images:
        shown, window, scale, _, _ = resized(image, config)
        molded.append(mold_image(shown, config))
        nothing = np.zeros([config.NUM_CLASSES], np.int32)
        metas.append(compose_image_meta(0, image.shape, shown.shape, window, scale, nothing))
        windows.append(window)
    return np.stack(molded), np.stack(metas), np.stack(windows)


def load_image_gt(
    dataset: Any,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image as the network is shown it, and its objects in that image.

    Args:
        dataset: after `prepare`.
        config: says how it is resized.
        image_id: number of the image.
        augment: mirror every second image.
        augmentation: an augmenter of imgaug.
        use_mini_mask: cut masks out along their boxes and reduce them to MINI_MASK_SHAPE.

    Returns:
        (image [h, w, 3], image_meta [12 + NUM_CLASSES], class_ids [n], boxes i32[n, 4], masks [h, w, n] or
        [mini h, mini w, n]). Objects of which nothing is left are left out.
    """
    image = dataset.load_image(image_id)
    mask, class_ids = dataset.load_mask(image_id)
    class_ids = np.asarray(class_ids)
    if getattr(dataset, "turn_exif", False) and dataset.image_info[image_id]["path"] is not None:
        mask = turned(np.asarray(mask), dataset.exif_orientation(image_id))
    original_shape = image.shape
    image, window, scale, padding, crop = resized(image, config)
    if not mask.size:
        mask = np.zeros((*original_shape[:2], 0), mask.dtype)
    mask = utils.resize_mask(mask, scale, padding, crop)
    if augment and random.randint(0, 1):
        image, mask = np.fliplr(image), np.fliplr(mask)
    if augmentation:
        image, mask = augmenters.augment(augmentation, image, mask)
    kept = np.sum(mask, axis=(0, 1)) > 0
    mask, class_ids = mask[:, :, kept], class_ids[kept]
    boxes = utils.extract_bboxes(mask)
    active = np.zeros([dataset.num_classes], np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    if use_mini_mask:
        mask = utils.minimize_mask(boxes, mask, config.MINI_MASK_SHAPE)
    meta = compose_image_meta(image_id, original_shape, image.shape, window, scale, active)
    return image, meta, class_ids, boxes, mask
