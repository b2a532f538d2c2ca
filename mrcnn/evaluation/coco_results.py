"""Detections in COCO's results format."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.data.rle import encode_masks
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.outputs import HeadOutput


def to_coco_results(
    image_id: int | str, instances: Instances, category_ids: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Detections of one image in COCO results format.

    Args:
        image_id: the image's id in the annotation file.
        instances: with scores; boxes in original pixels.
        category_ids: the file's category id of each class, class 1 first; None = class ids are category ids.

    Returns:
        dicts with image_id, category_id, bbox [x, y, width, height] to 1e-3 pixel, score to 1e-6, and, where the
        instances have them, segmentation (compressed RLE), keypoints [x, y, score, ...], rotated_bbox [center x,
        center y, width, height, angle] in pixels and degrees counter-clockwise, and the outputs of further heads under
        the keys they declare (`HeadOutput.result_key`; a second mask is `NAME_segmentation` for a head named NAME).
        Empty: [].

    Raises:
        InputError: instances without scores, or a class id beyond `category_ids`; names the image.

    Example:
        >>> to_coco_results(7, Instances([[1, 2, 5, 8]], [1], (10, 10), scores=[0.5]), [90])
        [{'image_id': 7, 'category_id': 90, 'bbox': [2.0, 1.0, 6.0, 4.0], 'score': 0.5}]
    """
    if instances.scores is None:
        raise InputError(f"image {image_id!r}: detections need scores, these instances have none")
    masks = encode_masks(instances) if instances.has_masks else None
    extra = {output.result_key: _plain(instances, output) for output in instances.outputs if output.result_key}
    results = []
    for i, (box, class_id, score) in enumerate(
        zip(instances.boxes.tolist(), instances.class_ids.tolist(), instances.scores.tolist(), strict=True)
    ):
        y1, x1, y2, x2 = box
        result = {
            "image_id": image_id,
            "category_id": class_id
            if category_ids is None
            else category_ids[check_class(class_id, category_ids, image_id) - 1],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 6),
        }
        if masks is not None:
            result["segmentation"] = masks[i]
        if instances.keypoints is not None:
            result["keypoints"] = [round(v, 3) for v in instances.keypoints[i].ravel().tolist()]
        if instances.rotated_boxes is not None:
            center_y, center_x, height, width, angle = instances.rotated_boxes[i].tolist()
            result["rotated_bbox"] = [round(v, 3) for v in (center_x, center_y, width, height, angle)]
        results.append(result | {key: values[i] for key, values in extra.items()})
    return results


def _plain(instances: Instances, output: HeadOutput) -> list[Any]:
    """An output of each instance as JSON has it: a mask as compressed RLE, points as one list, numbers to 1e-6."""
    if output.paste is not None:
        return encode_masks(dataclasses.replace(instances, masks=instances.extra[output.name]))
    value = instances.extra_array(output.name)
    if output.frame == "image":
        return [[round(v, 3) for v in points.ravel().tolist()] for points in value]
    return np.round(np.asarray(value, np.float64), 6).tolist() if value.dtype.kind == "f" else value.tolist()


def check_class(class_id: int, classes: Sequence[Any], image_id: int | str) -> int:
    """The class id itself.

    Raises:
        InputError: it is not among 1..C; names the image.
    """
    if not 1 <= class_id <= len(classes):
        raise InputError(f"image {image_id!r}: class id {class_id} is not among 1..{len(classes)}")
    return class_id
