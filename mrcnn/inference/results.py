"""The way back: from what the model says of a canvas to instances in an image's own pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.inference.prepare import Prepared
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import BoxMasks
from mrcnn.structures.outputs import STANDARD, HeadOutput, extra_outputs
from mrcnn.structures.rotated_masks import RotatedBoxMasks, scale_rotated_boxes


def to_instances(
    detections: dict[str, np.ndarray],
    content_shape: tuple[int, int],
    original_shape: tuple[int, int],
    score_threshold: float | None = None,
    mask_threshold: float = 0.5,
    *,
    origin: tuple[int, int] = (0, 0),
    config: InputConfig | None = None,
    outputs: Sequence[HeadOutput] = STANDARD,
) -> Instances:
    """The model's answer for one image, taken back to the image's own pixels.

    Args:
        detections: boxes f32[D, 4] in pixels of the padded image, class_ids i32[D], scores f32[D], valid bool[D],
            and the outputs of the heads, such as masks f32[D, M, M] (probabilities inside the box); of a model of
            rotated boxes also rotated_boxes f32[D, 5], which the masks are then in.
        content_shape: (height, width) of the resized image inside the padding.
        original_shape: (height, width) of the image as it was given.
        score_threshold: drop detections scored below; None = none.
        mask_threshold: lowest probability that belongs to the object.
        origin: (y, x) of the resized image inside the padding.
        config: of the model's input, for what its boxes mean and whether they are rounded; None: the default.
        outputs: what the outputs of the heads are (`MaskRCNNConfig.outputs`); those that `detections` does not hold are
            left out.

    Returns:
        the valid detections whose box lies in the image with more than no area, masks not pasted yet. Empty: no
        instances.
    """
    config = config or InputConfig()
    height, width = original_shape
    end, scale, shift = (
        config.end_offset,
        scale_of(content_shape, original_shape, config),
        np.array(origin, np.float32),
    )
    whole = (detections["boxes"] - np.tile(shift, 2)) * np.tile(scale, 2) - np.array([0, 0, end, end], np.float32)
    if config.whole_pixels:
        whole = np.round(whole)
    boxes = np.clip(whole, 0, [height, width, height, width]).astype(np.float32)
    keep = detections["valid"] & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if score_threshold is not None:
        keep &= detections["scores"] >= score_threshold
    factors, rotated = (float(scale[0]), float(scale[1])), detections.get("rotated_boxes")
    if rotated is not None:
        rotated = rotated - np.pad(shift, (0, 3))
    present = [output for output in outputs if output.name in detections]
    values: dict[str, Any] = {}
    for output in present:
        value = detections[output.name][keep]
        if output.paste is not None:
            # It was predicted for the box before clipping
            values[output.name] = (
                pasted(output, value, whole[keep], original_shape, mask_threshold)
                if rotated is None
                else RotatedBoxMasks(value, rotated[keep], *original_shape, mask_threshold, factors)
            )
        else:
            values[output.name] = to_original(output, value, shift, scale)
    class_ids, scores = (detections[name][keep] for name in ("class_ids", "scores"))
    instances = make_instances(boxes[keep], class_ids, original_shape, scores, values, present)
    if rotated is not None:
        instances.rotated_boxes = scale_rotated_boxes(rotated[keep], scale)
    return instances


def make_instances(
    boxes: np.ndarray,
    class_ids: np.ndarray,
    image_shape: tuple[int, int],
    scores: np.ndarray,
    values: Mapping[str, Any],
    outputs: Sequence[HeadOutput],
) -> Instances:
    """Instances with the outputs of heads in their fields, or in `extra` where they have none.

    Args:
        boxes, class_ids, image_shape, scores: see `Instances`.
        values: in pixels of the image, by name.
        outputs: what they are.
    """
    extra = extra_outputs(outputs)
    held = {output.name: values[output.name] for output in extra}
    fields = {name: value for name, value in values.items() if name not in held}
    return Instances(boxes, class_ids, image_shape, scores=scores, extra=held, outputs=extra, **fields)


def pasted(
    output: HeadOutput, probs: np.ndarray, boxes: np.ndarray, image_shape: tuple[int, int], threshold: float
) -> BoxMasks:
    """What is pasted of an output, not pasted yet.

    Args:
        output: with `paste`.
        probs: f32[n, M, M], inside the boxes.
        boxes: f32[n, 4], what the probabilities were predicted for, pixels of the image.
        image_shape: (height, width).
        threshold: lowest probability that belongs to the object.
    """
    paste = output.paste
    assert paste is not None
    end = paste.end_offset
    return BoxMasks(probs, boxes + np.array([0, 0, end, end], np.float32), *image_shape, threshold, paste.convention)


def to_original(output: HeadOutput, values: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """An output of the model in pixels of the original image; it changes only if its frame is the image.

    Args:
        output: what the values are.
        values: [n, *shape].
        shift: f32[2], (y, x) of the resized image inside the padding.
        scale: f32[2], (y, x), original pixels per pixel of the canvas.
    """
    if output.frame != "image":
        return values
    rest = np.zeros(values.shape[-1] - 2, np.float32)
    return (values - np.concatenate([shift[::-1], rest])) * np.concatenate([scale[::-1], rest + 1])


def to_canvas(boxes: np.ndarray, item: Prepared, config: InputConfig) -> np.ndarray:
    """Boxes f32[n, 4] in original pixels as the model's boxes on the canvas: the way back, backwards, not rounded."""
    end, scale = config.end_offset, scale_of(item.content_shape, item.original_shape, config)
    edges = boxes + np.array([0, 0, end, end], np.float32)
    return (edges / np.tile(scale, 2) + np.tile(np.array(item.origin, np.float32), 2)).astype(np.float32)


def scale_of(content_shape: tuple[int, int], original_shape: tuple[int, int], config: InputConfig) -> np.ndarray:
    """f32[2], (y, x): original pixels per pixel of the canvas."""
    # A box whose y2 and x2 name its last pixel lives on pixel centers: what is stretched is the image less one pixel.
    end = config.end_offset
    scale = np.array([(b + end) / max(a + end, 1) for a, b in zip(content_shape, original_shape, strict=True)])
    return scale.astype(np.float32)
