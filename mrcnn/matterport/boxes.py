"""matterport's functions of boxes, masks' overlaps and anchors, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.matterport.eager import eagerly
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms as nms_ops


def _numpy(function: Callable[..., Any], *args: Any, **kwargs: Any) -> np.ndarray:
    """The result of a function of tensors as an array, inside `with graph.as_default()` too."""
    return eagerly(lambda: np.asarray(function(*args, **kwargs)))


def _floats(boxes: Any) -> np.ndarray:
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Boxes of masks.

    Args:
        mask: [h, w, n], 0 or 1.

    Returns:
        i32[n, 4]. Empty: zeros for a mask without a pixel.
    """
    boxes = np.zeros([mask.shape[-1], 4], np.int32)
    for i in range(mask.shape[-1]):
        columns = np.flatnonzero(np.any(mask[:, :, i], axis=0))
        rows = np.flatnonzero(np.any(mask[:, :, i], axis=1))
        if columns.size:
            boxes[i] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return boxes


def compute_iou(box: Any, boxes: Any, box_area: Any = None, boxes_area: Any = None) -> np.ndarray:
    """f[n], intersection over union of one box with n; the areas are not needed."""
    return compute_overlaps(_floats(box), boxes)[0]


def compute_overlaps(boxes1: Any, boxes2: Any) -> np.ndarray:
    """f64[n, m], intersection over union of each pair; in double precision, for ties are found by equality."""
    a, b = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (boxes1, boxes2))
    overlaps = np.zeros((len(a), len(b)))
    areas = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    for i, (y1, x1, y2, x2) in enumerate(b):  # one by one: there are many anchors
        height = np.maximum(np.minimum(a[:, 2], y2) - np.maximum(a[:, 0], y1), 0.0)
        width = np.maximum(np.minimum(a[:, 3], x2) - np.maximum(a[:, 1], x1), 0.0)
        inside = height * width
        union = areas + (y2 - y1) * (x2 - x1) - inside
        overlaps[:, i] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return overlaps


def compute_overlaps_masks(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """f[n, m], intersection over union of masks [h, w, n] and [h, w, m]. Empty: zeros."""
    if masks1.shape[-1] == 0 or masks2.shape[-1] == 0:
        return np.zeros((masks1.shape[-1], masks2.shape[-1]))
    flat1 = (np.reshape(masks1, (-1, masks1.shape[-1])) > 0.5).astype(np.float32)
    flat2 = (np.reshape(masks2, (-1, masks2.shape[-1])) > 0.5).astype(np.float32)
    common = flat1.T @ flat2
    union = flat1.sum(0)[:, None] + flat2.sum(0)[None] - common
    return common / np.maximum(union, 1e-9)


def non_max_suppression(boxes: Any, scores: Any, threshold: float) -> np.ndarray:
    """i32[k], the boxes that are kept, best score first."""
    boxes = np.asarray(boxes)
    assert boxes.shape[0] > 0
    index, keep = eagerly(nms_ops.nms, _floats(boxes), scores, None, threshold, len(boxes))
    return index.numpy()[keep.numpy()].astype(np.int32)


def apply_box_deltas(boxes: Any, deltas: Any) -> np.ndarray:
    """f32[n, 4], boxes moved by (dy, dx, log dh, log dw)."""
    return _numpy(box_ops.decode_deltas, np.asarray(deltas, np.float32), _floats(boxes), max_log_scale=None)


def box_refinement_graph(box: Any, gt_box: Any) -> tf.Tensor:
    """f32[n, 4], the deltas that take `box` to `gt_box`."""
    return box_ops.encode_deltas(gt_box, box)


def box_refinement(box: Any, gt_box: Any) -> np.ndarray:
    """f32[n, 4], the deltas that take `box` to `gt_box`."""
    return _numpy(box_ops.encode_deltas, _floats(gt_box), _floats(box))


def norm_boxes(boxes: Any, shape: Any) -> np.ndarray:
    """f32[n, 4], boxes in pixels in units of the image, its last pixel at 1."""
    h, w = shape
    scale, shift = np.array([h - 1, w - 1, h - 1, w - 1]), np.array([0, 0, 1, 1])
    return np.divide(np.asarray(boxes) - shift, scale).astype(np.float32)


def denorm_boxes(boxes: Any, shape: Any) -> np.ndarray:
    """i32[n, 4], the inverse of `norm_boxes`, rounded half to even."""
    h, w = shape
    scale, shift = np.array([h - 1, w - 1, h - 1, w - 1]), np.array([0, 0, 1, 1])
    return np.around(np.multiply(boxes, scale) + shift).astype(np.int32)


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """The rows of x [n, ...] that are not all zero."""
    assert len(x.shape) == 2
    return x[~np.all(x == 0, axis=1)]


def generate_anchors(scales: Any, ratios: Any, shape: Any, feature_stride: float, anchor_stride: int) -> np.ndarray:
    """f64[n, 4], the anchors of one level in pixels.

    Args:
        scales: sides of square anchors, pixels.
        ratios: width / height.
        shape: (height, width) of the feature map.
        feature_stride: pixels per cell.
        anchor_stride: cells per anchor position.
    """
    # In double precision and in this order: rounding decides which of two anchors of equal area an object ties with.
    roots = np.sqrt(np.atleast_1d(np.asarray(ratios, np.float64)))[:, np.newaxis]
    sides = np.atleast_1d(np.asarray(scales, np.float64))[np.newaxis]
    sizes = np.stack([sides / roots, sides * roots], axis=-1).reshape(-1, 2)  # height, width
    rows, columns = (np.arange(0, side, anchor_stride) * feature_stride for side in shape[:2])
    centers = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    return np.concatenate([centers - 0.5 * sizes, centers + 0.5 * sizes], axis=-1).reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Any, ratios: Any, feature_shapes: Any, feature_strides: Any, anchor_stride: int
) -> np.ndarray:
    """f64[A, 4], the anchors of all levels in pixels, one scale a level."""
    return np.concatenate(
        [
            generate_anchors(scales[i], ratios, feature_shapes[i], feature_strides[i], anchor_stride)
            for i in range(len(scales))
        ]
    )
