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
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, ImageObjects, relative_id
from mrcnn.data.formats.fields import read_text, short
from mrcnn.data.formats.image_files import ImageFiles, files_below, images_below
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order, split_folders
from mrcnn.data.formats.yolo_writer import write_yolo
from mrcnn.data.image_file import image_suffixes

_YAML = (".yaml", ".yml")
_SPLIT_KEYS = ("train", "val", "valid", "validation", "test", "minival")
_NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "names.txt", "data.names", "_darknet.labels")
_IMAGE_FOLDERS = ("images", "imgs", "img", "image", "jpegimages")
_LABEL_FOLDERS = ("labels", "Labels", "label", "annotations", "Annotations", "txt")
_ROW = re.compile(rb"^\s*\d+(?:\.0*)?(?:[ \t]+[-+]?[\d.]+(?:[eE][-+]?\d+)?|[ \t]+[-+]?nan){4,}\s*$", re.IGNORECASE)
_SAMPLED = 20
_ENOUGH = 1.5  # of normalized coordinates; farther out they are no coordinates of this kind


class Yolo(Format):
    """YOLO-seg, YOLO-pose and boxes; see the module."""

    name = "yolo"
    looks_for = "data.yaml with names, or texts of rows of a class number and normalized coordinates"

    def recognize(self, path: Path) -> bool:
        """Whether a file is a data.yaml, or a folder has one or holds label texts."""
        if path.is_file():
            return path.suffix.lower() in _YAML and _yaml(path) is not None
        if _find_yaml(path) is not None:
            return True
        own = [f for f in files_below(path, (".txt",), 0, _SAMPLED) if f.name not in _NAME_FILES]
        below = [
            f
            for folder in (*_LABEL_FOLDERS, "obj_train_data")
            for f in files_below(path / folder, (".txt",), 2, _SAMPLED)
        ]
        split = [
            f
            for folder in split_folders(path).values()
            for name in _LABEL_FOLDERS
            for f in files_below(folder / name, (".txt",), 1, _SAMPLED)
        ]
        return any(_is_label(file) for file in (*own, *below, *split))

    def splits(self, path: Path) -> dict[str, Path]:
        """Those of data.yaml, of obj.data, or of the folders in images/ and labels/."""
        root, content = _open(path)
        if content is not None:
            return dict.fromkeys(in_order(list(_listed(root, content))), path)
        if any((path / folder).is_dir() for folder in _IMAGE_FOLDERS):
            folder = next(path / f for f in _IMAGE_FOLDERS if (path / f).is_dir())
            return split_folders(folder)
        return {
            name: folder
            for name, folder in split_folders(path).items()
            if any((folder / f).is_dir() for f in (*_LABEL_FOLDERS, *_IMAGE_FOLDERS))
        }

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """One split of data.yaml, or of the folder of its images."""
        root, content = _open(path)
        if content is None or split not in _listed(root, content):
            named = _find_root(path)
            files = images_below(path / "images" if (path / "images").is_dir() else path)
            if images is not None:
                files = images_below(images)
            return self._load(path, named, files, None, _names_beside(named), None, validate)
        files, missing = [], []
        for place in _listed(root, content)[split]:
            listed, absent = _files_of(place, root)
            files += listed
            missing += absent
        if images is not None and not files:
            files = images_below(images)
        return self._load(path, root, files, missing, _names(content), _kpt_shape(content), validate)

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
        root, content = _open(path)
        names = _names(content) if content is not None else _names_beside(_find_root(root))
        shape = _kpt_shape(content) if content is not None else None
        if images is not None:
            labels = [f for f in files_below(root, (".txt",)) if f.name not in _NAME_FILES]
            return self._load_labels(path, root, labels, ImageFiles([images]), names, shape, validate)
        files = images_below(root)
        if not files and root.name.lower() in map(str.lower, _LABEL_FOLDERS):
            beside = [root.parent / name for name in _IMAGE_FOLDERS if (root.parent / name).is_dir()]
            labels = [f for f in files_below(root, (".txt",)) if f.name not in _NAME_FILES]
            return self._load_labels(path, root, labels, ImageFiles(beside or [root.parent]), names, shape, validate)
        return self._load(path, root, files, None, names, shape, validate)

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
        rows = _Rows(path, names, kpt_shape, [f for f in labels.values() if f is not None])
        reader = rows.collector
        if labels:
            root = Path(os.path.commonpath([file.parent for file in labels]))
        for message in missing or ():
            reader.report("missing image", message, path=path)
        for file, label in labels.items():
            image_id = relative_id(file, root)
            if label is None:
                reader.report("image without label", f"{file.name} has no label; kept without objects", image_id, file)
            objects = reader.image(image_id, file, label=label, file_name=file.name)
            if objects is not None and label is not None:
                rows.read(objects, label)
        used = {label for label in labels.values() if label is not None}
        for folder in sorted({label.parent for label in used}):
            for label in files_below(folder, (".txt",), 0):
                if label not in used and label.name not in _NAME_FILES and _is_label(label):
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
        rows = _Rows(path, names, kpt_shape, labels)
        for label in labels:
            image_id = relative_id(label, root)
            file = files.find(str(Path(image_id)))
            objects = rows.collector.image(
                image_id, file, label=label, missing=files.missing(label.stem), file_name=file.name if file else None
            )
            if objects is not None:
                rows.read(objects, label)
        return rows.finish(validate)


class _Rows:
    """Reads the rows of texts into a `Collector`."""

    def __init__(
        self, path: Path, names: Sequence[str] | None, kpt_shape: tuple[int, int] | None, labels: Sequence[Path]
    ) -> None:
        self.names = None if names is None else list(names)
        self.kpt_shape = kpt_shape or _guess_joints(labels)
        joints = [str(i) for i in range(self.kpt_shape[0])] if self.kpt_shape else []
        unique = None if names is None else _unique(names)
        self.collector = Collector(path, "yolo", unique, joints)
        self.unique = unique
        self.largest = -1
        self.num_boxes = 0

    def read(self, objects: ImageObjects, label: Path) -> None:
        """The rows of one text."""
        try:
            text = read_text(label)
        except DataError as error:
            objects.discard("damaged label", str(error))
            return
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                self._row(objects, line, f"line {number}")

    def finish(self, validate: bool) -> Dataset:
        """The data set."""
        if self.num_boxes:
            message = f"{self.num_boxes} objects have a box and no mask; their mask is the box"
            self.collector.report("box only", message)
        if self.names is None:
            for k in range(self.largest + 1):
                self.collector.add_class(str(k), k)
            order = {name: int(name) for name in self.collector.class_names}
            self.collector._class_ids, before = {}, dict(self.collector._class_ids)
            for name in sorted(order, key=order.__getitem__):
                self.collector._class_ids[name] = before[name]
        return self.collector.finish(validate=validate, by_name=False)

    def _row(self, objects: ImageObjects, line: str, record: str) -> None:
        try:
            values = np.array(line.split(), np.float64)
        except ValueError:
            objects.leave_out("row", f"{short(line)} holds something that is not a number", record)
            return
        number = values[0]
        if not np.isfinite(values).all():
            objects.leave_out("row", f"{short(line)} holds a number that is not finite", record)
            return
        if number != int(number) or number < 0:
            objects.leave_out("unknown class", f"class {number:g}, expected 0, 1, ...", record)
            return
        name = self._name(int(number))
        if name is None:
            known = len(self.names or ())
            objects.leave_out("unknown class", f"class {number:g}, but {known} classes are named, from 0", record)
            return
        coordinates = values[1:]
        if self.kpt_shape is not None and len(coordinates) == 4 + self.kpt_shape[0] * self.kpt_shape[1]:
            self._add(objects, name, coordinates[:4], coordinates[4:], record)
        elif len(coordinates) == 4:
            self.num_boxes += self.kpt_shape is None
            self._add(objects, name, coordinates, None, record)
        elif len(coordinates) % 2:
            objects.leave_out("row", f"an odd number of coordinates, {len(coordinates)}", record)
        elif len(coordinates) < 6:
            objects.leave_out("row", f"{len(coordinates)} coordinates, expected a box or at least three points", record)
        elif self._are_normalized(objects, coordinates, record):
            points = coordinates.reshape(-1, 2) * (objects.width, objects.height)
            objects.add(name, polygons=[points], record=record)

    def _name(self, number: int) -> str | None:
        if self.unique is not None:
            return self.unique[number] if number < len(self.unique) else None
        if number > 9999:
            return None
        self.largest = max(self.largest, number)
        return str(number)

    def _are_normalized(self, objects: ImageObjects, coordinates: np.ndarray, record: str) -> bool:
        farthest = float(coordinates[np.abs(coordinates).argmax()])
        if abs(farthest) <= _ENOUGH:
            return True
        objects.leave_out("row", f"a coordinate is {farthest:g}, expected fractions of the image, 0 to 1", record)
        return False

    def _add(self, objects: ImageObjects, name: str, box: np.ndarray, joints: np.ndarray | None, record: str) -> None:
        if not self._are_normalized(objects, box, record):
            return
        x, y, w, h = (box * (objects.width, objects.height, objects.width, objects.height)).tolist()
        keypoints = None
        if joints is not None and self.kpt_shape is not None:
            keypoints = np.full((self.kpt_shape[0], 3), 2.0)
            keypoints[:, : self.kpt_shape[1]] = joints.reshape(self.kpt_shape)
            if self.kpt_shape[1] == 2:
                keypoints[:, 2] = np.where((keypoints[:, :2] == 0).all(axis=1), 0, 2)
            keypoints[:, :2] *= (objects.width, objects.height)
            keypoints[keypoints[:, 2] == 0] = 0
        objects.add(name, box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2), keypoints=keypoints, record=record)


def label_of(image: Path) -> Path | None:
    """The text that belongs to an image: in the labels/ beside its images/, else beside it."""
    parts = image.parts
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() in _IMAGE_FOLDERS:
            for folder in _LABEL_FOLDERS:
                candidate = Path(*parts[:i], folder, *parts[i + 1 :]).with_suffix(".txt")
                if candidate.is_file():
                    return candidate
            break
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return beside
    nested = image.parent / "labels" / f"{image.stem}.txt"
    return nested if nested.is_file() else None


def _is_label(file: Path) -> bool:
    """Whether the first row of a text is a class number and at least four numbers."""
    try:
        with open(file, "rb") as opened:
            start = opened.read(65536).lstrip(b"\xef\xbb\xbf")
    except OSError:
        return False
    row = next((line for line in start.splitlines() if line.strip()), b"")
    return _ROW.match(row) is not None


def _guess_joints(labels: Sequence[Path]) -> tuple[int, int] | None:
    """(J, 3) where all rows of some texts are a box and J joints whose visibilities are 0, 1 or 2."""
    lengths: set[int] = set()
    for label in labels[:_SAMPLED]:
        try:
            rows = [np.array(line.split(), np.float64) for line in read_text(label).splitlines() if line.strip()]
        except (DataError, ValueError):
            continue
        for row in rows:
            seen = row[7::3]
            if len(row) < 8 or (len(row) - 5) % 3 or not np.isin(seen, (0, 1, 2)).all():
                return None
            lengths.add(len(row))
    return ((lengths.pop() - 5) // 3, 3) if len(lengths) == 1 else None


def _unique(names: Sequence[str]) -> list[str]:
    """Names that differ: of a name that is given twice, the later ones with their number."""
    unique: list[str] = []
    for number, name in enumerate(names):
        unique.append(f"{name} ({number})" if name in unique else name)
    return unique


def _open(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The folder of a data set, and the content of its data.yaml or obj.data."""
    file = path if path.is_file() else _find_yaml(path)
    if file is not None:
        content = _yaml(file)
        if content is None:
            raise DataError(f"{file}: expected YAML with the names of classes")
        return file.parent, content
    darknet = path / "obj.data"
    if darknet.is_file():
        pairs = (line.partition("=") for line in read_text(darknet).splitlines() if "=" in line)
        content = {key.strip(): value.strip() for key, _, value in pairs}
        listed = content.get("names", "obj.names")
        names = next((f for f in (path / listed, path / Path(listed).name) if f.is_file()), None)
        if names is not None:
            content["names"] = _lines(names)
            return path, content
    return path, None


def _find_yaml(folder: Path) -> Path | None:
    """The YAML file of a folder that names classes and splits."""
    for file in files_below(folder, _YAML, 0, _SAMPLED):
        content = _yaml(file)
        if content is not None and any(key in content for key in (*_SPLIT_KEYS, "path", "nc")):
            return file
    return None


def _yaml(file: Path) -> dict[str, Any] | None:
    """The content of a YAML file with "names", or None."""
    import yaml

    try:
        if file.stat().st_size > 2**22:
            return None
        content = yaml.load(read_text(file), Loader=_NoAliases)
    except (OSError, DataError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and isinstance(content.get("names"), (list, dict)) else None


def _no_aliases() -> type:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain data without references, which can grow without bound."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise yaml.YAMLError("references are not read")
            return super().compose_node(parent, index)

    return Loader


_NoAliases: Any = _no_aliases()


def _names(content: dict[str, Any]) -> list[str]:
    names = content["names"]
    if isinstance(names, list):
        return [str(name) for name in names]
    numbers = {int(key): str(name) for key, name in names.items() if str(key).strip().isdecimal()}
    if not numbers:
        return [str(name) for name in names]
    return [numbers.get(k, str(k)) for k in range(min(max(numbers), 9999) + 1)]


def _kpt_shape(content: dict[str, Any]) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    is_pair = isinstance(shape, list) and len(shape) == 2 and all(isinstance(v, int) for v in shape)
    return (shape[0], shape[1]) if is_pair and 0 < shape[0] < 10000 and shape[1] in (2, 3) else None


def _names_beside(root: Path) -> list[str] | None:
    for name in _NAME_FILES:
        if (root / name).is_file():
            lines = _lines(root / name)
            if lines:
                return lines
    return None


def _find_root(path: Path) -> Path:
    """The folder at or above a folder that has a list of names, at most two levels up; else itself."""
    for folder in (path, path.parent, path.parent.parent):
        if any((folder / name).is_file() for name in _NAME_FILES):
            return folder
    return path


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except DataError:
        return []


def _listed(root: Path, content: dict[str, Any]) -> dict[str, list[Path]]:
    """The existing folders and list files of each split of data.yaml."""
    base = content.get("path")
    bases = [root / base, root] if isinstance(base, str) and base else [root]
    splits: dict[str, list[Path]] = {}
    for key in _SPLIT_KEYS:
        value = content.get(key)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and item:
                place = _place(item, [*bases, root.parent]) or split_folders(root).get(canonical(key))
                if place is not None:
                    splits.setdefault(canonical(key), []).append(place)
    return splits


def _place(name: str, bases: Sequence[Path]) -> Path | None:
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    shorter = [part for part in parts if part != ".."]
    forms = [plain, "/".join(shorter), *("/".join(shorter[k:]) for k in range(1, len(shorter)))]
    for base in bases:
        for form in dict.fromkeys(forms):
            if form and os.path.exists(base / form):
                return base / form
    return None


def _files_of(place: Path, root: Path) -> tuple[list[Path], list[str]]:
    """The images of a folder, or those a text lists; and a sentence for each that is not there."""
    if place.is_dir():
        return images_below(place), []
    files, missing = [], []
    for number, line in enumerate(_lines(place), start=1):
        if not line.lower().endswith(image_suffixes()):
            continue
        file = _place(line, [place.parent, root])
        if file is None:
            missing.append(f"{place}: line {number}: no such image: {line!r}; left out")
        else:
            files.append(file)
    return files, missing
