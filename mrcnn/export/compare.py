"""By how much an exported model's detections differ from the Python model's."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from mrcnn.structures.boxes import box_iou
from mrcnn.structures.instances import Instances

_SAME_OBJECT = 0.5  # least IoU of the boxes of one object in both results


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest differences over all pairs of detections of the same object; also the bounds on them.

    `unmatched` counts detections that only one side has: their score lies where it just passes the threshold, or their
    box where non-maximum suppression just keeps it.
    """

    images: int = 0
    detections: int = 0  # of the Python model
    unmatched: float = 0.0  # share of detections, of both sides, that the other side does not have
    scores: float = 0.0
    boxes: float = 0.0  # pixels of the image
    masks: float = 0.0  # share of mask pixels, of all objects of an image together, that differ
    keypoints: float = 0.0  # share of joints that are more than a pixel apart
    extra: float = 0.0  # of further heads' outputs: largest difference, relative to the largest value of the output

    def beyond(self, bounds: Difference) -> list[str]:
        """What exceeds the bounds, as "scores 0.2 > 0.001"."""
        names = ("unmatched", "scores", "boxes", "masks", "keypoints", "extra")
        values = ((name, getattr(self, name), getattr(bounds, name)) for name in names)
        return [f"{name} {value:.2g} > {bound:.2g}" for name, value, bound in values if not value <= bound]

    def __str__(self) -> str:
        if self.detections == 0:
            return f"{self.images} images, no detections in them: only that they run was compared"
        return (
            f"{self.detections} detections in {self.images} images: scores differ by at most {self.scores:.1e}, "
            f"boxes by {self.boxes:.1e} pixels, {self.masks:.2%} of mask pixels, {self.keypoints:.2%} of joints, "
            f"{self.unmatched:.2%} of detections are on one side only"
            + (f", outputs of further heads differ by {self.extra:.1e}" if self.extra else "")
        )


ACCEPTED = Difference(unmatched=0.01, scores=1e-3, boxes=0.25, masks=0.01, keypoints=0.02, extra=0.01)
"""Bounds for an export in float32: rounding, and the few choices that it tips."""

ACCEPTED_IN_HALF = Difference(unmatched=0.05, scores=0.3, boxes=16.0, masks=0.03, keypoints=0.1, extra=0.1)
"""Bounds for two graphs in half precision: 8 bits of a feature are rounded in another order, and a detection that
covers two objects becomes that of the other one."""

INT8_ACCEPTED = Difference(unmatched=0.25, scores=0.2, boxes=float("inf"), masks=0.1, keypoints=0.5, extra=0.5)
"""Bounds in 8 bits. Detections near the threshold come and go; boxes of one object overlap by half in any case."""


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products in float32 meanwhile, also on GPUs that otherwise round their factors to 10 bits (TensorFloat-32).

    What is compared is the graph. Two runs of one model differ by more than `ACCEPTED` where factors are rounded.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def compare(expected: Sequence[Instances], result: Sequence[Instances]) -> Difference:
    """Pair the detections of the same images and measure how far they are apart.

    Args:
        expected: of the Python model, one `Instances` an image.
        result: of the exported model, the same images in the same order.
    """
    num = alone = mask_pixels = mask_errors = joints = joint_errors = 0
    scores = boxes = extra = 0.0
    for here, there in zip(expected, result, strict=True):
        i, j = _pairs(here, there)
        num += len(here) + len(there)
        alone += len(here) + len(there) - 2 * len(i)
        if not len(i):
            continue
        if here.scores is not None and there.scores is not None:
            scores = max(scores, float(np.abs(here.scores[i] - there.scores[j]).max()))
        boxes = max(boxes, float(np.abs(here.boxes[i] - there.boxes[j]).max()))
        if here.masks is not None and there.masks is not None:
            errors, pixels = _mask_difference(here.masks, there.masks, i, j)
            mask_pixels, mask_errors = mask_pixels + pixels, mask_errors + errors
        for output in here.outputs:
            if output.name not in there.extra:
                continue
            values = here.extra[output.name], there.extra[output.name]
            if output.paste is None:
                a, b = (np.asarray(v, np.float64)[k] for v, k in zip(values, (i, j), strict=True))
                extra = max(extra, float(np.abs(a - b).max(initial=0.0) / max(np.abs(a).max(initial=0.0), 1e-6)))
            else:
                a, b = here.extra_array(output.name), there.extra_array(output.name)
                errors, pixels = _mask_difference(a, b, i, j)
                mask_pixels, mask_errors = mask_pixels + pixels, mask_errors + errors
        if here.keypoints is not None and there.keypoints is not None:
            apart = np.linalg.norm(here.keypoints[i, :, :2] - there.keypoints[j, :, :2], axis=-1)
            joints, joint_errors = joints + apart.size, joint_errors + int((~(apart <= 1.0)).sum())
    return Difference(
        images=len(expected),
        detections=sum(map(len, expected)),
        unmatched=alone / max(num, 1),
        scores=scores,
        boxes=boxes,
        masks=mask_errors / max(mask_pixels, 1),
        keypoints=joint_errors / max(joints, 1),
        extra=extra,
    )


def _mask_difference(here: np.ndarray, there: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[int, int]:
    """Pixels that differ, and pixels of either, of masks bool[n, h, w] and bool[m, h, w] paired by i and j."""
    errors = pixels = 0
    for a, b in zip(i, j, strict=True):  # one by one: all masks at once would be held twice
        pixels += int((here[a] | there[b]).sum())
        errors += int((here[a] ^ there[b]).sum())
    return errors, pixels


def _pairs(here: Instances, there: Instances) -> tuple[np.ndarray, np.ndarray]:
    """Indices i64[n] into both of the same objects: same class, and boxes that no other pair fits better."""
    if not len(here) or not len(there):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    iou = box_iou(here.boxes, there.boxes)
    iou[here.class_ids[:, None] != there.class_ids[None]] = 0.0
    pairs = []
    for place in np.argsort(-iou, axis=None, kind="stable"):
        a, b = np.unravel_index(place, iou.shape)
        if iou[a, b] >= _SAME_OBJECT:
            pairs.append((a, b))
            iou[a], iou[:, b] = 0.0, 0.0
        elif len(pairs) == min(iou.shape) or not iou.max() >= _SAME_OBJECT:
            break
    paired = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    return paired[:, 0], paired[:, 1]
