"""The images and the issues of a data set that a page shows, small, with outlines for the page's script to draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.ground_truth import to_instances
from mrcnn.progress import Progress
from mrcnn.report.gallery import MAX_BYTES, MAX_IMAGES, MAX_INSTANCES
from mrcnn.report.outlines import frame_size, outline_paths
from mrcnn.report.thumbnails import jpeg_uri
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation
from mrcnn.text import printable

MAX_ISSUES = 300
_CROP_SIDE, _CROP_BYTES = 180, 9_000
_CONTEXT = 1.9  # what a crop shows, in sides of its object
_SMALLEST = 24  # pixels of the image that a crop shows at least
_LONGEST = 300  # letters of a message

Reader = Callable[[int], "np.ndarray | None"]


@dataclasses.dataclass(frozen=True)
class DataGallery:
    """What is shown, as plain data for the page's script.

    Attributes:
        images: each {"id", "file", "split", "w", "h" (of the frame), "src" (a data URI), "objects" (their number),
            "gt"}, where an object is [class, path, is crowd]; of each image the first `MAX_INSTANCES`.
        issues: each {"kind", "message", "fatal", "file", "cls" (0: of no object)}, and where there is an image "src",
            "w", "h" and perhaps "path", the outline of the object in question.
    """

    images: list[dict[str, Any]]
    issues: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        indices: Sequence[int],
        issues: Sequence[DatasetIssue],
        name_of: Callable[[int], str],
        read: Reader,
        progress: Progress,
    ) -> DataGallery:
        """Choose images, some of each class and of each kind of issue, as far as `MAX_BYTES` reaches; and issues.

        Args:
            dataset: where annotations are.
            indices: images that can be shown, those with objects if there are any.
            issues: all; `MAX_ISSUES` of them are shown, in turn of each kind. May grow while images are read.
            name_of: file name of an image.
            read: u8[h, w, 3 or more] of an image; None: it cannot be decoded.
            progress: called with the number of images read.
        """
        index_of = {image_id: index for index, image_id in enumerate(dataset.image_ids)}
        crops = _Crops(dataset, index_of, name_of)
        chosen = _choose(dataset, indices, [index_of[i.image_id] for i in _in_turn(issues) if i.image_id in index_of])
        images: dict[int, dict[str, Any]] = {}
        size = 0
        progress.restart("drawing", len(chosen))
        for done, index in enumerate(chosen, start=1):
            pixels = read(index)
            progress.update(done)
            if pixels is None:
                continue
            entry = _image_entry(dataset, index, name_of(index), pixels)
            size += len(entry["src"]) + sum(len(item[1]) + 16 for item in entry["gt"])
            if size > MAX_BYTES and images:
                break
            images[index] = entry
            crops.take(index, [issue for issue in issues if issue.image_id == dataset.image_ids[index]], pixels)
        shown = _in_turn(issues)[:MAX_ISSUES]
        return cls([images[i] for i in sorted(images)], [crops.entry(issue, read) for issue in shown])


class _Crops:
    """Issues with the part of their image that they are about; images that are read anyway are read once."""

    def __init__(self, dataset: Dataset, index_of: dict[Any, int], name_of: Callable[[int], str]) -> None:
        self.dataset, self.index_of, self.name_of = dataset, index_of, name_of
        self.made: dict[DatasetIssue, dict[str, Any]] = {}

    def take(self, index: int, issues: Iterable[DatasetIssue], pixels: np.ndarray) -> None:
        for issue in issues:
            if issue not in self.made and len(self.made) < 2 * MAX_ISSUES:
                self.made[issue] = _crop(pixels, self._annotation(index, issue), self.dataset.image_shape(index))

    def entry(self, issue: DatasetIssue, read: Reader) -> dict[str, Any]:
        index = None if issue.image_id is None else self.index_of.get(issue.image_id)
        annotation = None if index is None else self._annotation(index, issue)
        if index is not None and issue not in self.made:
            pixels = read(index)
            if pixels is not None:
                self.take(index, [issue], pixels)
        message = printable(issue.message)
        entry = {
            "kind": issue.kind,
            "message": message if len(message) <= _LONGEST else f"{message[: _LONGEST - 3]}...",
            "fatal": issue.fatal,
            "file": "" if index is None else self.name_of(index),
            "cls": 0 if annotation is None else annotation.class_id,
        }
        return entry | self.made.get(issue, {})

    def _annotation(self, index: int, issue: DatasetIssue) -> Annotation | None:
        if issue.annotation_id is None:
            return None
        try:
            annotations = self.dataset.annotations(index)
        except DataError:
            return None
        return next((a for a in annotations if a.annotation_id == issue.annotation_id), None)


def _crop(pixels: np.ndarray, annotation: Annotation | None, shape: tuple[int, int]) -> dict[str, Any]:
    height, width = shape
    part, shown = (0, 0, height, width), None
    if annotation is not None and np.isfinite(annotation.box).all():
        y1, x1, y2, x2 = np.clip(annotation.box, 0, [height, width, height, width]).tolist()
        half = max(max(y2 - y1, x2 - x1) * _CONTEXT, _SMALLEST) / 2
        middle_y, middle_x = (y1 + y2) / 2, (x1 + x2) / 2
        top, left = max(0, int(middle_y - half)), max(0, int(middle_x - half))
        bottom, right = min(height, int(middle_y + half) + 1), min(width, int(middle_x + half) + 1)
        part, shown = (top, left, bottom, right), annotation
    seen = np.ascontiguousarray(pixels[part[0] : part[2], part[1] : part[3], :3])
    frame = frame_size((part[2] - part[0], part[3] - part[1]))
    entry = {"src": jpeg_uri(seen, _CROP_SIDE, _CROP_BYTES), "w": frame[0], "h": frame[1]}
    if shown is not None:
        entry["path"] = outline_paths(_drawable([shown], shape), part)[0]
    return entry


def _image_entry(dataset: Dataset, index: int, name: str, pixels: np.ndarray) -> dict[str, Any]:
    annotations, shape = dataset.annotations(index), dataset.image_shape(index)
    shown = annotations[:MAX_INSTANCES]
    width, height = frame_size(shape)
    split = dataset.record(index).extra.get("split")
    paths = outline_paths(_drawable(shown, shape))
    return {
        "id": dataset.image_ids[index],
        "file": name,
        "split": split if isinstance(split, str) else None,
        "w": width,
        "h": height,
        "src": jpeg_uri(np.ascontiguousarray(pixels[..., :3])),
        "objects": sum(not a.is_crowd for a in annotations),
        "gt": [[a.class_id, path, int(a.is_crowd)] for a, path in zip(shown, paths, strict=True)],
    }


def _drawable(annotations: Sequence[Annotation], shape: tuple[int, int]) -> Instances:
    """Annotations as instances; where a mask is damaged, which is among the issues, all are their boxes."""
    try:
        return to_instances(annotations, shape)
    except DataError:
        return to_instances([dataclasses.replace(a, segmentation=None) for a in annotations], shape)


def _in_turn(issues: Sequence[DatasetIssue]) -> list[DatasetIssue]:
    """The issues, one of each kind after the other, those that training refuses first."""
    seen: dict[tuple[bool, str], int] = {}
    places = []
    for issue in issues:
        key = (issue.fatal, issue.kind)
        seen[key] = seen.get(key, -1) + 1
        places.append((seen[key], not issue.fatal))
    return [issues[i] for i in sorted(range(len(issues)), key=lambda i: places[i])]


def _choose(dataset: Dataset, indices: Sequence[int], with_issues: Sequence[int]) -> list[int]:
    """Images to show: in turn one of a class, rare ones first, one with an issue, one of an even spread."""
    images_of: dict[int, list[int]] = {}
    for index in indices:
        for class_id in {a.class_id for a in dataset.annotations(index)}:
            images_of.setdefault(class_id, []).append(index)
    of_classes = [images_of[c][len(images_of[c]) // 2] for c in sorted(images_of, key=lambda c: len(images_of[c]))]
    spread = np.linspace(0, len(indices) - 1, min(MAX_IMAGES, len(indices))).round().astype(int)
    allowed = set(indices)
    queues = [
        list(dict.fromkeys(of_classes)),
        [i for i in dict.fromkeys(with_issues) if i in allowed],
        [indices[i] for i in spread.tolist()],
    ]
    order = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return list(dict.fromkeys(order))[:MAX_IMAGES]
