"""Street scenes whose instance maps hold class and number in one value: Cityscapes, KITTI, MOTS, Mapillary Vistas.

cityscapes   leftImg8bit/SPLIT/CITY and gtFine (gtCoarse)/SPLIT/CITY. Polygons of `*_polygons.json` where they are,
             else `*_instanceIds.png`: class * 1000 + number; a class id alone is a group and becomes a crowd region.
             The eight classes with instances.
kitti        training/image_2 and training/instance: class * 256 + number, the classes of Cityscapes; number 0 has
             no instance.
mots         images/ (image_02/, training/image_02/) and instances/: class * 1000 + number; 10000 is a region to
             ignore, a crowd region. labels.txt names class 1, 2, ...; else 1 is "car", 2 "pedestrian".
mapillary    images/ and [v1.2/ or v2.0/]instances/: class * 256 + number, the classes of config*.json; polygons of
             v2.0/polygons where there is no map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.fields import parse_json, read_text, short
from mrcnn.data.formats.image_files import ImageFiles, files_below, images_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_map import are_mots_values, read_values, regions
from mrcnn.data.formats.splits import split_folders

CITYSCAPES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
_MOTS = {1: "car", 2: "pedestrian"}
_MOTS_IGNORED = 10
_FEW = 5

Decode = Callable[[int], "tuple[str, bool] | None"]
"""Class name and whether it is a crowd region, of a value; None: no object."""


def add_values(image: ImageObjects, label: Path, decode: Decode) -> None:
    """Add the objects of a map of values; a damaged one leaves its image out."""
    try:
        values = read_values(label)
        if values.shape != (image.height, image.width):
            size = " x ".join(map(str, values.shape))
            raise DataError(f"{label}: {size}, its image is {image.height} x {image.width}")
    except DataError as error:
        image.discard("damaged label", str(error))
        return
    for region in regions(values, ()):
        decoded = decode(region.value)
        if decoded is not None:
            name, is_crowd = decoded
            image.add_mask(name, region.bits, region.top, region.left, is_crowd=is_crowd, record=region.value)


class Cityscapes(Format):
    """Cityscapes; see the module."""

    name = "cityscapes"
    looks_for = "gtFine or gtCoarse with *_polygons.json or *_instanceIds.png, beside leftImg8bit"
    states_classes = True

    def recognize(self, path: Path) -> bool:
        """Whether a folder has them."""
        return path.is_dir() and _ground_truth(path) is not None

    def splits(self, path: Path) -> dict[str, Path]:
        """The folders of gtFine."""
        folder = _ground_truth(path)
        return {} if folder is None else split_folders(folder)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of the root, or of a split of gtFine.

        Raises:
            DataError: see `Format.load`.
        """
        labels_root = _ground_truth(path) or path
        root = next((p for p in (labels_root, *labels_root.parents) if p.name in _TRUTHS), labels_root)
        collector = Collector(path, self.name, list(CITYSCAPES.values()))
        files = ImageFiles([images or root.parent / "leftImg8bit"])
        labels: dict[str, Path] = {}
        for ending in ("_polygons.json", "_instanceIds.png"):  # polygons do not hide each other
            for path_of in files_below(labels_root, (ending.lower(),)):
                labels.setdefault(path_of.name[: -len(ending)].rpartition("_")[0], path_of)
        for stem, label in sorted(labels.items()):
            file = files.find(f"{stem}_leftImg8bit")
            image = collector.image(stem, file, label=label, missing=files.missing(f"{stem}_leftImg8bit.png"))
            if image is not None and label.suffix == ".png":
                add_values(image, label, _cityscapes)
            elif image is not None:
                _add_polygons(image, label)
        return collector.finish(validate=validate)


_TRUTHS = ("gtFine", "gtCoarse")


def _ground_truth(path: Path) -> Path | None:
    for folder in (path / "gtFine", path / "gtCoarse", *([path] if path.name in _TRUTHS else [])):
        if files_below(folder, ("_polygons.json", "_instanceids.png"), 3, _FEW):
            return folder
    return None


def _cityscapes(value: int) -> tuple[str, bool] | None:
    if value >= 1000:
        name = CITYSCAPES.get(value // 1000)
        return None if name is None else (name, False)
    name = CITYSCAPES.get(value)
    return None if name is None else (name, True)


def _add_polygons(image: ImageObjects, label: Path) -> None:
    try:
        content = parse_json(read_text(label), str(label))
        objects = content["objects"] if isinstance(content, dict) else None
        if not isinstance(objects, list):
            raise KeyError("objects")
    except (DataError, KeyError) as error:
        image.discard("damaged label", str(error) if isinstance(error, DataError) else f"{label}: no list of objects")
        return
    names = set(CITYSCAPES.values())
    for number, entry in enumerate(objects):
        name = entry.get("label") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            image.leave_out("shape", f"expected an object with a label, got {short(entry)}", number)
            continue
        is_crowd = name.endswith("group") and name.removesuffix("group") in names
        name = name.removesuffix("group") if is_crowd else name
        if name in names and not entry.get("deleted"):
            polygon = entry.get("polygon")
            image.add(name, polygons=[polygon if isinstance(polygon, list) else []], is_crowd=is_crowd, record=number)


class Kitti(Format):
    """KITTI semantic instance segmentation; see the module."""

    name = "kitti"
    looks_for = "training/image_2 and training/instance"
    states_classes = True

    def recognize(self, path: Path) -> bool:
        """Whether a folder has both."""
        return path.is_dir() and _kitti(path) is not None

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of the root or of training/.

        Raises:
            DataError: see `Format.load`.
        """
        folder = _kitti(path) or path
        collector = Collector(path, self.name, list(CITYSCAPES.values()))

        def decode(value: int) -> tuple[str, bool] | None:
            name = CITYSCAPES.get(value >> 8)
            return (name, False) if name is not None and value & 255 else None

        _load_maps(collector, images or folder / "image_2", folder / "instance", decode)
        return collector.finish(validate=validate)


def _kitti(path: Path) -> Path | None:
    for folder in (path / "training", path):
        if (folder / "image_2").is_dir() and files_below(folder / "instance", (".png",), 0, 1):
            return folder
    return None


class Mots(Format):
    """MOTS and KITTI MOTS; see the module."""

    name = "mots"
    looks_for = "images/ or image_02/ beside instances/ with labels.txt or PNG of values class * 1000 + number"

    def recognize(self, path: Path) -> bool:
        """Whether a folder has both."""
        return path.is_dir() and _mots(path) is not None

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a folder.

        Raises:
            DataError: see `Format.load`.
        """
        folder = _mots(path) or path
        listed = folder / "instances" / "labels.txt"
        names: Mapping[int, str] = _MOTS
        if listed.is_file():
            names = dict(enumerate((n.strip() for n in read_text(listed).splitlines() if n.strip()), start=1))
        collector = Collector(path, self.name, list(names.values()))

        def decode(value: int) -> tuple[str, bool] | None:
            if value // 1000 == _MOTS_IGNORED and _MOTS_IGNORED not in names:
                return next(iter(names.values())), True
            return None if value < 1000 else (names.get(value // 1000, str(value // 1000)), False)

        place = images or next(f for f in (folder / n for n in _MOTS_IMAGES) if f.is_dir())
        _load_maps(collector, place, folder / "instances", decode)
        return collector.finish(validate=validate)


_MOTS_IMAGES = ("images", "image_02", "training/image_02")


def _mots(path: Path) -> Path | None:
    for folder in (path, path / "training"):
        instances = folder / "instances"
        if not any((folder / name).is_dir() for name in _MOTS_IMAGES) or (folder / "labels").is_dir():
            continue
        has_frames = any((folder / name).is_dir() for name in _MOTS_IMAGES[1:])
        is_named = (instances / "labels.txt").is_file() or has_frames
        maps = files_below(instances, (".png",), 1, _FEW)
        if maps and (is_named or are_mots_values(maps)):
            return folder
    return None


def _load_maps(collector: Collector, images: Path, maps: Path, decode: Decode) -> None:
    labels = {relative_id(file, maps): file for file in files_below(maps, (".png",))}
    files = {relative_id(file, images): file for file in images_below(images)}
    for stem in sorted({*labels, *files}):
        label = labels.get(stem)
        if label is None:
            collector.report("image without label", f"{stem} has no map; kept without objects", stem, path=files[stem])
        image = collector.image(stem, files.get(stem), label=label, missing=f"no such image: {stem!r} in {images}")
        if image is not None and label is not None:
            add_values(image, label, decode)


class Mapillary(Format):
    """Mapillary Vistas; see the module."""

    name = "mapillary"
    looks_for = "images/ and instances/ (also in v1.2/ or v2.0/) with config*.json above"

    def recognize(self, path: Path) -> bool:
        """Whether a folder, or its splits, have them."""
        if not path.is_dir() or _mapillary_config(path) is None:
            return False
        return any(_mapillary_version(f) is not None for f in (path, *split_folders(path).values()))

    def splits(self, path: Path) -> dict[str, Path]:
        """training/, validation/, ..."""
        return {n: f for n, f in split_folders(path).items() if _mapillary_version(f) is not None}

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a split; v2.0 where both versions are there.

        Raises:
            DataError: see `Format.load`.
        """
        version = _mapillary_version(path)
        if version is None:
            raise DataError(f"{path}: {self.name}: expected {self.looks_for}")
        config = _mapillary_config(path, version.name)
        if config is None:
            raise DataError(f"{path}: no config*.json with the classes beside it or above")
        labels = _mapillary_labels(config)
        things = {number: name for number, (name, has_instances) in enumerate(labels) if has_instances}
        collector = Collector(path, self.name, list(dict.fromkeys(things.values())))
        maps = {relative_id(f, version / "instances"): f for f in files_below(version / "instances", (".png",))}
        polygons = {relative_id(f, version / "polygons"): f for f in files_below(version / "polygons", (".json",))}
        folder = images or path / "images"
        files = {relative_id(file, folder): file for file in images_below(folder)}
        for stem in sorted({*maps, *polygons, *files}):
            label = maps.get(stem) or polygons.get(stem)
            if label is None:
                collector.report("image without label", f"{stem} has no map; kept without objects", stem)
            image = collector.image(stem, files.get(stem), label=label, missing=f"no such image: {stem!r} in {folder}")
            if image is not None and label is not None:
                _add_mapillary(image, label, things)
        return collector.finish(validate=validate)


def _add_mapillary(image: ImageObjects, label: Path, things: Mapping[int, str]) -> None:
    if label.suffix == ".png":

        def decode(value: int) -> tuple[str, bool] | None:
            name = things.get(value >> 8)
            return None if name is None else (name, False)

        add_values(image, label, decode)
        return
    try:
        content = parse_json(read_text(label), str(label))
        objects = content.get("objects") if isinstance(content, dict) else None
        if not isinstance(objects, list):
            raise DataError(f"{label}: no list of objects")
    except DataError as error:
        image.discard("damaged label", str(error))
        return
    names = set(things.values())
    for number, entry in enumerate(objects):
        if isinstance(entry, dict) and entry.get("label") in names:
            polygon = entry.get("polygon")
            nested = isinstance(polygon, list) and polygon and isinstance(polygon[0], list) and len(polygon[0]) > 2
            image.add(entry["label"], polygons=polygon if nested else [polygon or []], record=entry.get("id", number))


def _mapillary_version(path: Path) -> Path | None:
    for folder in (path / "v2.0", path / "v1.2", path):
        if files_below(folder / "instances", (".png",), 0, 1) and (path / "images").is_dir():
            return folder
    return None


def _mapillary_config(path: Path, version: str = "") -> Path | None:
    for folder in (path, path.parent):
        configs = files_below(folder, (".json",), 0)
        configs = [f for f in configs if f.name.startswith("config")]
        if configs:
            return next((f for f in configs if version and version in f.name), configs[-1])
    return None


def _mapillary_labels(config: Path) -> list[tuple[str, bool]]:
    content: Any = parse_json(read_text(config), str(config))
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in labels):
        raise DataError(f'{config}: expected a list "labels" of classes with their names')
    return [(entry["name"], bool(entry.get("instances", True))) for entry in labels]
