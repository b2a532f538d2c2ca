"""`mrcnn.utils` of matterport: boxes, masks, anchors, images and average precision in NumPy, and `Dataset`.

Boxes are (y1, x1, y2, x2), y2 and x2 just outside. What the components of this package have is asked of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging  # noqa: F401 - a name of this module, as those below
import math  # noqa: F401
import os  # noqa: F401
import random
import shutil  # noqa: F401
import sys  # noqa: F401
import urllib.request
import warnings
import xml.etree.ElementTree  # noqa: F401 - scripts use it after importing no more than `xml.etree`
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.files import atomic_write
from mrcnn.matterport.dataset import Dataset as Dataset
from mrcnn.matterport.eager import eagerly
from mrcnn.matterport.names import imported
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms as nms_ops
from mrcnn.ops import resize as resize_ops
from mrcnn.structures.masks import paste_masks

with contextlib.suppress(ImportError):  # scripts that import `skimage.draw` go on to use `skimage.io`
    import skimage.color
    import skimage.io
    import skimage.transform  # noqa: F401

_IMPORTED = {"LooseVersion": "packaging.version:Version", "scipy": "scipy", "skimage": "skimage"}


def __getattr__(name: str) -> Any:
    return imported(__name__, _IMPORTED, name)


COCO_MODEL_URL = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
_KNOWN_FILES = {COCO_MODEL_URL: (257_557_808, "e98aaff6f99e307b5e2a8a3ff741a518")}
"""Length in bytes and MD5 digest of published files, by URL."""
_TIMEOUT = 60.0  # seconds without a byte


def _numpy(function: Callable[..., Any], *args: Any, **kwargs: Any) -> np.ndarray:
    """The result of a function of tensors as an array, inside `with graph.as_default()` too."""
    return eagerly(lambda: np.asarray(function(*args, **kwargs)))


def _floats(boxes: Any) -> np.ndarray:
    return np.asarray(boxes, np.float32).reshape(-1, 4)


# Boxes


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


# Images and masks


def resize(
    image: np.ndarray,
    output_shape: Sequence[int],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: Any = None,
) -> np.ndarray:
    """An image at another size, linearly between its pixels, black beyond them.

    Args:
        image: [h, w] or [h, w, c].
        output_shape: (height, width, ...).
        order, mode, cval, clip, anti_aliasing, anti_aliasing_sigma: only their defaults are known.
        preserve_range: integers keep their range; else they are scaled to 0..1.

    Returns:
        float [height, width, ...].
    """
    del clip, anti_aliasing_sigma
    if order != 1 or mode != "constant" or cval != 0 or anti_aliasing:
        raise ValueError("utils.resize: only order=1, mode='constant', cval=0 and anti_aliasing=False are known")
    height, width = int(output_shape[0]), int(output_shape[1])
    scale = 1.0 if preserve_range or image.dtype.kind not in "iu" else 1.0 / np.iinfo(image.dtype).max
    if image.dtype == np.uint8:
        return resize_ops.resize_image(image, (height, width), "linear_black_u8").astype(np.float64) * scale
    rows, columns = _black_taps(image.shape[0], height), _black_taps(image.shape[1], width)
    pixels = np.tensordot(rows, image.astype(np.float64), axes=1)  # [height, w, ...]
    pixels = np.moveaxis(np.tensordot(columns, pixels, axes=(1, 1)), 0, 1)
    # scikit-image leaves no value beyond those of the image, but for pixels that are black altogether.
    low, high = float(image.min()), float(image.max())
    is_black = (pixels == 0) & (not low <= 0 <= high)
    return np.where(is_black, 0.0, np.clip(pixels, low, high)) * scale


def _black_taps(size: int, new_size: int) -> np.ndarray:
    """f64[new_size, size], weights of linear interpolation along an axis; less than 1 in all where black is near."""
    twice = (2 * np.arange(new_size) + 1) * size - new_size  # 2 x new_size x the place of a pixel's center, exact
    distance = np.abs(twice[:, np.newaxis] - 2 * new_size * np.arange(size)[np.newaxis])
    return np.maximum(2 * new_size - distance, 0) / (2 * new_size)


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
) -> tuple[np.ndarray, tuple[int, int, int, int], float, list[tuple[int, int]], tuple[int, int, int, int] | None]:
    """An image as the network is shown it.

    Args:
        image: [h, w, c] of any dtype, which is kept.
        min_dim: enlarge it until its shorter side is this long.
        max_dim: "square" only: its longer side is at most, and the result exactly, this long.
        min_scale: enlarge it at least so much.
        mode: "none"; "square", in the middle of a black square; "pad64", in the middle of sides that are multiples of
            64; "crop", a random square of min_dim pixels.

    Returns:
        (image, window (y1, x1, y2, x2) of the image in it, scale, padding [(top, bottom), (left, right), (0, 0)],
        crop (y, x, h, w) or None).
    """
    dtype = image.dtype
    h, w = image.shape[:2]
    window, scale, crop = (0, 0, h, w), 1, None
    padding = [(0, 0), (0, 0), (0, 0)]
    if mode == "none":
        return image, window, scale, padding, crop
    if min_dim:
        scale = max(1, min_dim / min(h, w))
    if min_scale and scale < min_scale:
        scale = min_scale
    if max_dim and mode == "square" and round(max(h, w) * scale) > max_dim:
        scale = max_dim / max(h, w)
    if scale != 1:
        image = resize(image, (round(h * scale), round(w * scale)), preserve_range=True)
    h, w = image.shape[:2]
    if mode in ("square", "pad64"):
        if mode == "pad64":
            assert min_dim % 64 == 0, "Minimum dimension must be a multiple of 64"
            height, width = resize_ops.padded_shape(h, w, 64)
        else:
            height = width = max_dim
        top, left = (height - h) // 2, (width - w) // 2
        padding = [(top, height - h - top), (left, width - w - left), (0, 0)]
        image = np.pad(image, padding, mode="constant", constant_values=0)
        window = (top, left, h + top, w + left)
    elif mode == "crop":
        y, x = random.randint(0, h - min_dim), random.randint(0, w - min_dim)
        crop = (y, x, min_dim, min_dim)
        image = image[y : y + min_dim, x : x + min_dim]
        window = (0, 0, min_dim, min_dim)
    else:
        raise Exception(f"Mode {mode} not supported")
    return image.astype(dtype), window, scale, padding, crop


def _nearest(size: int, scale: float) -> np.ndarray:
    """Source pixel of each target pixel along one axis, the first on the first and the last on the last."""
    new_size = round(size * scale)
    return np.floor(np.arange(new_size) * ((size - 1) / max(new_size - 1, 1)) + 0.5).astype(int)


def resize_mask(mask: np.ndarray, scale: float, padding: Any, crop: Any = None) -> np.ndarray:
    """Masks [h, w, n] taken through what `resize_image` did to their image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mask = mask[_nearest(mask.shape[0], scale)][:, _nearest(mask.shape[1], scale)]
    if crop is not None:
        y, x, h, w = crop
        return mask[y : y + h, x : x + w]
    return np.pad(mask, padding, mode="constant", constant_values=0)


def _stretch(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool[h, w], a mask of another size at this one."""
    return resize_ops.resize_image(mask.astype(np.uint8) * 255, shape, "linear_black_u8") >= 128


def minimize_mask(bbox: Any, mask: np.ndarray, mini_shape: Sequence[int]) -> np.ndarray:
    """bool[mini h, mini w, n], each mask cut out along its box and reduced.

    Raises:
        Exception: a box without area.
    """
    mini = np.zeros((*tuple(mini_shape), mask.shape[-1]), bool)
    for i in range(mask.shape[-1]):
        y1, x1, y2, x2 = np.asarray(bbox[i])[:4].astype(int)
        window = mask[:, :, i].astype(bool)[y1:y2, x1:x2]
        if window.size == 0:
            raise Exception("Invalid bounding box with area of zero")
        mini[:, :, i] = _stretch(window, (int(mini_shape[0]), int(mini_shape[1])))
    return mini


def expand_mask(bbox: Any, mini_mask: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """bool[h, w, n], the inverse of `minimize_mask`."""
    mask = np.zeros((*tuple(image_shape[:2]), mini_mask.shape[-1]), bool)
    for i in range(mask.shape[-1]):
        y1, x1, y2, x2 = np.asarray(bbox[i])[:4].astype(int)
        mask[y1:y2, x1:x2, i] = _stretch(mini_mask[:, :, i], (y2 - y1, x2 - x1))
    return mask


def mold_mask(mask: np.ndarray, config: Any) -> None:
    """Never did anything."""


def unmold_mask(mask: np.ndarray, bbox: Any, image_shape: Sequence[int]) -> np.ndarray:
    """bool[h, w], a predicted mask f[m, m] of probabilities put into its box in the image."""
    box = np.asarray(bbox, np.float32)[None]
    return paste_masks(np.asarray(mask, np.float32)[None], box, *image_shape[:2], convention="integer_resize")[0]


# Anchors


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


# Average precision


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which prediction found which object of one image: the best score first takes its best free object.

    Args:
        gt_boxes, pred_boxes: [n, 4]; rows of zeros are padding.
        gt_masks, pred_masks: [h, w, n], of one size.
        iou_threshold: lowest overlap of masks.
        score_threshold: objects that overlap less than this are not looked at.

    Returns:
        gt_match f[G] (index of the prediction or -1), pred_match f[P] (index of the object or -1), overlaps f[P, G];
        predictions ordered by score, the best first.
    """
    gt_boxes = trim_zeros(gt_boxes)
    gt_masks = gt_masks[..., : gt_boxes.shape[0]]
    pred_boxes = trim_zeros(pred_boxes)
    order = np.argsort(pred_scores[: pred_boxes.shape[0]])[::-1]
    pred_class_ids, pred_masks = pred_class_ids[order], pred_masks[..., order]
    overlaps = compute_overlaps_masks(pred_masks, gt_masks)
    pred_match, gt_match = -1 * np.ones([len(order)]), -1 * np.ones([gt_boxes.shape[0]])
    for i in range(len(order)):
        for j in np.argsort(overlaps[i])[::-1]:
            if overlaps[i, j] < max(iou_threshold, score_threshold):
                break
            if gt_match[j] == -1 and pred_class_ids[i] == gt_class_ids[j]:
                gt_match[j], pred_match[i] = i, j
                break
    return gt_match, pred_match, overlaps


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Average precision over one image, all classes together: the area below precision made non-increasing.

    It is not the COCO number, which `mrcnn.evaluate` gives.

    Returns:
        (AP, precisions f[P + 2], recalls f[P + 2], overlaps f[P, G]). Empty: 0 without predictions.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks, iou_threshold
    )
    matched = np.cumsum(pred_match > -1)
    precisions = np.concatenate([[0], matched / (np.arange(len(pred_match)) + 1), [0]])
    recalls = np.concatenate([[0], matched.astype(np.float32) / len(gt_match), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    steps = np.flatnonzero(recalls[:-1] != recalls[1:]) + 1
    ap = np.sum((recalls[steps] - recalls[steps - 1]) * precisions[steps])
    return ap, precisions, recalls, overlaps


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: Any = None,
    verbose: int = 1,
) -> float:
    """The mean of `compute_ap` over thresholds, 0.5 to 0.95 by default."""
    thresholds = np.arange(0.5, 1.0, 0.05) if iou_thresholds is None else iou_thresholds
    precisions = []
    for threshold in thresholds:
        ap = compute_ap(gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, threshold)[0]
        if verbose:
            print(f"AP @{threshold:.2f}:\t {ap:.3f}")
        precisions.append(ap)
    mean = np.array(precisions).mean()
    if verbose:
        print(f"AP @{thresholds[0]:.2f}-{thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(pred_boxes: Any, gt_boxes: Any, iou: float) -> tuple[float, np.ndarray]:
    """Share of the true boxes that some predicted one overlaps by `iou`, and the indices of those predictions."""
    overlaps = compute_overlaps(pred_boxes, gt_boxes)
    best, which = np.max(overlaps, axis=1), np.argmax(overlaps, axis=1)
    positive_ids = np.where(best >= iou)[0]
    return len(set(which[positive_ids])) / np.asarray(gt_boxes).shape[0], positive_ids


# The rest


def batch_slice(inputs: Any, graph_fn: Callable[..., Any], batch_size: int, names: Any = None) -> Any:
    """A function of one image's tensors on each image of a batch, the results stacked."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    outputs = []
    for i in range(batch_size):
        output = graph_fn(*[x[i] for x in inputs])
        outputs.append(output if isinstance(output, (tuple, list)) else [output])
    names = [None] * len(outputs[0]) if names is None else names
    result = [tf.stack(parts, axis=0, name=name) for parts, name in zip(zip(*outputs, strict=True), names, strict=True)]
    return result[0] if len(result) == 1 else result


def download_trained_weights(coco_model_path: str, verbose: int = 1) -> None:
    """Fetch matterport's COCO weights to a path.

    The file gets its name only after its length is the one that the server announced and, where the file is the
    published one, length and MD5 digest are those of the release.

    Raises:
        OSError: they cannot be fetched, or what came is not what was sent; says from where and what to do.
    """
    if verbose > 0:
        print(f"Downloading pretrained model to {coco_model_path} ...")
    try:
        with atomic_write(coco_model_path) as temporary:
            _fetch(COCO_MODEL_URL, temporary)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"{COCO_MODEL_URL} cannot be fetched ({error or type(error).__name__}); put that file at "
            f"{coco_model_path} by other means"
        ) from error
    if verbose > 0:
        print("... done downloading pretrained model!")


def _fetch(url: str, path: Path) -> None:
    """Write what lies at a URL to a file, and see that it is whole.

    Raises:
        OSError: it cannot be fetched, ended early, or is not the file that is known by this URL.
    """
    digest = hashlib.md5(usedforsecurity=False)
    length = 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:
        announced = response.headers.get("Content-Length")
        while block := response.read(1 << 20):
            file.write(block)
            digest.update(block)
            length += len(block)
    if announced is not None and length != int(announced):
        raise OSError(f"the connection ended after {length} of {announced} bytes")
    known = _KNOWN_FILES.get(url)
    if known is not None and (length, digest.hexdigest()) != known:
        raise OSError(f"expected {known[0]} bytes of MD5 {known[1]}, got {length} bytes of MD5 {digest.hexdigest()}")
