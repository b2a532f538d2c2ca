"""Panoptic quality: how well segments match, of things and of stuff.

A predicted and a true segment of one class match if their IoU exceeds one half; there is at most one such partner. Of a
class PQ = (sum of the IoU of its matches) / (matches + half the predicted ones without + half the true ones without a
partner), the product of segmentation quality (mean IoU of the matches) and recognition quality. Pixels about which the
ground truth says nothing, and those of crowd regions of the class, count neither for nor against a prediction.

Ref: Kirillov et al., "Panoptic Segmentation", arXiv 1801.00868, section 4.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import as_flag, as_id, parse_json, read_text, short
from mrcnn.data.formats.label_map import packed_colors, read_values
from mrcnn.errors import InputError
from mrcnn.structures.panoptic import PanopticSegments, Segment

_Class = tuple[bool, int]  # (is_thing, class_id)


@dataclasses.dataclass
class _Counts:
    iou: float = 0.0
    matched: int = 0
    only_predicted: int = 0
    only_true: int = 0

    @property
    def number(self) -> int:
        return self.matched + self.only_predicted + self.only_true

    def qualities(self) -> tuple[float, float, float]:
        """(panoptic, segmentation, recognition)."""
        total = self.matched + 0.5 * (self.only_predicted + self.only_true)
        return self.iou / total, self.iou / self.matched if self.matched else 0.0, self.matched / total


class PanopticQuality:
    """Panoptic quality over images.

    Example:
        >>> quality = PanopticQuality()
        >>> ground_truth = PanopticSegments(np.array([[1, 1, 1, 2]]), (Segment(1, 5), Segment(2, 1, is_thing=False)))
        >>> prediction = PanopticSegments(np.array([[7, 7, 8, 8]]), (Segment(7, 5), Segment(8, 2, is_thing=False)))
        >>> quality.update(ground_truth, prediction)
        >>> {key: round(value, 3) for key, value in quality.compute().items() if key.startswith("PQ")}
        {'PQ': 0.222, 'PQ_things': 0.667, 'PQ_stuff': 0.0}
    """

    def __init__(self) -> None:
        self._counts: dict[_Class, _Counts] = {}

    def update(self, ground_truth: PanopticSegments, prediction: PanopticSegments) -> None:
        """Take in one image.

        Args:
            ground_truth: crowd regions included.
            prediction: of the same size.

        Raises:
            InputError: the maps differ in size.
        """
        if ground_truth.ids.shape != prediction.ids.shape:
            raise InputError(
                f"prediction: expected a map {list(ground_truth.ids.shape)}, got {list(prediction.ids.shape)}"
            )
        common = _intersections(ground_truth.ids, prediction.ids)
        areas = prediction.areas()
        pairs = self._match(ground_truth, prediction, common)
        crowds = {_class_of(segment): segment.id for segment in ground_truth.segments if segment.is_crowd}
        for segment in ground_truth.segments:
            if segment.id not in pairs and not segment.is_crowd:
                self._of(segment).only_true += 1
        matched = set(pairs.values())
        for segment in prediction.segments:
            if segment.id in matched:
                continue
            ignored = common.get((0, segment.id), 0)
            if _class_of(segment) in crowds:
                ignored += common.get((crowds[_class_of(segment)], segment.id), 0)
            if ignored / areas[segment.id] <= 0.5:
                self._of(segment).only_predicted += 1

    def _match(
        self, ground_truth: PanopticSegments, prediction: PanopticSegments, common: dict[tuple[int, int], int]
    ) -> dict[int, int]:
        """Count the segments that match; id in the ground truth -> id in the prediction."""
        true_areas, areas = ground_truth.areas(), prediction.areas()
        annotated = {segment.id: segment for segment in ground_truth.segments if not segment.is_crowd}
        predicted = {segment.id: segment for segment in prediction.segments}
        pairs = {}
        for (true_id, own_id), pixels in common.items():
            if true_id not in annotated or own_id not in predicted:
                continue
            if _class_of(annotated[true_id]) != _class_of(predicted[own_id]):
                continue
            unsaid = common.get((0, own_id), 0)
            iou = pixels / (true_areas[true_id] + areas[own_id] - pixels - unsaid)
            if iou > 0.5:
                counts = self._of(annotated[true_id])
                counts.matched += 1
                counts.iou += iou
                pairs[true_id] = own_id
        return pairs

    def compute(self) -> dict[str, float]:
        """The means "PQ", "SQ" and "RQ" over the classes that occur, then those of things ("…_things") and of stuff.

        NaN where there is no class.
        """
        numbers: dict[str, float] = {}
        for suffix, kinds in (("", (True, False)), ("_things", (True,)), ("_stuff", (False,))):
            rows = [c.qualities() for (is_thing, _), c in self._counts.items() if is_thing in kinds and c.number]
            means = np.mean(rows, axis=0).tolist() if rows else [float("nan")] * 3
            numbers |= {f"{name}{suffix}": value for name, value in zip(("PQ", "SQ", "RQ"), means, strict=True)}
        return numbers

    def per_class(self) -> dict[tuple[bool, int], dict[str, float]]:
        """(is_thing, class id) -> "PQ", "SQ", "RQ" and the numbers of segments "matched", "predicted", "true"."""
        table = {}
        for key, counts in sorted(self._counts.items()):
            if counts.number:
                row: dict[str, float] = dict(zip(("PQ", "SQ", "RQ"), counts.qualities(), strict=True))
                row["matched"] = counts.matched
                row["predicted"] = counts.matched + counts.only_predicted
                row["true"] = counts.matched + counts.only_true
                table[key] = row
        return table

    def _of(self, segment: Segment) -> _Counts:
        return self._counts.setdefault(_class_of(segment), _Counts())


def _class_of(segment: Segment) -> _Class:
    return segment.is_thing, segment.class_id


def _intersections(a: np.ndarray, b: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels that each pair of ids shares."""
    values, counts = np.unique(a.astype(np.int64) << 32 | b.astype(np.int64), return_counts=True)
    pairs = zip((values >> 32).tolist(), (values & 0xFFFFFFFF).tolist(), strict=True)
    return dict(zip(pairs, counts.tolist(), strict=True))


def evaluate_panoptic_files(
    annotations: str | os.PathLike[str],
    results: str | os.PathLike[str],
    annotations_folder: str | os.PathLike[str] | None = None,
    results_folder: str | os.PathLike[str] | None = None,
) -> dict[str, float]:
    """The panoptic quality of a results file in COCO's format against an annotation file.

    Args:
        annotations: the JSON with "annotations" of "segments_info" and "categories".
        results: the same of the predictions; needs "annotations" only.
        annotations_folder, results_folder: of the PNG files; None: the folder named as the JSON file, beside it.

    Returns:
        see `PanopticQuality.compute`.

    Raises:
        DataError: names the file and the image: an image without a result, a PNG that is missing or of another size,
            ids of a PNG that are not listed or the other way round, a category that is unknown.
    """
    annotated = _read(Path(annotations), annotations_folder)
    predictions = _read(Path(results), results_folder)
    categories = {
        as_id(category.get("id")): bool(as_flag(category.get("isthing"))) for category in annotated.categories
    }
    quality = PanopticQuality()
    for image_id, entry in annotated.entries.items():
        if image_id not in predictions.entries:
            raise DataError(f"{results}: image {image_id} has no annotation")
        ground_truth = annotated.segments(entry, categories)
        prediction = predictions.segments(predictions.entries[image_id], categories)
        if ground_truth.ids.shape != prediction.ids.shape:
            raise DataError(
                f"{results}: image {image_id}: its map is {list(prediction.ids.shape)}, expected "
                f"{list(ground_truth.ids.shape)}"
            )
        quality.update(ground_truth, prediction)
    return quality.compute()


@dataclasses.dataclass
class _PanopticFile:
    path: Path
    folder: Path
    entries: dict[int | str | None, dict[str, Any]]
    categories: list[dict[str, Any]]

    def segments(self, entry: dict[str, Any], categories: dict[int | str | None, bool]) -> PanopticSegments:
        """Of one image.

        Raises:
            DataError: see `evaluate_panoptic_files`.
        """
        file = self.folder / str(entry.get("file_name"))
        values = read_values(file)
        ids = packed_colors(values) if values.ndim == 3 else values.astype(np.int64)
        segments: list[Segment] = []
        present = set(np.unique(ids).tolist()) - {0}
        for info in entry.get("segments_info", ()):
            number, category = as_id(info.get("id")), as_id(info.get("category_id"))
            if not isinstance(number, int) or not isinstance(category, int) or category not in categories:
                raise DataError(f"{self.path}: {file.name}: segment {short(info)}: expected an id and a known category")
            is_crowd = bool(as_flag(info.get("iscrowd")))
            if number not in present:
                raise DataError(f"{self.path}: segment {number} has no pixel in {file}")
            segments.append(Segment(number, category, categories[category], None, is_crowd))
        unlisted = sorted(present - {segment.id for segment in segments})
        if unlisted:
            raise DataError(f"{file}: holds the ids {unlisted[:5]}, which {self.path} does not list")
        return PanopticSegments(ids, tuple(segments))


def _read(path: Path, folder: str | os.PathLike[str] | None) -> _PanopticFile:
    content = parse_json(read_text(path), str(path))
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError(f'{path}: expected an object with a list "annotations" of objects')
    return _PanopticFile(
        path,
        Path(folder) if folder is not None else path.with_suffix(""),
        {as_id(entry.get("image_id")): entry for entry in entries},
        [category for category in content.get("categories", ()) if isinstance(category, dict)],
    )
