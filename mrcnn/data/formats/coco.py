"""COCO instances and keypoints JSON: to a `Dataset` and back.

What is wrong in a file is corrected or left out, with a `DatasetIssue` in `dataset.issues` and a log line, or refused
with a DataError that names file, record and reason.

    corrected   "box outside": partly outside its image, clipped. "zero area box", "not finite box" beside a mask: the
                box of the mask is taken. "degenerate polygon": of an object with several, fewer than three points or a
                coordinate that is not finite; the other polygons stay. "polygon outside": a coordinate far outside,
                clipped. "class name": control characters, escaped.
    left out    "zero area box", "not finite box" without a mask; "box outside" wholly; "degenerate polygon" where it
                was the only one; "polygon too long": an outline that no image of this size needs.
    for notice  "mask without a pixel"; "box is not that of its mask"; "class name twice".
    refused     broken JSON, missing keys, values of the wrong type, ids given twice; an annotation of an unknown image
                or category; an RLE of another size or damaged; keypoints of another length than its category names; an
                image file that is not there; a file all of whose objects are left out for one reason.
With `validate=False` the refused records are left out too and listed with `fatal=True`, so that all can be shown at
once; only a file that is no COCO JSON is still refused.

Polygons are read flat, as pairs or as {"x", "y"} objects, with or without the outer list; `iscrowd` as a number, a
boolean or a text.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.formats.base import Format, holds_keys, leave_out_records
from mrcnn.data.formats.coco_annotations import AnnotationReader, category_id
from mrcnn.data.formats.coco_objects import joint_names, keypoint_names
from mrcnn.data.formats.coco_source import KEYS, CocoSource, collector_off, open_large, read_coco
from mrcnn.data.formats.fields import as_id, as_number, short
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order, is_split, name_in
from mrcnn.data.images import image_shape
from mrcnn.data.rasterize import MAX_MASK_PIXELS
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation
from mrcnn.text import printable


class Coco(Format):
    """COCO instances and keypoints JSON, LVIS; see the module."""

    name = "coco"
    looks_for = 'a JSON object with the lists "images", "annotations" and "categories", in a file or a folder'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or some file of a folder, holds the three lists."""
        return bool(_files(path))

    def splits(self, path: Path) -> dict[str, Path]:
        """The files of a folder that are named as splits, or lie in folders that are."""
        files = _files(path)
        if path.is_file() or not files:
            return {}
        splits: dict[str, list[Path]] = {}
        for file in files:
            folders = [part for part in file.relative_to(path).parts[:-1] if is_split(part)]
            split = canonical(folders[0]) if folders else name_in(file.stem)
            splits.setdefault(split or "", []).append(file)
        if list(splits) == [""]:
            return {}
        return {name: _chosen(path, splits[name]) for name in in_order([name for name in splits if name])}

    def load(
        self,
        path: Path,
        images: Path | None = None,
        *,
        validate: bool = True,
        skip_crowd: bool = False,
        keypoints: bool | None = None,
    ) -> Dataset:
        """See `load_coco`; records that cannot be used are left out and listed in `issues`."""
        file = path if path.is_file() else _chosen(path, _files(path))
        dataset = load_coco(file, images, skip_crowd=skip_crowd, keypoints=keypoints, validate=False)
        if validate:
            leave_out_records(dataset)
        return dataset

    def save(self, saver: Saver, **options: Any) -> None:
        """annotations.json beside images/; or a .json file alone."""
        content = dataset_to_coco(saver.dataset)
        if saver.path.suffix.lower() == ".json":
            save_json(content, saver.path)
            return
        for index, entry in enumerate(content["images"]):
            saver.put_image(index, saver.path / "images")
            if saver.copy_images:
                entry["file_name"] = saver.name(index)
        save_json(content, saver.path / "annotations.json")


_FOLDERS_DEEP = 3
_FEW = 50
_NO_OBJECTS = ("captions", "image_info", "labels", "stuff", "panoptic")


def _files(path: Path) -> list[Path]:
    """The JSON files that hold the three lists and are not panoptic."""
    candidates = [path] if path.is_file() else files_below(path, (".json",), _FOLDERS_DEEP, _FEW)
    return [file for file in candidates if holds_keys(file, *KEYS) and not holds_keys(file, *KEYS, "segments_info")]


def _chosen(path: Path, files: list[Path]) -> Path:
    """The file with objects among several of one split.

    Raises:
        DataError: there is none, or more than one.
    """
    with_objects = [f for f in files if not f.stem.lower().startswith(_NO_OBJECTS)] or files
    instances = [f for f in with_objects if "instances" in f.stem.lower()] or with_objects
    if len(instances) == 1:
        return instances[0]
    listed = ", ".join(str(f.relative_to(path)) for f in instances) or "none"
    raise DataError(f"{path}: expected one COCO file for a split, found {listed}; give the path of one of them")


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
        images_dir: folder of the images; images are also looked up in "images" beside the file, and beside the file.
        skip_crowd: leave crowd regions out.
        keypoints: read keypoints; None: if the file has any.
        validate: refuse what is stated in the module; False leaves it out and lists it in `issues`.

    Raises:
        DataError: names the file, the record and the reason.

    Example:
        >>> dataset = mrcnn.load_coco("nuts3/annotations.json")  # doctest: +SKIP
        >>> dataset.class_names, len(dataset.annotations(0))  # doctest: +SKIP
        (('date', 'fig', 'hazelnut'), 13)
    """
    path = Path(annotations_path)
    with collector_off():
        source = open_large(path, keypoints)
        if source is not None:
            try:
                return _load(path, images_dir, source, skip_crowd, keypoints, validate)
            except ValueError as error:
                if isinstance(error, DataError):
                    raise
                # A piece is no JSON: reading the file as a whole says where.
        return _load(path, images_dir, CocoSource(read_coco(path)), skip_crowd, keypoints, validate)


def _load(
    path: Path,
    images_dir: str | os.PathLike[str] | None,
    source: CocoSource,
    skip_crowd: bool,
    keypoints: bool | None,
    validate: bool,
) -> Dataset:
    dataset = Dataset()
    dataset.path = str(path)
    issues = dataset.issues
    entries = {key: _objects(source.data, key, issues, dataset.path) for key in KEYS}
    lookup = ImageLookup(path, images_dir, (n for _, e in entries["images"] if isinstance(n := _name(e), str)))
    categories = _categories(entries["categories"], issues, dataset.path)
    _drop_supercategory(categories, entries["annotations"], issues, dataset.path)
    in_order = sorted(categories, key=lambda c: (isinstance(c, str), c))
    class_ids = {category: number for number, category in enumerate(in_order, start=1)}
    for category, number in class_ids.items():
        dataset.add_class("coco", category if isinstance(category, int) else number, categories[category]["name"])
    if keypoints is None:
        keypoints = any(map(joint_names, categories.values())) or any(
            e.get("keypoints") for _, e in entries["annotations"]
        )
    if keypoints:
        dataset.keypoint_names = keypoint_names(list(categories.values()), [e for _, e in entries["annotations"]])
    entries["images"] = [(n, _completed(e, lookup)) for n, e in entries["images"]]
    images, refused = _images(entries["images"], issues, dataset.path)
    sizes = {image_id: _size(entry) for image_id, entry in images.items()}
    reader = AnnotationReader(sizes, refused, categories, class_ids, keypoints, issues, dataset.path)
    for number, entry in entries["annotations"]:
        reader.add(number, entry)
    source.feed(reader)
    _add_images(dataset, images, reader.finish(), lookup, skip_crowd, validate)
    if validate:
        refuse(issues)
    warn(issues, path)
    return dataset


def _objects(data: dict[str, Any], key: str, issues: list[DatasetIssue], path: str) -> list[tuple[int, dict[str, Any]]]:
    """The entries of a list that are objects, with their places in it."""
    objects = []
    for number, entry in enumerate(data[key]):
        if isinstance(entry, dict):
            objects.append((number, entry))
        else:
            message = f"{key}[{number}]: expected an object, got {short(entry)}"
            issues.append(DatasetIssue("wrong type", message, path=path, fatal=True))
    return objects


def _name(entry: dict[str, Any]) -> Any:
    """The file name of an image; of LVIS, which has none, the last two parts of its URL."""
    url = entry.get("coco_url")
    if "file_name" in entry or not isinstance(url, str):
        return entry.get("file_name")
    return "/".join(url.split("/")[-2:])


def _completed(entry: dict[str, Any], lookup: ImageLookup) -> dict[str, Any]:
    """An image's entry with its file name, and with its size where only its file says it."""
    name = _name(entry)
    if not isinstance(name, str):
        return entry
    if "file_name" not in entry:
        entry = {**entry, "file_name": name}
    if entry.get("height") is None and entry.get("width") is None:
        file = lookup.find(name)
        try:
            size = None if file is None else image_shape(file)
        except DataError:
            size = None
        if size is not None:
            return {**entry, "height": size[0], "width": size[1]}
    return entry


def _drop_supercategory(
    categories: dict[int | str, dict[str, Any]],
    annotations: list[tuple[int, dict[str, Any]]],
    issues: list[DatasetIssue],
    path: str,
) -> None:
    """Drop the category 0 that Roboflow writes for the supercategory of all others, which no object has."""
    first = categories.get(0)
    others = [entry for category, entry in categories.items() if category != 0]
    if first is None or not others or any(entry.get("supercategory") != first["name"] for entry in others):
        return
    if any(category_id(entry.get("category_id")) == 0 for _, entry in annotations):
        return
    del categories[0]
    message = f"category 0, {short(first['name'])}, is the supercategory of all others and has no object; left out"
    issues.append(DatasetIssue("supercategory", message, path=path))


def _categories(
    entries: list[tuple[int, dict[str, Any]]], issues: list[DatasetIssue], path: str
) -> dict[int | str, dict[str, Any]]:
    """Category id -> its entry, the name made printable."""
    categories: dict[int | str, dict[str, Any]] = {}

    def report(kind: str, message: str, fatal: bool = True) -> None:
        issues.append(DatasetIssue(kind, message, path=path, fatal=fatal))

    for number, entry in entries:
        missing = [key for key in ("id", "name") if key not in entry]
        if missing:
            report("missing key", f'categories[{number}]: "{missing[0]}" is missing')
            continue
        category, name = category_id(entry["id"]), entry["name"]
        if category is None or not isinstance(name, str):
            key = "id" if category is None else "name"
            report("wrong type", f'categories[{number}]: "{key}" is {short(entry[key])}, which is of the wrong type')
        elif category in categories:
            report("category id twice", f"category id {category} is given twice")
        else:
            if name != printable(name):
                report(
                    "class name",
                    f"category {category}: {short(printable(name))} holds control characters; escaped",
                    False,
                )
            if entry.get("keypoints") and not isinstance(entry["keypoints"], list):
                report(
                    "wrong type", f'categories[{number}]: "keypoints" is {short(entry["keypoints"])}, expected a list'
                )
            categories[category] = {**entry, "name": printable(name)}
    names = Counter(entry["name"] for entry in categories.values())
    for name, count in names.items():
        if count > 1:
            ids = ", ".join(str(category) for category, entry in categories.items() if entry["name"] == name)
            report("class name twice", f"categories {ids} are all named {short(name)}; kept as {count} classes", False)
    return categories


def _images(
    entries: list[tuple[int, dict[str, Any]]], issues: list[DatasetIssue], path: str
) -> tuple[dict[int | str, dict[str, Any]], set[int | str]]:
    """Image id -> its entry, of those that can be used; and the ids of the others."""
    images: dict[int | str, dict[str, Any]] = {}
    refused: set[int | str] = set()
    for number, entry in entries:
        image_id = as_id(entry.get("id"))
        kind, message = _image_fault(number, entry, image_id)
        if not kind and image_id in images:
            kind, message = "image id twice", f"image id {image_id} is given twice"
        if not kind and image_id is not None:
            images[image_id] = entry
            continue
        issues.append(DatasetIssue(kind, message, path=path, fatal=True))
        if image_id is not None and image_id not in images:
            refused.add(image_id)
    return images, refused


def _image_fault(number: int, entry: dict[str, Any], image_id: int | str | None) -> tuple[str, str]:
    """Kind and message of what is wrong with an entry; empty if nothing is."""
    name = entry.get("file_name")
    where = f"image {image_id} ({name if isinstance(name, str) else short(name)})"
    where = f"images[{number}]" if image_id is None else where
    for key in ("id", "file_name", "height", "width"):
        if key not in entry:
            return "missing key", f'{where}: "{key}" is missing'
    sizes = [as_number(entry[key]) for key in ("height", "width")]
    good = (image_id is not None, isinstance(entry["file_name"], str), sizes[0] is not None, sizes[1] is not None)
    for key, is_good in zip(("id", "file_name", "height", "width"), good, strict=True):
        if not is_good:
            return "wrong type", f'{where}: "{key}" is {short(entry[key])}, which is of the wrong type'
    height, width = (size or 0.0 for size in sizes)
    if height < 1 or width < 1:
        return "image size", f"{where}: size {entry['height']} x {entry['width']}, expected at least 1 x 1"
    if height * width > MAX_MASK_PIXELS:
        return "image size", f"{where}: size {height:g} x {width:g}, expected at most {MAX_MASK_PIXELS} pixels"
    return "", ""


def _size(entry: dict[str, Any]) -> tuple[int, int]:
    return int(entry["height"]), int(entry["width"])


def _add_images(
    dataset: Dataset,
    images: dict[int | str, dict[str, Any]],
    objects: dict[int | str, list[Annotation]],
    lookup: ImageLookup,
    skip_crowd: bool,
    validate: bool,
) -> None:
    missing = []
    for image_id, entry in images.items():
        file = lookup.find_path(entry["file_name"])
        if file is None:
            message = lookup.missing(entry["file_name"])
            missing.append(DatasetIssue("missing image", message, image_id, None, dataset.path, fatal=True))
            if not validate:
                continue
        height, width = _size(entry)
        dataset.add_image(
            "coco",
            image_id,
            file,
            width=width,
            height=height,
            annotations=[a for a in objects[image_id] if not (skip_crowd and a.is_crowd)],
            extra={key: value for key, value in entry.items() if key not in ("id", "width", "height", "path")},
        )
    if len(missing) > 1 and len(missing) == len(images):
        message = f"none of the {len(images)} images is there, such as: {missing[0].message}"
        missing = [DatasetIssue("missing image", message, path=dataset.path, fatal=True)]
    dataset.issues += missing


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
        images.append({**extra, "id": record.image_id, "file_name": name, "height": height, "width": width})
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
    for number, name in zip(dataset.category_ids, dataset.class_names, strict=True):
        category: dict[str, Any] = {"id": number, "name": name}
        if dataset.keypoint_names:
            category["keypoints"] = list(dataset.keypoint_names)
        categories.append(category)
    return {"images": images, "annotations": annotations, "categories": categories}


def save_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write JSON; the file appears whole or not at all."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(data, file)
