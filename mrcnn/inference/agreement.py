"""Whether detections in half precision are those of float32, on the first images that a model sees."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.modeling.precision import is_unchecked, mark_checked, precision_of, set_precision
from mrcnn.structures.boxes import box_iou

_log = logging.getLogger(__name__)

Output = Mapping[str, tf.Tensor]

CONFIDENT = 0.5
"""Detections scored at least so are compared; of those near the threshold, rounding decides which there are."""
SAME_BOX, SAME_SCORE, ENOUGH = 0.7, 0.1, 0.9
"""Least IoU and largest difference of scores of one object in both; least share of objects that both have."""
_ATTEMPTS = 4  # batches without a confident detection until the instructions alone decide


class CheckedRun:
    """Runs a batch in both precisions until the detections of one batch could be compared, then in the one chosen.

    Args:
        model: its precision is set to float32 where the detections differ.
        low: the model in the precision that was chosen for it.
        reference: the model in float32.
    """

    def __init__(
        self, model: Any, low: Callable[[Any], dict[str, tf.Tensor]], reference: Callable[[Any], dict[str, tf.Tensor]]
    ) -> None:
        self._model, self._low, self._reference = model, low, reference
        self._lock = threading.Lock()
        self._attempts = 0

    def __call__(self, batch: Any) -> dict[str, tf.Tensor]:
        with self._lock:
            if is_unchecked(self._model):
                return self._compare(batch)
        return (self._reference if precision_of(self._model) == "float32" else self._low)(batch)

    def _compare(self, batch: Any) -> dict[str, tf.Tensor]:
        expected, result = self._reference(batch), self._low(batch)
        self._attempts += 1
        share = agreement(expected, result)
        if share is None:
            if self._attempts == _ATTEMPTS:
                mark_checked(self._model)
            return expected
        mark_checked(self._model)
        precision = precision_of(self._model)
        if share >= ENOUGH:
            _log.info("precision: %s, whose detections agree with those of float32", precision)
            return result
        _log.warning(
            "precision: float32, because only %.0f %% of the detections of the first images are the same in %s; "
            "pass precision=%r to have it nevertheless",
            100 * share,
            precision,
            precision,
        )
        set_precision(self._model, "float32")
        return expected


def agreement(expected: Output, result: Output) -> float | None:
    """Share of the confident detections, of both sides, that the other side has too.

    Args:
        expected, result: of one batch, `boxes` f32[B, N, 4], `scores` f32[B, N], `class_ids` i32[B, N] and `valid`
            bool[B, N].

    Returns:
        0..1; None where neither side has a confident detection.

    Example:
        >>> one = {"boxes": tf.ones((1, 1, 4)) * [0, 0, 8, 8], "scores": tf.constant([[0.9]]),
        ...        "class_ids": tf.constant([[1]]), "valid": tf.constant([[True]])}
        >>> agreement(one, one), agreement(one, {**one, "class_ids": tf.constant([[2]])})
        (1.0, 0.0)
    """
    names = ("boxes", "scores", "class_ids", "valid")
    here, there = ({name: np.asarray(side[name]) for name in names} for side in (expected, result))
    images = range(len(here["valid"]))
    common = [_matched(own, other, k) for k in images for own, other in ((here, there), (there, here))]
    number = sum(len(matched) for matched in common)
    return float(sum(matched.sum() for matched in common) / number) if number else None


def _matched(own: dict[str, np.ndarray], other: dict[str, np.ndarray], image: int) -> np.ndarray:
    """bool[n] of the confident detections of an image: whether the other side has them."""
    confident = own["valid"][image] & (own["scores"][image] >= CONFIDENT)
    boxes, others = own["boxes"][image][confident], other["boxes"][image]
    same = own["class_ids"][image][confident][:, None] == other["class_ids"][image]
    near = np.abs(own["scores"][image][confident][:, None] - other["scores"][image]) <= SAME_SCORE
    return ((box_iou(boxes, others) >= SAME_BOX) & same & near & other["valid"][image]).any(axis=1)
