"""GeoJSON: polygons with holes over images, in pixels or, over GeoTIFF, on the map (extra `geo`, rasterio).

A file is of the image that its member "image" names, or of the one of its own name; a file of neither lies over all
images of the folder that have a place on the map, whose parts of its objects they get. Coordinates are those of the
reference system in the member "crs"; without it longitude and latitude (RFC 7946), or those of the image where they
cannot be; pixels (x to the right, y down) where the image has no place on a map or the file has "coordinates":
"pixels". Classes are a property: "class", "class_name", "label", "category", "name", "classification" or "type", the
first that holds text. A property "iscrowd" of 1 marks a crowd region.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format, holds_keys
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.fields import as_id, short
from mrcnn.data.formats.geojson_features import Georeference, georeference
from mrcnn.data.formats.geojson_writer import write_geojson
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.instance_map import CLASS
from mrcnn.data.formats.label_files import keep_unlabeled, read_object
from mrcnn.data.formats.saving import Saver
from mrcnn.data.rasterize import polygons_to_mask
from mrcnn.errors import DependencyError

_SUFFIXES = (".geojson", ".json")
_SAMPLED = 10
_CLASS_KEYS = ("class", "class_name", "label", "category", "name", "classification", "type")
_DEGREES = "urn:ogc:def:crs:OGC:1.3:CRS84"

Parts = list[list[np.ndarray]]
ToPixels = Callable[[np.ndarray], np.ndarray]


class GeoJson(Format):
    """GeoJSON feature collections; see the module."""

    name = "geojson"
    looks_for = 'a JSON object of "type" "FeatureCollection" with "features"'

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one of a folder, is a feature collection."""
        return any(map(_is_collection, [path] if path.is_file() else files_below(path, _SUFFIXES, 2, _SAMPLED)))

    def load(
        self, path: Path, images: Path | None = None, *, validate: bool = True, class_property: str | None = None
    ) -> Dataset:
        """The data set of a file or a folder.

        Args:
            path, images, validate: see `Format.load`.
            class_property: the property that names the class; None: see the module.

        Raises:
            DataError: see `Format.load`.
            DependencyError: an image has a place on the map, and rasterio is not installed.
        """
        root = path.parent if path.is_file() else path
        labels = [path] if path.is_file() else [f for f in files_below(path, _SUFFIXES) if _is_collection(f)]
        reader = _Reader(Collector(path, self.name), ImageFiles([images or root]), root, class_property)
        for label in labels:
            reader.read(label)
        keep_unlabeled(reader.collector, reader.files, reader.used, images or root)
        return reader.collector.finish(validate=validate)

    def save(self, saver: Saver) -> None:
        """An image and a .geojson file for each; see `formats.geojson_writer`."""
        write_geojson(saver)


def _is_collection(file: Path) -> bool:
    return holds_keys(file, "FeatureCollection", "features")


class _Reader:
    """Files of features, and the images they lie over."""

    def __init__(self, collector: Collector, files: ImageFiles, root: Path, class_property: str | None) -> None:
        self.collector, self.files, self.root, self.class_property = collector, files, root, class_property
        self.used: set[Path] = set()
        self._objects: dict[Path, ImageObjects | None] = {}
        self._places: dict[Path, Georeference | None] = {}

    def read(self, label: Path) -> None:
        """The features of one file."""
        try:
            content = read_object(label)
            features = content.get("features")
            if not isinstance(features, list):
                raise DataError(f'{label}: "features" is {short(features)}, expected a list')
            own = self._image_of(content, label)
            targets = [own] if own is not None else [f for f in self.files.files if self._place(f) is not None]
            if not targets:
                named = content.get("image")
                missing = self.files.missing(named if isinstance(named, str) else label.stem)
                self.collector.report("missing image", f"{missing}; left out", path=label)
                return
            to_pixels = {target: self._to_pixels(content, features, target, label) for target in targets}
        except DataError as error:
            image = self.files.find(label.stem)
            self.used |= {image} if image else set()
            self.collector.report("damaged label", f"{error}; its image is left out", path=label)
            return
        key = self.class_property or _class_key(features)
        seen: set[int] = set()
        for target in targets:
            objects = self._image(target, label)
            if objects is not None:
                for number, entry in enumerate(features):
                    if _add(objects, entry, number, key, to_pixels[target], is_part=own is None):
                        seen.add(number)
        for number in range(len(features)):
            if number not in seen and own is None:
                message = f"{label.name}: feature {number} lies over none of the images; left out"
                self.collector.report("box outside", message, record=number, path=label)

    def _image_of(self, content: dict[str, Any], label: Path) -> Path | None:
        named = content.get("image")
        image = self.files.find(named) if isinstance(named, str) else None
        return image or self.files.find(relative_id(label, self.root)) or self.files.find(label.stem)

    def _place(self, image: Path) -> Georeference | None:
        if image not in self._places:
            try:
                self._places[image] = georeference(image)
            except ModuleNotFoundError as error:
                message = f"{image}: has a place on the map, which needs rasterio: pip install 'mrcnn-keras[geo]'"
                raise DependencyError(message) from error
        return self._places[image]

    def _image(self, file: Path, label: Path) -> ImageObjects | None:
        if file not in self._objects:
            self.used.add(file)
            folders = [folder for folder in self.files.folders if folder in file.parents]
            image_id = relative_id(file, folders[0] if folders else file.parent)
            self._objects[file] = self.collector.image(image_id, file, label=label)
        return self._objects[file]

    def _to_pixels(self, content: dict[str, Any], features: list[Any], image: Path, label: Path) -> ToPixels:
        """From the coordinates of a file to pixels of an image."""
        if content.get("coordinates") == "pixels":
            return lambda points: points
        place, stated = self._place(image), _stated_crs(content)
        if place is None:
            if stated is not None or content.get("coordinates") == "map":
                raise DataError(f"{label}: its coordinates are on a map, on which {image.name} states no place")
            return lambda points: points
        if place.crs is None:
            return place.to_pixels
        source = stated or (_DEGREES if _may_be_degrees(features) else place.crs)
        if source == place.crs:
            return place.to_pixels
        return _warped(source, place, label)


def _stated_crs(content: dict[str, Any]) -> str | None:
    crs = content.get("crs")
    properties = crs.get("properties") if isinstance(crs, dict) else None
    name = properties.get("name") if isinstance(properties, dict) else None
    return name if isinstance(name, str) else None


def _may_be_degrees(features: list[Any]) -> bool:
    """Whether all coordinates can be longitudes and latitudes."""
    for entry in features:
        for part in _parts(entry)[0] if isinstance(entry, dict) else ():
            for ring in part:
                if (abs(ring[:, 0]) > 180).any() or (abs(ring[:, 1]) > 90).any():
                    return False
    return True


def _warped(source: str, place: Georeference, label: Path) -> ToPixels:
    import rasterio.crs
    import rasterio.errors
    import rasterio.warp

    try:
        known = rasterio.crs.CRS.from_user_input(source)
    except rasterio.errors.CRSError as error:
        raise DataError(f'{label}: "crs" is {short(source)}, which rasterio does not know ({error})') from error
    target = rasterio.crs.CRS.from_user_input(place.crs)

    def to_pixels(points: np.ndarray) -> np.ndarray:
        x, y = rasterio.warp.transform(known, target, points[:, 0].tolist(), points[:, 1].tolist())
        return place.to_pixels(np.stack([x, y], axis=1))

    return to_pixels


def _properties(entry: dict[str, Any]) -> dict[str, Any]:
    properties = entry.get("properties")
    return properties if isinstance(properties, dict) else {}


def _class_key(features: list[Any]) -> str | None:
    for key in _CLASS_KEYS:
        if any(isinstance(entry, dict) and _text(_properties(entry).get(key)) for entry in features):
            return key
    return None


def _text(value: Any) -> str | None:
    if isinstance(value, dict):  # QuPath's {"name": ..., "color": ...}
        value = value.get("name")
    return value if isinstance(value, str) and value.strip() else None


def _parts(entry: dict[str, Any]) -> tuple[Parts, str]:
    """The parts of a feature, each an outline and its holes, or none and the reason."""
    geometry = entry.get("geometry")
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if not isinstance(geometry, dict) or kind not in ("Polygon", "MultiPolygon"):
        return [], f"geometry {short(kind)}, expected a Polygon or a MultiPolygon"
    polygons: Any = geometry.get("coordinates")
    polygons = [polygons] if kind == "Polygon" else polygons
    parts: Parts = []
    try:
        for polygon in polygons:
            rings = [np.array([position[:2] for position in ring], np.float64) for ring in polygon]
            if not rings or any(r.ndim != 2 or r.shape[1] != 2 or not np.isfinite(r).all() for r in rings):
                raise ValueError("positions")
            parts.append([r[:-1] if len(r) > 1 and (r[0] == r[-1]).all() else r for r in rings])
    except (TypeError, ValueError):
        return [], f'"coordinates" is {short(geometry.get("coordinates"))}, expected rings of positions [x, y]'
    return parts, "no ring"


def _add(image: ImageObjects, entry: Any, number: int, key: str | None, to_pixels: ToPixels, is_part: bool) -> bool:
    """Add a feature to an image; whether it lies over it, or cannot be used at all, which is reported."""
    if not isinstance(entry, dict):
        image.leave_out("wrong type", f"expected a feature, got {short(entry)}", number)
        return True
    ids = (as_id(entry.get("id")), as_id(_properties(entry).get("id")))
    record = next((i for i in ids if i is not None), number)
    parts, reason = _parts(entry)
    if not parts:
        image.leave_out("no area", reason, record)
        return True
    parts = [[to_pixels(ring) for ring in part] for part in parts]
    points = np.concatenate([part[0] for part in parts])
    if not np.isfinite(points).all():
        image.leave_out("not finite", "its coordinates have no place on the image", record)
        return True
    (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
    is_inside = x1 >= 0 and y1 >= 0 and x2 <= image.width and y2 <= image.height
    if is_part and (x1 >= image.width or y1 >= image.height or x2 <= 0 or y2 <= 0):
        return False
    properties = _properties(entry)
    name = CLASS if key is None else _text(properties.get(key)) or _number(properties.get(key))
    crowd = properties.get("iscrowd") in (1, True)
    if all(len(part) == 1 for part in parts) and (is_inside or not is_part):
        image.add(name, polygons=[part[0] for part in parts], is_crowd=crowd, record=record)
        return True
    top, left = max(int(np.floor(y1)) - 1, 0), max(int(np.floor(x1)) - 1, 0)
    height = min(int(np.ceil(y2)) + 1, image.height) - top
    width = min(int(np.ceil(x2)) + 1, image.width) - left
    if height <= 0 or width <= 0:
        image.leave_out("box outside", "it lies outside its image", record)
        return True
    bits = np.zeros((height, width), bool)
    for outer, *holes in parts:
        covered = polygons_to_mask([outer - (left, top)], height, width)
        for hole in holes:
            covered &= ~polygons_to_mask([hole - (left, top)], height, width)
        bits |= covered
    if is_part and not bits.any():
        return False
    image.add_mask(name, bits, top, left, is_crowd=crowd, record=record)
    return True


def _number(value: Any) -> str | None:
    """A class that is a number, as text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
