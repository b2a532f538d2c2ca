"""The way back: from what the model says of a canvas to instances in an image's own pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.inference.prepare import Prepared
from mrcnn.modeling.input import InputConfig
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import BoxMasks, Paste


def pasting_of(model: Any) -> tuple[Paste, float]:
    """How the model's masks are pasted, and what is added to y2 and x2 of their boxes for that."""
    for head in getattr(model.config, "heads", ()):
        if hasattr(head, "paste"):
            return head.paste, head.pool.end_offset if head.paste == "padded_integer" else 0.0
    return "exact", 0.0


def to_instances(
    detections: dict[str, np.ndarray],
    content_shape: tuple[int, int],
    original_shape: tuple[int, int],
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    *,
    origin: tuple[int, int] = (0, 0),
    config: InputConfig | None = None,
    paste: Paste = "exact",
    paste_offset: float = 0.0,
) -> Instances:
    """The model's answer for one image, taken back to the image's own pixels.

    Args:
        detections: boxes f32[D, 4] in pixels of the padded image, class_ids i32[D], scores f32[D], valid bool[D],
            and where there are such heads masks f32[D, M, M] (probabilities inside the box), keypoints f32[D, J, 3].
        content_shape: (height, width) of the resized image inside the padding.
        original_shape: (height, width) of the image as it was given.
        score_threshold: drop detections scored below; None = none.
        mask_threshold: lowest probability that belongs to the object.
        origin: (y, x) of the resized image inside the padding.
        config: of the model's input, for what its boxes mean and whether they are rounded; None: the default.
        paste: see `structures.masks.paste_masks`.
        paste_offset: added to y2 and x2 before pasting; -1 where a convention counts corners as the last pixels inside.

    Returns:
        the valid detections whose box lies in the image with more than no area, masks not pasted yet. Empty: no
        instances.
    """
    config = config or InputConfig()
    height, width = original_shape
    end, scale, shift = (
        config.end_offset,
        _scale(content_shape, original_shape, config),
        np.array(origin, np.float32),
    )
    whole = (detections["boxes"] - np.tile(shift, 2)) * np.tile(scale, 2) - np.array([0, 0, end, end], np.float32)
    if config.whole_pixels:
        whole = np.round(whole)
    boxes = np.clip(whole, 0, [height, width, height, width]).astype(np.float32)
    keep = detections["valid"] & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if score_threshold is not None:
        keep &= detections["scores"] >= score_threshold
    masks = keypoints = None
    if "masks" in detections:
        # The mask was predicted for the box before clipping
        whole = whole[keep] + np.array([0, 0, paste_offset, paste_offset], np.float32)
        masks = BoxMasks(detections["masks"][keep], whole, height, width, mask_threshold, paste)
    if "keypoints" in detections:
        keypoints = detections["keypoints"][keep] - np.array([shift[1], shift[0], 0], np.float32)
        keypoints = keypoints * np.array([scale[1], scale[0], 1], np.float32)
    return Instances(
        boxes[keep],
        detections["class_ids"][keep],
        original_shape,
        scores=detections["scores"][keep],
        masks=masks,
        keypoints=keypoints,
    )


def to_canvas(boxes: np.ndarray, item: Prepared, config: InputConfig) -> np.ndarray:
    """Boxes f32[n, 4] in original pixels as the model's boxes on the canvas: the way back, backwards, not rounded."""
    end, scale = config.end_offset, _scale(item.content_shape, item.original_shape, config)
    edges = boxes + np.array([0, 0, end, end], np.float32)
    return (edges / np.tile(scale, 2) + np.tile(np.array(item.origin, np.float32), 2)).astype(np.float32)


def _scale(content_shape: tuple[int, int], original_shape: tuple[int, int], config: InputConfig) -> np.ndarray:
    """f32[2], (y, x): original pixels per pixel of the canvas."""
    # A box whose y2 and x2 name its last pixel lives on pixel centers: what is stretched is the image less one pixel.
    end = config.end_offset
    scale = np.array([(b + end) / max(a + end, 1) for a, b in zip(content_shape, original_shape, strict=True)])
    return scale.astype(np.float32)
