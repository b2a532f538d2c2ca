"""Where a YOLO data set keeps its images, texts, splits and names of classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.fields import read_text
from mrcnn.data.formats.image_files import files_below, images_below
from mrcnn.data.formats.splits import canonical, split_folders
from mrcnn.data.image_file import image_suffixes
from mrcnn.text import printable

SAMPLED = 20  # files of a folder, looked at to recognize it
YAML = (".yaml", ".yml")
_SPLIT_KEYS = ("train", "val", "valid", "validation", "test", "minival")
NAME_FILES = ("classes.txt", "obj.names", "labels.txt", "names.txt", "data.names", "_darknet.labels")
IMAGE_FOLDERS = ("images", "imgs", "img", "image", "jpegimages")
LABEL_FOLDERS = ("labels", "Labels", "label", "annotations", "Annotations", "txt")


def label_of(image: Path) -> Path | None:
    """The text that belongs to an image: in the labels/ beside its images/, else beside it."""
    parts = image.parts
    for i in range(len(parts) - 2, -1, -1):
        if parts[i].lower() in IMAGE_FOLDERS:
            for folder in LABEL_FOLDERS:
                candidate = Path(*parts[:i], folder, *parts[i + 1 :]).with_suffix(".txt")
                if candidate.is_file():
                    return candidate
            break
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return beside
    nested = image.parent / "labels" / f"{image.stem}.txt"
    return nested if nested.is_file() else None


def open_folder(path: Path) -> tuple[Path, dict[str, Any] | None]:
    """The folder of a data set, and the content of its data.yaml or obj.data."""
    file = path if path.is_file() else find_yaml(path)
    if file is not None:
        content = read_yaml(file)
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


def find_yaml(folder: Path) -> Path | None:
    """The YAML file of a folder that names classes and splits."""
    for file in files_below(folder, YAML, 0, SAMPLED):
        content = read_yaml(file)
        if content is not None and any(key in content for key in (*_SPLIT_KEYS, "path", "nc")):
            return file
    return None


def read_yaml(file: Path) -> dict[str, Any] | None:
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


def names_of(content: dict[str, Any]) -> list[str]:
    names = content["names"]
    if isinstance(names, list):
        return [str(name) for name in names]
    numbers = {int(key): str(name) for key, name in names.items() if str(key).strip().isdecimal()}
    if not numbers:
        return [str(name) for name in names]
    return [numbers.get(k, str(k)) for k in range(min(max(numbers), 9999) + 1)]


def keypoint_shape(content: dict[str, Any]) -> tuple[int, int] | None:
    shape = content.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(v, int) for v in shape):
        return None
    return (shape[0], shape[1]) if 0 < shape[0] < 10000 and shape[1] in (2, 3) else None


def with_joint_names(dataset: Dataset, content: dict[str, Any] | None) -> Dataset:
    """A data set with the joints named as `kpt_names` of data.yaml does, where that has a name for each.

    Ref: Ultralytics' coco-pose.yaml: a list of names for each class; those of the first are taken.
    """
    names = None if content is None else content.get("kpt_names")
    if isinstance(names, dict) and names:
        names = next(iter(names.values()))
    if isinstance(names, list) and len(names) == len(dataset.keypoint_names) == len(set(map(str, names))):
        dataset.keypoint_names = tuple(printable(name) for name in names)
    return dataset


def names_beside(root: Path) -> list[str] | None:
    for name in NAME_FILES:
        if (root / name).is_file():
            lines = _lines(root / name)
            if lines:
                return lines
    return None


def find_root(path: Path) -> Path:
    """The folder at or above a folder that has a list of names, at most two levels up; else itself."""
    for folder in (path, path.parent, path.parent.parent):
        if any((folder / name).is_file() for name in NAME_FILES):
            return folder
    return path


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in read_text(file).splitlines() if line.strip()]
    except DataError:
        return []


def listed_splits(root: Path, content: dict[str, Any]) -> dict[str, list[Path]]:
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


def files_of(place: Path, root: Path) -> tuple[list[Path], list[str]]:
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
