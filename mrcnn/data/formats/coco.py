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

import os
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError, DatasetIssue, refuse, warn
from mrcnn.data.formats.base import Format, holds_keys, leave_out_records
from mrcnn.data.formats.coco_annotations import AnnotationReader
from mrcnn.data.formats.coco_entries import (
    completed,
    drop_supercategory,
    entries_of,
    file_name,
    read_categories,
    read_images,
    size_of,
)
from mrcnn.data.formats.coco_objects import joint_names, keypoint_names
from mrcnn.data.formats.coco_source import KEYS, CocoSource, collector_off, open_large, read_coco
from mrcnn.data.formats.coco_writer import dataset_to_coco, save_json
from mrcnn.data.formats.image_files import files_below
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order, is_split, name_in
from mrcnn.structures.records import Annotation


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
    with collector_off(path):
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
    entries = {key: entries_of(source.data, key, issues, dataset.path) for key in KEYS}
    lookup = ImageLookup(path, images_dir, (n for _, e in entries["images"] if isinstance(n := file_name(e), str)))
    categories = read_categories(entries["categories"], issues, dataset.path)
    drop_supercategory(categories, entries["annotations"], issues, dataset.path)
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
    entries["images"] = [(n, completed(e, lookup)) for n, e in entries["images"]]
    images, refused = read_images(entries["images"], issues, dataset.path)
    sizes = {image_id: size_of(entry) for image_id, entry in images.items()}
    reader = AnnotationReader(sizes, refused, categories, class_ids, keypoints, issues, dataset.path)
    for number, entry in entries["annotations"]:
        reader.add(number, entry)
    source.feed(reader)
    _add_images(dataset, images, reader.finish(), lookup, skip_crowd, validate)
    if validate:
        refuse(issues)
    warn(issues, path)
    return dataset


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
        height, width = size_of(entry)
        dataset.add_image(
            "coco",
            image_id,
            file,
            width=width,
            height=height,
            annotations=[a for a in objects[image_id] if not a.is_crowd] if skip_crowd else objects[image_id],
            extra={key: value for key, value in entry.items() if key not in ("id", "width", "height", "path")},
        )
    if len(missing) > 1 and len(missing) == len(images):
        message = f"none of the {len(images)} images is there, such as: {missing[0].message}"
        missing = [DatasetIssue("missing image", message, path=dataset.path, fatal=True)]
    dataset.issues += missing
