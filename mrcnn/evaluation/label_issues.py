"""Annotations that are likely mistaken, judged by predictions that contradict them, most suspicious first.

Ref: in the spirit of Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021:
where a confident model and a label differ, the label is worth a look.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.matching import match_detections
from mrcnn.evaluation.overlap import box_iou
from mrcnn.evaluation.pairs import ImagePairs
from mrcnn.evaluation.subgroups import size_groups

KINDS = ("unlabeled", "unfound", "class", "outline")
APART, SAME = 0.1, 0.5
"""IoU up to which a detection and an object have nothing to do with each other, and from which they are the same."""


CONFIDENT = 0.5
"""Score from which a detection counts in the precision of its image."""
ABSENCE = 0.8
"""Weight of an object that nothing detects, beside a detection that contradicts it."""
_PRIOR = 2  # images of so many objects or detections are judged by half as all images are


@dataclasses.dataclass(frozen=True)
class LabelIssue:
    """One annotation in doubt.

    Attributes:
        kind: "unlabeled", a detection where nothing is annotated; "unfound", an object that no detection is near;
            "class", a detection of another class on an object; "outline", a detection that overlaps an object of its
            class, but by less than `SAME`.
        suspicion: in [0, 1], to rank by.
        image: place in the sequence. detection, gt: places in the image.
    """

    kind: str
    suspicion: float
    image: int
    detection: int | None = None
    gt: int | None = None


def find_label_issues(images: Sequence[ImagePairs], least: float = 0.05) -> list[LabelIssue]:
    """The annotations in doubt, most suspicious first.

    How much a contradiction counts depends on how well model and labels agree elsewhere in the image: its precision is
    the share of its confident detections that match an object, its recall that of its objects that are detected, both
    drawn towards those of all images where there are few. Suspicion is

    * "unlabeled": d, the score times the precision;
    * "unfound": u, the share of the objects of its class and size (small, medium, large) that are detected, times the
      recall, times `ABSENCE`;
    * "outline": 1 - (1 - d) (1 - u), as both speak against the label, less as the overlap nears `SAME`: times
      2 (1 - overlap / `SAME`) from half of it on;
    * "class": the score less that of the best detection of the object's own class.

    Crowd regions are in no doubt, nor are detections inside them.

    Args:
        images: of `pair_image`; of images the model was not trained on, or it repeats their mistakes.
        least: suspicion below which an issue is left out.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cells = Instances([[0, 0, 4, 4], [5, 5, 8, 8]], [1, 1], (9, 9), scores=[1, 0.75])
        >>> find_label_issues([pair_image(1, cells[:1], cells)])
        [LabelIssue(kind='unlabeled', suspicion=0.375, image=0, detection=1, gt=None)]
    """
    matches = [match_detections(image, SAME) for image in images]
    shares = _detected_shares(images, matches)
    precisions, recalls = _agreements(images, matches)
    issues: list[LabelIssue] = []
    for index, (image, precision, recall) in enumerate(zip(images, precisions, recalls, strict=True)):
        issues += _unlabeled(index, image, precision)
        sizes = size_groups(image)[0]
        for gt in np.flatnonzero(~image.gt_crowd).tolist():
            absence = ABSENCE * recall * shares[int(image.gt_class_ids[gt]), int(sizes[gt])]
            issue = _of_object(index, image, gt, precision, absence)
            if issue is None and not (image.iou[:, gt] > APART).any():
                issue = LabelIssue("unfound", absence, index, gt=gt)
            if issue is not None:
                issues.append(issue)
    return sorted((issue for issue in issues if issue.suspicion >= least), key=lambda issue: -issue.suspicion)


Matches = Sequence[tuple[np.ndarray, np.ndarray]]


def _agreements(images: Sequence[ImagePairs], matches: Matches) -> tuple[list[float], list[float]]:
    """The precision and the recall of each image, see `find_label_issues`."""
    hits: list[tuple[int, int]] = []
    objects: list[tuple[int, int]] = []
    for image, (matched, ignored) in zip(images, matches, strict=True):
        confident = (image.scores >= CONFIDENT) & ~ignored
        hits.append((int((matched[confident] >= 0).sum()), int(confident.sum())))
        objects.append((int((matched[~ignored] >= 0).sum()), int((~image.gt_crowd).sum())))
    return _drawn_together(hits), _drawn_together(objects)


def _drawn_together(parts: Sequence[tuple[int, int]]) -> list[float]:
    """Each a / b, with `_PRIOR` more of the share of all."""
    every = sum(a for a, _ in parts) / max(sum(b for _, b in parts), 1)
    return [(a + _PRIOR * every) / (b + _PRIOR) for a, b in parts]


def _detected_shares(images: Sequence[ImagePairs], matches: Matches) -> dict[tuple[int, int], float]:
    """(class, size) -> share of its objects that are detected."""
    every: Counter[tuple[int, int]] = Counter()
    detected: Counter[tuple[int, int]] = Counter()
    for image, (matched, ignored) in zip(images, matches, strict=True):
        keys = list(zip(image.gt_class_ids.tolist(), size_groups(image)[0].tolist(), strict=True))
        every.update(key for key, crowd in zip(keys, image.gt_crowd.tolist(), strict=True) if not crowd)
        detected.update(keys[gt] for gt in matched[(matched >= 0) & ~ignored].tolist())
    return {key: detected[key] / number for key, number in every.items()}


def _unlabeled(index: int, image: ImagePairs, precision: float) -> list[LabelIssue]:
    """Detections that overlap nothing annotated; of those that overlap each other the best."""
    alone = np.flatnonzero((image.iou <= APART).all(1))
    among = box_iou(image.boxes[alone], image.boxes[alone])
    issues: list[LabelIssue] = []
    kept: list[int] = []
    for place, d in enumerate(alone.tolist()):  # best first
        if not kept or among[place, kept].max() < SAME:
            kept.append(place)
            issues.append(LabelIssue("unlabeled", float(image.scores[d]) * precision, index, detection=d))
    return issues


def _of_object(index: int, image: ImagePairs, gt: int, precision: float, absence: float) -> LabelIssue | None:
    """The stronger of the doubts about the class and about the outline of an object, if there is any."""
    overlap = image.iou[:, gt]
    same_class = image.class_ids == image.gt_class_ids[gt]
    on_it = overlap >= SAME
    support = image.scores[on_it & same_class].max(initial=0.0)
    issues = []
    for d in np.flatnonzero(on_it & ~same_class)[:1].tolist():
        # A detection that has an object of its own class there contradicts nothing.
        own = (image.gt_class_ids == image.class_ids[d]) & ~image.gt_crowd
        if image.scores[d] > support and not (image.iou[d, own] >= SAME).any():
            issues.append(LabelIssue("class", float(image.scores[d] - support), index, d, gt))
    if not support:
        near = (overlap > APART) & ~on_it & same_class & (overlap >= image.iou.max(1))
        for d in np.flatnonzero(near)[:1].tolist():
            apart = min(1.0, 2 * (1 - float(overlap[d]) / SAME))
            doubt = 1 - (1 - float(image.scores[d]) * precision) * (1 - absence)
            issues.append(LabelIssue("outline", apart * doubt, index, d, gt))
    return max(issues, key=lambda issue: issue.suspicion, default=None)
