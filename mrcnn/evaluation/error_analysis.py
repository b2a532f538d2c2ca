"""What the average precision loses to which kind of error.

Every false positive is one of five errors and every object that none of these concerns is missed. How much an error
matters is the AP at one IoU threshold that correcting all errors of the kind, and no other, would add.

Ref: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020, section 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.average_precision import average_precision
from mrcnn.evaluation.matching import MatchTable, match_images
from mrcnn.evaluation.pairs import ImagePairs

ERRORS = ("classification", "localization", "both", "duplicate", "background", "missed")
FOREGROUND, BACKGROUND = 0.5, 0.1
"""IoU from which a detection is a match, and up to which it is background: t_f and t_b of the paper."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One error: of `kind`, one of `ERRORS`; `image` is a place in the sequence, the others are places in the image.

    A missed object has no detection; errors of the kinds "both" and "background" concern no object.
    """

    kind: str
    image: int
    detection: int | None = None
    gt: int | None = None
    score: float | None = None


@dataclasses.dataclass(frozen=True)
class ErrorAnalysis:
    """AP at the foreground threshold, all errors, and what AP gains (`delta`) by correcting those of each kind.

    `false_positives` and `false_negatives` are the gains of correcting all of either side. NaN without objects.
    """

    average_precision: float
    delta: dict[str, float]
    false_positives: float
    false_negatives: float
    errors: tuple[Mistake, ...]

    def count(self, kind: str) -> int:
        """Number of errors of a kind."""
        return sum(error.kind == kind for error in self.errors)


def analyze_errors(
    images: Sequence[ImagePairs], foreground: float = FOREGROUND, background: float = BACKGROUND
) -> ErrorAnalysis:
    """Sort the errors into kinds and weigh them.

    In the order of the questions: a false positive that overlaps an object of its class by `background` to `foreground`
    is a localization error; one that overlaps an object of another class by `foreground`, a classification error; one
    that overlaps an object of its class that another detection was credited with, a duplicate; one that overlaps
    nothing by more than `background`, background; any other one, both. Correcting a localization or classification
    error makes it a match if the object is free and no detection of a higher score claims it; all others are removed.
    Correcting missed objects takes them out of the count of objects.

    Args:
        images: of `pair_image`.
        foreground, background: IoU thresholds.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cell = Instances([[0, 0, 4, 4]], [1], (8, 8))
        >>> analysis = analyze_errors([pair_image(1, cell, Instances([[0, 0, 4, 1]], [1], (8, 8), scores=[0.9]))])
        >>> analysis.errors[0].kind, analysis.delta["localization"]
        ('localization', 1.0)
    """
    table = match_images(images, foreground)
    errors = _find_errors(images, table, foreground, background)
    objects = {class_id: table.num_objects(class_id) for class_id in table.objects}
    before = _mean_ap(table.class_ids, table.scores, table.correct, objects)
    delta = {}
    for kind in ERRORS:
        delta[kind] = _corrected(images, table, errors, kind, objects) - before
    perfect = _mean_ap(table.class_ids, np.where(table.correct, 1.0, 0.0), table.correct, objects)
    correct_of = {c: int(table.correct[table.class_ids == c].sum()) for c in objects}
    complete = _mean_ap(table.class_ids, table.scores, table.correct, correct_of)
    return ErrorAnalysis(before, delta, perfect - before, complete - before, tuple(errors))


def _find_errors(
    images: Sequence[ImagePairs], table: MatchTable, foreground: float, background: float
) -> list[Mistake]:
    errors: list[Mistake] = []
    for index, image in enumerate(images):
        rows = np.flatnonzero(table.image == index)
        matched = table.matched[rows]
        used = np.zeros(len(image.gt_class_ids), bool)
        used[matched[matched >= 0]] = True
        own, own_iou = image.best_overlaps(same_class=True)
        other, other_iou = image.best_overlaps(same_class=False)
        claimed = used | image.gt_crowd
        for d in table.detection[rows[matched < 0]].tolist():
            gt = None
            if background <= own_iou[d] <= foreground and own[d] >= 0:
                kind, gt = "localization", int(own[d])
            elif other_iou[d] >= foreground:
                kind, gt = "classification", int(other[d])
            elif own_iou[d] >= foreground:
                kind, gt = "duplicate", int(own[d])
            else:
                kind = "background" if max(own_iou[d], other_iou[d]) <= background else "both"
            if gt is not None and kind != "duplicate":
                claimed[gt] = True
            errors.append(Mistake(kind, index, d, gt, float(image.scores[d])))
        errors += [Mistake("missed", index, gt=int(g)) for g in np.flatnonzero(~claimed)]
    return errors


def _corrected(
    images: Sequence[ImagePairs],
    table: MatchTable,
    errors: Sequence[Mistake],
    kind: str,
    objects: dict[int, int],
) -> float:
    """The mean AP with all errors of a kind corrected."""
    of_kind = [error for error in errors if error.kind == kind]
    if kind == "missed":
        left = dict(objects)
        for error in of_kind:
            left[int(images[error.image].gt_class_ids[error.gt])] -= 1
        return _mean_ap(table.class_ids, table.scores, table.correct, left)
    class_ids, correct = table.class_ids.copy(), table.correct.copy()
    keep = np.ones(len(correct), bool)
    row_of = {
        (i, d): row for row, (i, d) in enumerate(zip(table.image.tolist(), table.detection.tolist(), strict=True))
    }
    claims = _claims(table, errors)
    for error in of_kind:
        row = row_of[error.image, error.detection or 0]
        if error.gt is not None and claims.get((error.image, error.gt)) == error.detection:
            class_ids[row], correct[row] = images[error.image].gt_class_ids[error.gt], True
        else:
            keep[row] = False
    return _mean_ap(class_ids[keep], table.scores[keep], correct[keep], objects)


def _claims(table: MatchTable, errors: Sequence[Mistake]) -> dict[tuple[int, int], int]:
    """Free object -> the detection of the highest score that is a localization or classification error of it."""
    taken = set(zip(table.image[table.correct].tolist(), table.matched[table.correct].tolist(), strict=True))
    best: dict[tuple[int, int], Mistake] = {}
    for error in errors:
        if error.kind in ("localization", "classification") and error.gt is not None:
            key = error.image, error.gt
            if key not in taken and (key not in best or (best[key].score or 0) < (error.score or 0)):
                best[key] = error
    return {key: error.detection or 0 for key, error in best.items()}


def _mean_ap(class_ids: np.ndarray, scores: np.ndarray, correct: np.ndarray, objects: dict[int, int]) -> float:
    """Over the classes that have objects; one whose objects were all taken out counts 0 if it has detections."""
    values = []
    for class_id, number in objects.items():
        mine = class_ids == class_id
        if number or mine.any():
            values.append(average_precision(scores[mine], correct[mine], number) if number else 0.0)
    return float(np.mean(values)) if values else float("nan")
