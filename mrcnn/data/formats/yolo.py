"""YOLO: a text file of normalized coordinates for each image; polygons (-seg), joints (-pose) and boxes.

Layouts: `data.yaml` with the folders, lists or list files of its splits (also Roboflow's, whose paths point one folder
too high); `images/` and `labels/`, with or without a folder for each split; texts beside the images; Darknet's
`obj.data` and `obj.names`. Names of the classes come from the YAML file, `classes.txt` or `*.names`; without any they
are numbers, and `classes=` names them.

A row is one object: its class, counted from 0, then a polygon of at least three points; or a box (center, width,
height); or a box and joints, where `kpt_shape` or the visibilities 0, 1, 2 say so. Parts of an object that Ultralytics
has joined by bridges are one polygon. An object of a box alone has its box for a mask ("box only" counts them).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import relative_id
from mrcnn.data.formats.image_files import ImageFiles, files_below, images_below
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import in_order, split_folders
from mrcnn.data.formats.yolo_layout import (
    IMAGE_FOLDERS,
    LABEL_FOLDERS,
    NAME_FILES,
    SAMPLED,
    YAML,
    files_of,
    find_root,
    find_yaml,
    keypoint_shape,
    label_of,
    listed_splits,
    names_beside,
    names_of,
    open_folder,
    read_yaml,
    with_joint_names,
)
from mrcnn.data.formats.yolo_rows import RowReader, is_label
from mrcnn.data.formats.yolo_writer import write_yolo


class Yolo(Format):
    """YOLO-seg, YOLO-pose and boxes; see the module."""

    name = "yolo"
    looks_for = "data.yaml with names, or texts of rows of a class number and normalized coordinates"

    def recognize(self, path: Path) -> bool:
        """Whether a file is a data.yaml, or a folder has one or holds label texts."""
        if path.is_file():
            return path.suffix.lower() in YAML and read_yaml(path) is not None
        if find_yaml(path) is not None:
            return True
        own = [f for f in files_below(path, (".txt",), 0, SAMPLED) if f.name not in NAME_FILES]
        below = [
            f
            for folder in (*LABEL_FOLDERS, "obj_train_data")
            for f in files_below(path / folder, (".txt",), 2, SAMPLED)
        ]
        split = [
            f
            for folder in split_folders(path).values()
            for name in LABEL_FOLDERS
            for f in files_below(folder / name, (".txt",), 1, SAMPLED)
        ]
        return any(is_label(file) for file in (*own, *below, *split))

    def splits(self, path: Path) -> dict[str, Path]:
        """Those of data.yaml, of obj.data, or of the folders in images/ and labels/."""
        root, content = open_folder(path)
        if content is not None:
            return dict.fromkeys(in_order(list(listed_splits(root, content))), path)
        if any((path / folder).is_dir() for folder in IMAGE_FOLDERS):
            folder = next(path / f for f in IMAGE_FOLDERS if (path / f).is_dir())
            return split_folders(folder)
        return {
            name: folder
            for name, folder in split_folders(path).items()
            if any((folder / f).is_dir() for f in (*LABEL_FOLDERS, *IMAGE_FOLDERS))
        }

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """One split of data.yaml, or of the folder of its images."""
        root, content = open_folder(path)
        if content is None or split not in listed_splits(root, content):
            named = find_root(path)
            files = images_below(path / "images" if (path / "images").is_dir() else path)
            if images is not None:
                files = images_below(images)
            return self._load(path, named, files, None, names_beside(named), None, validate)
        files, missing = [], []
        for place in listed_splits(root, content)[split]:
            listed, absent = files_of(place, root)
            files += listed
            missing += absent
        if images is not None and not files:
            files = images_below(images)
        data = self._load(path, root, files, missing, names_of(content), keypoint_shape(content), validate)
        return with_joint_names(data, content)

    def save(self, saver: Saver, *, task: str | None = None, split: str = "train") -> None:
        """data.yaml, images/SPLIT and labels/SPLIT; see `formats.yolo_writer`."""
        write_yolo(saver, task, split)

    def numbers_classes(self, dataset: Dataset) -> bool:
        """Whether there was no list of names."""
        return all(name.isdecimal() for name in dataset.class_names)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder without splits, or of a folder of labels and one of images.

        Raises:
            DataError: see `Format.load`.
        """
        root, content = open_folder(path)
        names = names_of(content) if content is not None else names_beside(find_root(root))
        shape = keypoint_shape(content) if content is not None else None
        if images is not None:
            labels = [f for f in files_below(root, (".txt",)) if f.name not in NAME_FILES]
            data = self._load_labels(path, root, labels, ImageFiles([images]), names, shape, validate)
            return with_joint_names(data, content)
        files = images_below(root)
        if not files and root.name.lower() in map(str.lower, LABEL_FOLDERS):
            beside = [root.parent / name for name in IMAGE_FOLDERS if (root.parent / name).is_dir()]
            labels = [f for f in files_below(root, (".txt",)) if f.name not in NAME_FILES]
            return self._load_labels(path, root, labels, ImageFiles(beside or [root.parent]), names, shape, validate)
        return with_joint_names(self._load(path, root, files, None, names, shape, validate), content)

    def _load(
        self,
        path: Path,
        root: Path,
        files: Sequence[Path],
        missing: Sequence[str] | None,
        names: Sequence[str] | None,
        kpt_shape: tuple[int, int] | None,
        validate: bool,
    ) -> Dataset:
        """Images, each with the text that belongs to it."""
        labels = {file: label_of(file) for file in dict.fromkeys(files)}
        rows = RowReader(path, names, kpt_shape, [f for f in labels.values() if f is not None])
        reader = rows.collector
        if labels:
            root = Path(os.path.commonpath([file.parent for file in labels]))
        for message in missing or ():
            reader.report("missing image", message, path=path)
        for file, label in labels.items():
            image_id = relative_id(file, root)
            if label is None:
                reader.report(
                    "image without label", f"{file.name} has no label; kept without objects", image_id, path=file
                )
            objects = reader.image(image_id, file, label=label, file_name=file.name)
            if objects is not None and label is not None:
                rows.read(objects, label)
        used = {label for label in labels.values() if label is not None}
        for folder in sorted({label.parent for label in used}):
            for label in files_below(folder, (".txt",), 0):
                if label not in used and label.name not in NAME_FILES and is_label(label):
                    reader.report("label without image", f"{label.name}: no image of this name; left out", path=label)
        return rows.finish(validate)

    def _load_labels(
        self,
        path: Path,
        root: Path,
        labels: Sequence[Path],
        files: ImageFiles,
        names: Sequence[str] | None,
        kpt_shape: tuple[int, int] | None,
        validate: bool,
    ) -> Dataset:
        """Texts, each with the image that belongs to it."""
        rows = RowReader(path, names, kpt_shape, labels)
        for label in labels:
            image_id = relative_id(label, root)
            file = files.find(str(Path(image_id)))
            objects = rows.collector.image(
                image_id, file, label=label, missing=files.missing(label.stem), file_name=file.name if file else None
            )
            if objects is not None:
                rows.read(objects, label)
        return rows.finish(validate)
