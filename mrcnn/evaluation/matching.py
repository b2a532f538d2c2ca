"""Which detection is credited with which object: COCO's greedy matching, and many images as one table.

Ref: Lin et al., "Microsoft COCO: Common Objects in Context"; `COCOeval.evaluateImg` of pycocotools.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from mrcnn.evaluation.pairs import ImagePairs


def match_detections(
    image: ImagePairs, iou_threshold: float = 0.5, gt_ignored: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The object each detection of an image is credited with: best score first, each takes the free object of its class
    that it overlaps most.

    Args:
        image: objects and detections.
        iou_threshold: lowest overlap of a match.
        gt_ignored: bool[G], objects that count neither for nor against; default: the crowd regions, which always are.
            A detection takes one only if no other object is left to it. Any number may take the same crowd region.

    Returns:
        matched i64[D], index of the object or -1; ignored bool[D], matched to an object that does not count.

    Example:
        >>> from mrcnn.evaluation.pairs import pair_image
        >>> from mrcnn.structures.instances import Instances
        >>> cell = Instances([[0, 0, 4, 4]], [1], (8, 8))
        >>> twice = Instances([[0, 0, 4, 3], [0, 0, 4, 4]], [1, 1], (8, 8), scores=[0.9, 0.8])
        >>> match_detections(pair_image(1, cell, twice))[0].tolist()
        [0, -1]
    """
    ignored_objects = image.gt_crowd if gt_ignored is None else gt_ignored | image.gt_crowd
    matched = np.full(len(image.scores), -1)
    same_class = image.class_ids[:, None] == image.gt_class_ids[None]
    detections, objects = np.nonzero((image.iou >= min(iou_threshold, 1 - 1e-10)) & same_class)
    overlaps = image.iou[detections, objects].tolist()
    secondary, crowd = ignored_objects.tolist(), image.gt_crowd.tolist()
    pairs = zip(detections.tolist(), objects.tolist(), overlaps, strict=True)
    taken: set[int] = set()
    for d, candidates in itertools.groupby(pairs, key=lambda pair: pair[0]):
        # An object that counts comes first, then the overlap; of equal ones pycocotools takes the last.
        free = [(not secondary[g], iou, g) for _, g, iou in candidates if crowd[g] or g not in taken]
        if free:
            gt = max(free)[2]
            matched[d] = gt
            taken.add(gt)
    return matched, (matched >= 0) & ignored_objects[matched] if len(ignored_objects) else np.zeros(len(matched), bool)


@dataclasses.dataclass(frozen=True)
class MatchTable:
    """The detections of many images that count, by image and there best first, and how many objects there are.

    Attributes:
        image: i64[N], place of the image in the sequence. detection: i64[N], place in the image.
        class_ids: i32[N]. scores: f64[N]. correct: bool[N], whether it was credited with an object.
        matched: i64[N], that object in its image, or -1.
        objects: class -> i64[I], number of objects in each image.
    """

    image: np.ndarray
    detection: np.ndarray
    class_ids: np.ndarray
    scores: np.ndarray
    correct: np.ndarray
    matched: np.ndarray
    objects: dict[int, np.ndarray]

    def num_objects(self, class_id: int) -> int:
        """Objects of a class in all images; crowd regions are none."""
        return int(self.objects[class_id].sum()) if class_id in self.objects else 0


_COLUMNS = (np.int64, np.int64, np.int32, np.float64, bool, np.int64)


def match_images(images: Sequence[ImagePairs], iou_threshold: float = 0.5) -> MatchTable:
    """Match every image. Detections matched to crowd regions are left out."""
    rows: list[tuple[np.ndarray, ...]] = [tuple(np.zeros(0, t) for t in _COLUMNS)]
    for index, image in enumerate(images):
        matched, ignored = match_detections(image, iou_threshold)
        keep = np.flatnonzero(~ignored)
        credited = matched[keep]
        rows.append(
            (np.full(len(keep), index), keep, image.class_ids[keep], image.scores[keep], credited >= 0, credited)
        )
    place, detection, class_ids, scores, correct, matched = (np.concatenate(c) for c in zip(*rows, strict=True))
    return MatchTable(place, detection, class_ids, scores, correct, matched, count_objects(images))


def count_objects(images: Sequence[ImagePairs]) -> dict[int, np.ndarray]:
    """Class -> i64[I], objects of each image that are no crowd regions; only classes that have any."""
    counts: dict[int, np.ndarray] = {}
    for index, image in enumerate(images):
        for class_id in image.gt_class_ids[~image.gt_crowd].tolist():
            counts.setdefault(class_id, np.zeros(len(images), np.int64))[index] += 1
    return dict(sorted(counts.items()))
