"""COCO instances and keypoints JSON: to a `Dataset` and back.

What is wrong in a file is either mended or left out, with a `DatasetIssue` in `dataset.issues` and a log line, or
refused with a DataError that names file, record and reason.

    mended    "box outside": partly outside its image, clipped. "degenerate polygon": of an object with several,
              fewer than three points or a coordinate that is not finite; the other polygons stay.
    left out  "not finite box"; "zero area box"; "box outside" wholly; "degenerate polygon" where it was the only one.
    refused   broken JSON, missing keys, ids given twice; an annotation of an unknown image or category; an RLE of
              another size or damaged; keypoints of another length than its category names; an image file that is
              not there.
With `validate=False` the refused ones are left out too and listed with `fatal=True`, so that all can be shown at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.rasterize import check_rle
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation

# A box may stick out by rounding alone (COCO writes two decimals); that is no issue worth a line.
_TOLERANCE = 1.0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            data = json.load(file)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such annotation file") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: expected a COCO JSON file, found a folder") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(data, dict):
        raise DataError(f'{path}: expected an object with "images", "annotations" and "categories"')
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f'{path}: expected a list "{key}"; the file has {", ".join(map(repr, data)) or "nothing"}')
        for number, entry in enumerate(data[key]):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: {key}[{number}]: expected an object, got {type(entry).__name__}")
    return data


def _need(entry: dict[str, Any], path: Path, where: str, **kinds: type | tuple[type, ...]) -> None:
    for key, kind in kinds.items():
        if key not in entry:
            raise DataError(f'{path}: {where}: "{key}" is missing')
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise DataError(f'{path}: {where}: "{key}" is {entry[key]!r}, which is of the wrong type')


def _box(value: Any, height: int, width: int) -> tuple[tuple[float, ...] | None, str, str]:
    """(y1, x1, y2, x2) clipped or None, and what was wrong: kind and message, both empty if nothing."""
    try:
        x, y, w, h = (float(v) for v in value)
    except (TypeError, ValueError):
        return None, "not finite box", f"bbox {value!r}, expected four numbers [x, y, width, height]"
    if not np.isfinite([x, y, w, h]).all():
        return None, "not finite box", f"bbox {value} is not finite; left out"
    if w <= 0 or h <= 0:
        return None, "zero area box", f"bbox {value} has no area; left out"
    y1, x1, y2, x2 = max(y, 0.0), max(x, 0.0), min(y + h, float(height)), min(x + w, float(width))
    if y2 <= y1 or x2 <= x1:
        return None, "box outside", f"bbox {value} lies outside its image of {height} x {width}; left out"
    moved = max(y1 - y, x1 - x, y + h - y2, x + w - x2)
    if moved > _TOLERANCE:
        return (y1, x1, y2, x2), "box outside", f"bbox {value} reaches outside its image of {height} x {width}; cut"
    return (y1, x1, y2, x2), "", ""


def _segmentation(value: Any, height: int, width: int) -> tuple[Any, str, str, bool]:
    """Polygons, RLE or None; kind and message of an issue; and whether the object can be kept.

    Raises:
        DataError: an RLE that does not fit, or something that is neither.
    """
    if value is None or value == []:
        return None, "", "", True
    if isinstance(value, dict):
        check_rle(value, height, width)
        return value, "", "", True
    if not isinstance(value, list):
        raise DataError(f"segmentation: expected polygons or RLE, got {type(value).__name__}")
    if all(isinstance(v, (int, float)) for v in value):
        value = [value]  # one polygon without its outer list is a common slip with one meaning
    polygons, message = [], ""
    for polygon in value:
        try:
            points = np.asarray(polygon, np.float32)
        except (TypeError, ValueError) as error:
            raise DataError("segmentation: a polygon holds something that is not a number") from error
        if points.size % 2:
            message = f"polygon of {points.size} numbers, expected pairs of x and y"
        elif points.size < 6:
            message = f"polygon of {points.size // 2} points, expected at least three"
        elif not np.isfinite(points).all():
            message = "polygon with a coordinate that is not finite"
        else:
            polygons.append(points.reshape(-1, 2))
    if not message:
        return polygons, "", "", True
    return polygons, "degenerate polygon", f"{message}; left out", bool(polygons)


def _keypoints(value: Any, joints: int) -> np.ndarray | None:
    if not value:
        return None
    array = np.asarray(value, np.float32)
    if joints and array.size != 3 * joints:
        raise DataError(f"keypoints: {array.size} numbers, expected 3 x {joints}, as its category names them")
    if array.size % 3 or not np.isfinite(array).all():
        raise DataError("keypoints: expected finite triples of x, y and visibility")
    return array.reshape(-1, 3)


def _keypoint_names(categories: dict[int, dict[str, Any]], annotations: list[dict[str, Any]]) -> tuple[str, ...]:
    """The names of the category that has most; "0", "1", ... where joints are annotated but not named."""
    named = max((c.get("keypoints") or [] for c in categories.values()), key=len, default=[])
    lists = (a.get("keypoints") for a in annotations)
    joints = max((len(points) // 3 for points in lists if isinstance(points, list)), default=0)
    return tuple(map(str, named)) if named else tuple(map(str, range(joints)))


def _images_folder(path: Path, images_dir: str | os.PathLike[str] | None) -> Path:
    if images_dir is not None:
        folder = Path(images_dir)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of images")
        return folder
    return path.parent / "images" if (path.parent / "images").is_dir() else path.parent


def load_coco(
    annotations_path: str | os.PathLike[str],
    images_dir: str | os.PathLike[str] | None = None,
    *,
    skip_crowd: bool = False,
    keypoints: bool | None = None,
    validate: bool = True,
) -> Dataset:
    """A `Dataset` from a COCO instances or keypoints file.

    Category ids may have gaps: classes 1..C are the categories in the order of their ids, and `category_ids` leads
    back. Crowd regions are kept as such (`is_crowd`): neither object nor background. Keypoint coordinates stay as the
    file states them. Other fields of an image's entry are in its record's `extra`.

    Args:
        annotations_path: the JSON file.
        images_dir: folder of the images; default: "images" beside the file if there is one, else the file's folder.
        skip_crowd: leave crowd regions out.
        keypoints: read keypoints; None: if the file has any.
        validate: refuse what is stated at the module head; False leaves it out and lists it in `issues`.

    Raises:
        DataError: names the file, the record and the reason.
    """
    path = Path(annotations_path)
    data = _read_json(path)
    folder = _images_folder(path, images_dir)
    dataset = Dataset()
    dataset.path = str(path)
    issues = dataset.issues

    categories: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(data["categories"]):
        _need(entry, path, f"categories[{number}]", id=int, name=str)
        if entry["id"] in categories:
            raise DataError(f"{path}: category id {entry['id']} is given twice")
        categories[entry["id"]] = entry
    class_ids = {category: number for number, category in enumerate(sorted(categories), start=1)}
    for category in class_ids:
        dataset.add_class("coco", category, categories[category]["name"])
    if keypoints is None:
        keypoints = any(c.get("keypoints") for c in categories.values()) or any(
            a.get("keypoints") for a in data["annotations"]
        )
    if keypoints:
        dataset.keypoint_names = _keypoint_names(categories, data["annotations"])

    images: dict[int | str, dict[str, Any]] = {}
    for number, entry in enumerate(data["images"]):
        _need(entry, path, f"images[{number}]", id=(int, str), file_name=str)
        where = f"image {entry['id']} ({entry['file_name']})"
        _need(entry, path, where, height=(int, float), width=(int, float))
        if entry["id"] in images:
            raise DataError(f"{path}: image id {entry['id']} is given twice")
        if not (entry["height"] >= 1 and entry["width"] >= 1):
            raise DataError(f"{path}: {where}: size {entry['height']} x {entry['width']}, expected at least 1 x 1")
        images[entry["id"]] = entry

    objects: dict[int | str, list[Annotation]] = {image_id: [] for image_id in images}
    seen: set[Any] = set()
    for number, entry in enumerate(data["annotations"]):
        annotation_id = entry.get("id", number)

        def add(kind: str, message: str, fatal: bool = False, entry=entry, annotation_id=annotation_id) -> None:
            issues.append(DatasetIssue(kind, message, entry.get("image_id"), annotation_id, str(path), fatal))

        if annotation_id in seen:
            add("annotation id twice", f"annotation id {annotation_id} is given twice", fatal=True)
        seen.add(annotation_id)
        missing = [key for key in ("image_id", "category_id") if key not in entry]
        if missing:
            add("missing key", f'"{missing[0]}" is missing', fatal=True)
        elif entry["image_id"] not in images:
            add("unknown image", f"names image {entry['image_id']!r}, which the file does not list", fatal=True)
        elif entry["category_id"] not in categories:
            known = ", ".join(map(str, list(class_ids)[:10])) + (", ..." if len(class_ids) > 10 else "")
            add("unknown category", f"names category {entry['category_id']!r}; the file lists {known}", fatal=True)
        else:
            category = categories[entry["category_id"]]
            found = _annotation(entry, images[entry["image_id"]], class_ids, category, keypoints, annotation_id, add)
            if found is not None and not (skip_crowd and found.is_crowd):
                objects[entry["image_id"]].append(found)

    for image_id, entry in images.items():
        image = folder / entry["file_name"]
        if not image.is_file():
            issues.append(
                DatasetIssue("missing image", f"no such image: {image}", image_id, None, str(path), fatal=True)
            )
            if not validate:
                continue
        extra = {k: v for k, v in entry.items() if k not in ("id", "width", "height", "path")}
        dataset.add_image(
            "coco",
            image_id,
            str(image),
            width=int(entry["width"]),
            height=int(entry["height"]),
            annotations=objects[image_id],
            **extra,
        )
    if validate:
        refuse(issues)
    warn(issues, path)
    return dataset


def _annotation(
    entry: dict[str, Any],
    image: dict[str, Any],
    class_ids: dict[int, int],
    category: dict[str, Any],
    keypoints: bool,
    annotation_id: int | str,
    add: Callable[..., None],
) -> Annotation | None:
    height, width = int(image["height"]), int(image["width"])
    try:
        segmentation, kind, message, usable = _segmentation(entry.get("segmentation"), height, width)
        joints = _keypoints(entry.get("keypoints"), len(category.get("keypoints") or ())) if keypoints else None
    except DataError as error:
        add("RLE" if isinstance(entry.get("segmentation"), dict) else "segmentation", str(error), fatal=True)
        return None
    if kind:
        add(kind, message)
    if not usable:
        return None
    if entry.get("bbox") is None:
        if not isinstance(segmentation, list):
            add("missing key", '"bbox" is missing', fatal=True)
            return None
        points = np.concatenate(segmentation)
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        entry = entry | {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    box, kind, message = _box(entry["bbox"], height, width)
    if kind:
        add(kind, message)
    if box is None:
        return None
    area = entry.get("area")
    usable_area = isinstance(area, (int, float)) and np.isfinite(area)
    return Annotation(
        class_ids[entry["category_id"]],
        box,
        segmentation,
        joints,
        bool(entry.get("iscrowd", 0)),
        annotation_id,
        float(area) if usable_area else None,
    )


def dataset_to_coco(dataset: Dataset) -> dict[str, Any]:
    """A data set as the content of a COCO file, with the category and image ids of its source.

    Numbers are plain; polygons stay polygons, other masks become compressed RLE.
    """
    images, annotations = [], []
    for index in range(len(dataset)):
        record = dataset.record(index)
        height, width = dataset.image_shape(index)
        name = record.extra.get("file_name") or (os.path.basename(record.path) if record.path else str(record.image_id))
        extra = {k: v for k, v in record.extra.items() if k != "file_name"}
        images.append({"id": record.image_id, "file_name": name, "height": height, "width": width, **extra})
        for annotation in record.annotations:
            y1, x1, y2, x2 = (float(v) for v in annotation.box)
            entry: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": record.image_id,
                "category_id": dataset.category_ids[annotation.class_id - 1],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": annotation.area if annotation.area is not None else (y2 - y1) * (x2 - x1),
                "iscrowd": int(annotation.is_crowd),
            }
            segmentation = annotation.segmentation
            if isinstance(segmentation, dict):
                counts = segmentation["counts"]
                counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
                entry["segmentation"] = {"size": [int(v) for v in segmentation["size"]], "counts": counts}
            elif segmentation is not None:
                entry["segmentation"] = [np.asarray(p, np.float64).ravel().tolist() for p in segmentation]
            if annotation.keypoints is not None:
                entry["keypoints"] = np.asarray(annotation.keypoints, np.float64).ravel().tolist()
                entry["num_keypoints"] = int((annotation.keypoints[:, 2] > 0).sum())
            annotations.append(entry)
    categories: list[dict[str, Any]] = []
    for category_id, name in zip(dataset.category_ids, dataset.class_names, strict=True):
        category: dict[str, Any] = {"id": category_id, "name": name}
        if dataset.keypoint_names:
            category["keypoints"] = list(dataset.keypoint_names)
        categories.append(category)
    return {"images": images, "annotations": annotations, "categories": categories}


def save_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Writes JSON; the file appears whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file)
