"""The COCO numbers of files: results against annotations, as the official tool prints them, both checked first."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import as_flag, as_id, as_number, as_numbers, parse_json, read_text, short
from mrcnn.data.rasterize import polygons_to_rle
from mrcnn.data.rle import check_rle
from mrcnn.evaluation.coco import (
    COCO_JOINTS,
    KEYPOINT_MAX_DETS,
    KINDS,
    MAX_DETS,
    check_max_dets,
    find_kind,
    number_ids,
)
from mrcnn.text import printable

_MAX_PIXELS = 2**32 - 1  # run lengths of pycocotools have 32 bits
_REQUIRED = {"box": "bbox", "mask": "segmentation", "keypoints": "keypoints", "rotated": "rotated_bbox"}
logger = logging.getLogger("mrcnn")


def evaluate_coco_files(
    annotations: str | os.PathLike[str] | dict[str, Any],
    results: str | os.PathLike[str] | list[dict[str, Any]],
    kind: str = "box",
    *,
    max_dets: Sequence[int] | None = None,
    keypoint_sigmas: Sequence[float] | None = None,
) -> dict[str, float]:
    """The COCO numbers of a results file against an annotation file, as the official tool prints them.

    Args:
        annotations: path of an instances or keypoints JSON, or its content.
        results: path of a results JSON, or its content. Empty: allowed, all numbers are 0.
        kind: "box", "mask", "keypoints" (or pycocotools' "bbox", "segm"), "boundary", boundary AP, or "rotated", the
            overlap of rotated boxes: `rotated_bbox` [center x, center y, width, height, degrees counterclockwise] of
            results and annotations; of annotations without, the rectangle of least area around the mask.
        max_dets: cuts of detections an image and class, default COCO's (1, 10, 100), for keypoints (20,).
        keypoint_sigmas: f[J], for other joints than COCO's 17.

    Returns:
        name -> number in COCO's order; twelve, for keypoints ten; -1 where no object is concerned.

    Raises:
        DataError: a file that is not what it should be, or a result naming an unknown image, without a needed field, or
            with a value of the wrong type or not finite; the message names the file and the entry.
        InputError: an unknown kind, or cuts that do not ascend.
    """
    from mrcnn.evaluation import coco_eval  # imports pycocotools

    kind = find_kind(kind)
    max_dets = check_max_dets(max_dets or (KEYPOINT_MAX_DETS if kind == "keypoints" else MAX_DETS))
    joints = COCO_JOINTS if keypoint_sigmas is None else len(keypoint_sigmas)
    reader = _Reader("mask" if kind == "boundary" else kind, joints)
    ground_truth = reader.ground_truth(*_loaded(annotations, "annotations"))
    detections = reader.results(*_loaded(results, "results"))
    evaluation = coco_eval.run(ground_truth, detections, KINDS[kind], max_dets, keypoint_sigmas)
    return coco_eval.summary(evaluation, kind)


def _loaded(source: Any, what: str) -> tuple[Any, str]:
    if not isinstance(source, (str, os.PathLike)):
        return source, what
    return parse_json(read_text(Path(source), "file"), str(source)), str(source)


class _Reader:
    """Content of files, checked, with ids that pycocotools can sort and hold.

    Args:
        kind: of evaluation, which decides on the fields that are read.
        joints: J.
    """

    def __init__(self, kind: str, joints: int) -> None:
        self.kind, self.joints = kind, joints
        self._image_ids: dict[Any, int] = {}
        self._category_ids: dict[Any, int] = {}
        self._sizes: dict[Any, tuple[int, int] | None] = {}

    def ground_truth(self, data: Any, name: str) -> dict[str, Any]:
        """The content of an annotation file.

        Raises:
            DataError: names the file and the entry.
        """
        keys = ("images", "annotations", "categories")
        missing = [key for key in keys if not isinstance(data, dict) or key not in data]
        if missing:
            raise DataError(f"{name}: not a COCO annotation file, it has no {', '.join(missing)}")
        for key in keys:
            if not isinstance(data[key], list) or not all(isinstance(entry, dict) for entry in data[key]):
                raise DataError(f"{name}: {key}: expected a list of objects")
        for i, image in enumerate(data["images"]):
            self._sizes[self._id(image, "id", f"{name}: image {i}")] = self._size(image, f"{name}: image {i}")
        categories = [self._id(c, "id", f"{name}: category {i}") for i, c in enumerate(data["categories"])]
        self._image_ids, self._category_ids = number_ids(self._sizes), number_ids(dict.fromkeys(categories))
        annotations = [self._annotation(a, f"{name}: annotation {i}") for i, a in enumerate(data["annotations"])]
        images = []
        for image_id, place in self._image_ids.items():
            height, width = self._sizes[image_id] or (None, None)
            images.append({"id": place, "height": height, "width": width})
        return {
            "images": images,
            "categories": [{"id": place} for place in self._category_ids.values()],
            "annotations": [a for a in annotations if a is not None],
        }

    def results(self, data: Any, name: str) -> list[dict[str, Any]]:
        """The content of a results file, without results of categories that the annotations do not have.

        Raises:
            DataError: names the file and the entry.
        """
        if type(data) is not list:
            raise DataError(f"{name}: expected a list of results, got {short(data)}")
        results, unknown = [], set()
        for i, result in enumerate(data):
            where = f"{name}: result {i}"
            for field in ("image_id", "category_id", "score", _REQUIRED[self.kind]):
                if not isinstance(result, dict) or field not in result:
                    raise DataError(f"{where} has no {field!r}")
            if as_id(result["image_id"]) not in self._image_ids:
                image = short(result["image_id"])
                raise DataError(f"{where} is about image {image}, which the annotations do not hold")
            score = as_number(result["score"])
            if score is None:
                raise DataError(f"{where}: score {short(result['score'])} is not a finite number")
            category = self._id(result, "category_id", where)
            if category not in self._category_ids:
                unknown.add(category)
                continue
            fields = self._fields(result, where)
            results.append({**fields, "score": score, "category_id": self._category_ids[category]})
        if unknown:
            listed = sorted(unknown, key=str)
            logger.warning(
                "%s: results of categories the annotations do not hold are left out: %s", printable(name), listed
            )
        return results

    def _annotation(self, entry: dict[str, Any], where: str) -> dict[str, Any] | None:
        """An annotation; None if its category is not listed, as pycocotools leaves those out."""
        if as_id(entry.get("image_id")) not in self._image_ids:
            raise DataError(f"{where} is about image {short(entry.get('image_id'))}, which the file does not list")
        category = self._id(entry, "category_id", where)
        if category not in self._category_ids:
            return None
        crowd = as_flag(entry.get("iscrowd"))
        if crowd is None:
            raise DataError(f"{where}: iscrowd is {short(entry['iscrowd'])}, expected 0 or 1")
        area = entry.get("area")
        if area is not None and as_number(area) is None:
            raise DataError(f"{where}: area is {short(area)}, expected a finite number")
        area = as_number(area)
        annotation: dict[str, Any] = {"category_id": self._category_ids[category], "iscrowd": int(crowd), "area": area}
        box = self._box(entry, where) if "bbox" in entry else None
        if self.kind == "keypoints":
            joints = self._keypoints(entry["keypoints"], where) if entry.get("keypoints") else [0] * 3 * self.joints
            count = entry.get("num_keypoints")
            annotation |= {
                "keypoints": joints,
                "num_keypoints": count if isinstance(count, int) else sum(v > 0 for v in joints[2::3]),
            }
        if self.kind == "rotated" and entry.get("rotated_bbox") is not None:
            annotation["rotated_bbox"] = self._box(entry, where, "rotated_bbox")
        image_id = as_id(entry["image_id"])
        if entry.get("segmentation") and (self._sizes[image_id] is not None or self.kind == "mask"):
            annotation["segmentation"] = self._rle(entry["segmentation"], image_id, where)
        elif box is None:
            raise DataError(f"{where} has no 'bbox'")
        elif self.kind == "mask" and self._sizes[image_id] is None:
            raise DataError(f"{where}: image {image_id!r} has no height and width, which masks need")
        if box is None:
            box = _rle_bbox(annotation["segmentation"])
        return {**annotation, "image_id": self._image_ids[image_id], "bbox": box}

    def _fields(self, result: dict[str, Any], where: str) -> dict[str, Any]:
        image_id = as_id(result["image_id"])
        fields: dict[str, Any] = {"image_id": self._image_ids[image_id]}
        if self.kind in ("box", "rotated"):
            name = _REQUIRED[self.kind]
            return {**fields, name: self._box(result, where, name)}
        if self.kind == "keypoints":
            return {**fields, "keypoints": self._keypoints(result["keypoints"], where)}
        return {**fields, "segmentation": self._rle(result["segmentation"], image_id, where)}

    def _rle(self, value: Any, image_id: Any, where: str) -> Any:
        size = self._sizes[image_id]
        if size is None:
            raise DataError(f"{where}: image {image_id!r} has no height and width, which masks need")
        try:
            if isinstance(value, dict):
                if list(value.get("size") or ()) != list(size):
                    raise DataError(f"mask of {short(value.get('size'))} pixels, image {image_id!r} has {list(size)}")
                check_rle(value, *size)
                return value
            polygons = [as_numbers(p) for p in value] if isinstance(value, list) else None
            if polygons is None or any(p.ndim != 1 or p.size % 2 for p in polygons):
                raise DataError(f"segmentation {short(value)}: expected polygons or RLE")
            return polygons_to_rle([p.reshape(-1, 2) for p in polygons], *size)
        except (DataError, TypeError) as error:
            raise DataError(f"{where}: {error}") from error

    def _keypoints(self, value: Any, where: str) -> list[float]:
        numbers = [as_number(v) for v in value] if isinstance(value, list) else []
        if len(numbers) != 3 * self.joints or None in numbers:
            raise DataError(f"{where}: keypoints {short(value)}: expected 3 x {self.joints} finite numbers")
        return [float(v) for v in value]

    @staticmethod
    def _box(entry: Mapping[str, Any], where: str, name: str = "bbox") -> list[float]:
        box, (count, word) = entry[name], {"bbox": (4, "four"), "rotated_bbox": (5, "five")}[name]
        if not isinstance(box, list) or len(box) != count or any(as_number(v) is None for v in box):
            raise DataError(f"{where}: {name} {short(box)} is not {word} finite numbers")
        return [float(v) for v in box]

    @staticmethod
    def _id(entry: Mapping[str, Any], key: str, where: str) -> int | str:
        value = as_id(entry.get(key))
        if value is None:
            raise DataError(f"{where}: {key!r} is {short(entry.get(key))}, expected a whole number or a text")
        return value

    @staticmethod
    def _size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
        if image.get("height") is None or image.get("width") is None:
            return None
        sizes = [as_number(image[key]) for key in ("height", "width")]
        height, width = (size or 0.0 for size in sizes)
        if min(height, width) < 1 or height != int(height) or width != int(width) or height * width > _MAX_PIXELS:
            raise DataError(f"{where}: size {short(image['height'])} x {short(image['width'])}, expected whole numbers")
        return int(image["height"]), int(image["width"])


def _rle_bbox(rle: Any) -> list[float]:
    from pycocotools import mask as coco_mask

    counts = rle["counts"]
    compressed = coco_mask.frPyObjects(rle, *rle["size"]) if isinstance(counts, list) else rle
    return np.asarray(coco_mask.toBbox(compressed), float).tolist()
