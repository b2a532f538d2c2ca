"""The images that a page shows, small, with outlines of ground truth and predictions that the page draws over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mrcnn.evaluation.error_analysis import analyze_errors
from mrcnn.evaluation.matching import match_detections
from mrcnn.evaluation.pairs import ImagePairs, best_of_each_class
from mrcnn.report.outlines import frame_size, outline_paths
from mrcnn.report.thumbnails import jpeg_uri
from mrcnn.structures.instances import Instances

MAX_IMAGES = 150
MAX_BYTES = 9_000_000
"""Of all images and outlines in a page, which stays below 15 MB with its other content."""
MAX_INSTANCES = 300
_FIRST_BEST, _FIRST_ISSUES = 24, 60


@dataclasses.dataclass(frozen=True)
class Outlines:
    """Paths of the objects and of the detections of one image, in the order of its `ImagePairs`."""

    objects: list[str]
    detections: list[str]

    @classmethod
    def of(cls, ground_truth: Instances, prediction: Instances) -> Outlines:
        """The outlines of both sides."""
        kept = prediction[best_of_each_class(prediction)]
        return cls(outline_paths(ground_truth), outline_paths(kept))


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The images shown, as plain data for the page's script; `left_out` is how many others there are.

    Each is {"id", "file", "w", "h" (of the frame), "src" (a data URI), "quality", "gt", "dt"}. An object is [class,
    path, score of the detection credited with it or -1, is crowd]; a detection [class, path, score, status], where
    status is "correct", "ignored" or a kind of error.
    """

    images: list[dict[str, Any]]
    left_out: int

    @classmethod
    def of(
        cls, images: Sequence[ImagePairs], outlines: Sequence[Outlines], numbers: dict[str, Any], dataset: Any
    ) -> Gallery:
        """Choose images, worst and best ones and those of likely label mistakes, as far as `MAX_BYTES` reaches.

        Args:
            images, outlines: of the whole evaluation.
            numbers: of `report_numbers`.
            dataset: where the pixels are.

        Raises:
            DataError: an image cannot be read.
        """
        status = _detection_status(images)
        index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
        chosen: dict[int, dict[str, Any]] = {}
        size = 0
        for place in _order(numbers)[:MAX_IMAGES]:
            row = numbers["image_results"][place]
            pixels = dataset.load_image(index_of[images[place].image_id])
            entry = _entry(images[place], outlines[place], status[place], row, jpeg_uri(np.asarray(pixels)[..., :3]))
            size += _size(entry)
            if size > MAX_BYTES and chosen:
                break
            chosen[place] = entry
        shown = [chosen[place] for place in sorted(chosen, key=lambda p: numbers["image_results"][p]["quality"])]
        return cls(shown, len(images) - len(shown))


def _order(numbers: dict[str, Any]) -> list[int]:
    """Places of images, those first that must be shown: in turn a bad one, one with a label in doubt, a good one."""
    rows = numbers["image_results"]
    worst = sorted(range(len(rows)), key=lambda place: rows[place]["quality"])
    place_of = {row["image_id"]: place for place, row in enumerate(rows)}
    doubtful = list(dict.fromkeys(place_of[issue["image_id"]] for issue in numbers["label_issues"]))
    sides: list[Iterable[int]] = [worst[:MAX_IMAGES], doubtful[:_FIRST_ISSUES], worst[::-1][:_FIRST_BEST]]
    queues = [list(side) for side in sides]
    order: list[int] = []
    for turn in range(max(map(len, queues))):
        order += [queue[turn] for queue in queues if turn < len(queue)]
    return list(dict.fromkeys([*order, *worst]))


def _detection_status(images: Sequence[ImagePairs]) -> list[list[str]]:
    status = []
    for image in images:
        matched, ignored = match_detections(image)
        status.append(["ignored" if i else "correct" if m >= 0 else "" for m, i in zip(matched, ignored, strict=True)])
    for error in analyze_errors(images).errors:
        if error.detection is not None:
            status[error.image][error.detection] = error.kind
    return status


def _entry(
    image: ImagePairs, outlines: Outlines, status: Sequence[str], row: dict[str, Any], source: str
) -> dict[str, Any]:
    matched, ignored = match_detections(image)
    credited = np.full(len(image.gt_class_ids), -1.0)
    right = (matched >= 0) & ~ignored
    credited[matched[right]] = image.scores[right]
    width, height = frame_size(image.image_shape)
    objects = zip(
        image.gt_class_ids.tolist(), outlines.objects, credited.tolist(), image.gt_crowd.tolist(), strict=True
    )
    detections = zip(image.class_ids.tolist(), outlines.detections, image.scores.tolist(), status, strict=True)
    return {
        "id": image.image_id,
        "file": row["file"],
        "w": width,
        "h": height,
        "pixels": list(image.image_shape),
        "src": source,
        "quality": row["quality"],
        "gt": [[c, path, round(score, 3), int(crowd)] for c, path, score, crowd in objects][:MAX_INSTANCES],
        "dt": [[c, path, round(score, 3), kind] for c, path, score, kind in detections][:MAX_INSTANCES],
    }


def _size(entry: dict[str, Any]) -> int:
    paths = sum(len(item[1]) + 24 for side in ("gt", "dt") for item in entry[side])
    return len(entry["src"]) + paths
