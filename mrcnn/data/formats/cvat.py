"""CVAT for images 1.1 and CVAT for video 1.1, as XML.

Polygons, boxes and ellipses (turned ones too), masks, skeletons; shapes of one `group_id` and one label in one image
are parts of one object, of which a box beside polygons or masks is only the bounds. Of a video, the shapes of every
frame that lists them; frames are images/frame_000000.*. Polylines, points and cuboids have no area and are left out
("no area"). Joints are those of the label that has most.

Ref: https://docs.cvat.ai/docs/manual/advanced/xml_format/
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector
from mrcnn.data.formats.cvat_writer import write_cvat
from mrcnn.data.formats.fields import short
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.shapes import ellipse, rectangle
from mrcnn.data.formats.splits import canonical, in_order
from mrcnn.data.formats.xml_text import Element, read_xml, xml_root_tag

_FRAME = re.compile(r"(\d+)$")
_NO_AREA = ("polyline", "points", "cuboid", "tag")
_VISIBLE, _HIDDEN, _ABSENT = 2.0, 1.0, 0.0


class Cvat(Format):
    """CVAT XML; see the module."""

    name = "cvat"
    looks_for = "XML whose root is <annotations>, in a file or as annotations.xml of a folder"

    def recognize(self, path: Path) -> bool:
        """Whether a file, or one in a folder, is CVAT's XML."""
        return bool(_files(path))

    def splits(self, path: Path) -> dict[str, Path]:
        """The subsets that the images of a file name, or the files of a folder where there are several."""
        files = _files(path)
        if len(files) > 1:
            named = {canonical(file.stem): file for file in files}
            return {name: named[name] for name in in_order(list(named))}
        try:
            entries = read_xml(files[0]).iter("image") if files else ()
            subsets = {canonical(entry.get("subset", "")) for entry in entries} - {""}
        except DataError:
            return {}
        return dict.fromkeys(in_order(list(subsets)), files[0]) if len(subsets) > 1 else {}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """The images of a subset."""
        return _load(path, images, validate, split)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True) -> Dataset:
        """The data set of a file or a folder.

        Raises:
            DataError: see `Format.load`.
        """
        files = _files(path)
        return _load(files[0] if files else path, images, validate, None)

    def save(self, saver: Saver, **options: Any) -> None:
        """annotations.xml beside images/; see `formats.cvat_writer`."""
        write_cvat(saver)


def _files(path: Path) -> list[Path]:
    candidates = [path] if path.is_file() else files_below(path, (".xml",), 1, 20)
    return [file for file in candidates if xml_root_tag(file) == "annotations"]


def _load(file: Path, images: Path | None, validate: bool, split: str | None) -> Dataset:
    tree = read_xml(file)
    if tree.tag != "annotations":
        raise DataError(f"{file}: expected <annotations>, got <{tree.tag}>")
    labels = [(e.findtext("name") or "").strip() for e in tree.iter("label") if not (e.findtext("parent") or "")]
    collector = Collector(file, "cvat", list(dict.fromkeys(filter(None, labels))) or None, _joints(tree))
    beside = file.parent / "images"
    folders = [images] if images is not None else [beside] if beside.is_dir() else [file.parent]
    files = ImageFiles(folders)
    own = split is not None and any(e.get("subset") for e in tree.iter("image"))
    for number, entry in enumerate(tree.findall("image"), start=1):
        subset = canonical(entry.get("subset", ""))
        if own and subset != split:
            continue
        _read_image(collector, entry, files, f"image {entry.get('id', number)}")
    if tree.find("track") is not None:
        _read_tracks(collector, tree, files)
    return collector.finish(validate=validate)


def _joints(tree: Element) -> list[str]:
    """The names of the joints of the skeleton that has most."""
    names: dict[str, list[str]] = {}
    for label in tree.iter("label"):
        parent = label.findtext("parent")
        if parent:
            names.setdefault(parent, []).append((label.findtext("name") or "").strip())
    drawn = [
        list(dict.fromkeys(p.get("label", "") for p in skeleton.findall("points")))
        for skeleton in tree.iter("skeleton")
    ]
    return max([*names.values(), *drawn], key=len, default=[])


def _read_image(collector: Collector, entry: Element, files: ImageFiles, record: str) -> None:
    name = entry.get("name") or ""
    sizes = [_optional(entry, key) for key in ("height", "width")]
    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    subset = entry.get("subset")
    file = (files.find(f"{subset}/{name}") if subset else None) or files.find(name)
    image_id = PurePosixPath(name.replace("\\", "/")).with_suffix("").as_posix() if name else record
    if subset and image_id in collector._image_ids:
        image_id = f"{subset}/{image_id}"
    image = collector.image(
        image_id, file, stated=stated, label=collector.path, missing=files.missing(name), file_name=name or None
    )
    if image is not None:
        _add_shapes(image, list(entry))


def _read_tracks(collector: Collector, tree: Element, files: ImageFiles) -> None:
    """The shapes of a video, frame by frame."""
    frames: dict[int, list[Element]] = {}
    for track in tree.findall("track"):
        for shape in track:
            frame = _optional(shape, "frame")
            if frame is None or shape.get("outside") == "1":
                continue
            shape.set("label", track.get("label", ""))
            frames.setdefault(int(frame), []).append(shape)
    by_number = {int(match[1]): f for f in files.files if (match := _FRAME.search(f.stem))}
    for frame in sorted({*frames, *by_number}):
        name = f"frame_{frame:06d}"
        image = collector.image(
            name, by_number.get(frame), label=collector.path, missing=f"no such image: {name}", extra={"frame": frame}
        )
        if image is not None:
            _add_shapes(image, frames.get(frame, []))


class _Part(NamedTuple):
    """One of these."""

    polygon: np.ndarray | None = None
    mask: tuple[np.ndarray, int, int] | None = None
    skeleton: tuple[np.ndarray, list[float]] | None = None


def _add_shapes(image: ImageObjects, shapes: list[Element]) -> None:
    groups: dict[tuple[str, str], list[tuple[str, _Part]]] = {}
    outlined = {_group(shape) for shape in shapes if shape.tag in ("polygon", "mask")}
    for number, shape in enumerate(shapes, start=1):
        record, name = f"{shape.tag} {number}", (shape.get("label") or "").strip()
        if shape.tag == "attribute":
            continue
        if shape.tag in _NO_AREA:
            if shape.tag != "tag":
                image.leave_out("no area", f"{shape.tag} of {name!r} has no area", record)
            continue
        try:
            part = _Part(skeleton=_skeleton(image, shape)) if shape.tag == "skeleton" else _part(shape)
        except DataError as error:
            image.leave_out("shape", str(error), record)
            continue
        group = _group(shape)[1]
        if shape.tag == "box" and group not in ("", "0") and _group(shape) in outlined:
            continue  # the box of an object that has its outline, too, as datumaro writes them
        alone = part.skeleton is not None or group in ("", "0")
        key = (name, f"shape {number}" if alone else group)
        groups.setdefault(key, []).append((record, part))
    for (name, _), parts in groups.items():
        _add_object(image, name, parts)


def _group(shape: Element) -> tuple[str, str]:
    return (shape.get("label") or "").strip(), shape.get("group_id") or ""


def _add_object(image: ImageObjects, name: str, parts: list[tuple[str, _Part]]) -> None:
    record, first = parts[0]
    if first.skeleton is not None:
        keypoints, box = first.skeleton
        image.add(name, box=box, keypoints=keypoints, record=record)
        return
    polygons = [part.polygon for _, part in parts if part.polygon is not None]
    masks = [part.mask for _, part in parts if part.mask is not None]
    image.add_parts(name, polygons, masks, record=record)


def _part(shape: Element) -> _Part:
    turn = _optional(shape, "rotation") or 0.0
    if shape.tag == "polygon":
        return _Part(_points(shape))
    if shape.tag == "box":
        x1, y1, x2, y2 = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        return _Part(rectangle(x1, y1, x2, y2, turn))
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
        return _Part(ellipse(cx, cy, rx, ry, turn))
    if shape.tag == "mask":
        return _Part(mask=_mask(shape))
    raise DataError(f"shape {short(shape.tag)}, expected polygon, box, ellipse, mask or skeleton")


def _optional(element: Element, key: str) -> float | None:
    try:
        value = float(element.get(key, ""))
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _number(element: Element, key: str) -> float:
    value = _optional(element, key)
    if value is None:
        raise DataError(f"{element.tag}: {key} is {short(element.get(key))}, expected a finite number")
    return value


def _points(element: Element) -> np.ndarray:
    """f64[n, 2] of "x,y;x,y;..."."""
    pairs = [pair.split(",") for pair in (element.get("points") or "").split(";") if pair.strip()]
    try:
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("a point without two numbers")
        return np.array([[float(v) for v in pair] for pair in pairs], np.float64).reshape(-1, 2)
    except ValueError as error:
        raise DataError(
            f"{element.tag}: points are {short(element.get('points'))}, expected x,y;x,y ({error})"
        ) from error


def _mask(element: Element) -> tuple[np.ndarray, int, int]:
    """bool[h, w], first row and column: runs of 0 and 1 in turn, along the rows of a window."""
    top, left, height, width = (int(_number(element, key)) for key in ("top", "left", "height", "width"))
    if not 0 < height * width <= 2**28 or height < 0:
        raise DataError(f"mask of {height} x {width}")
    try:
        runs = np.array([int(v) for v in (element.get("rle") or "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"mask: rle is {short(element.get('rle'))}, expected whole numbers") from error
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise DataError(f"mask: runs that sum to {runs.sum()}, expected {height} x {width} = {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(height, width), top, left


def _skeleton(image: ImageObjects, shape: Element) -> tuple[np.ndarray, list[float]]:
    """Joints f64[J, 3], and the box around those that are labeled."""
    names = image.collector.dataset.keypoint_names
    joints: np.ndarray = np.zeros((len(names), 3))
    for entry in shape.findall("points"):
        name = entry.get("label", "")
        if name not in names or entry.get("outside") == "1":
            continue
        points = _points(entry)
        if len(points):
            joints[names.index(name)] = (*points[0], _HIDDEN if entry.get("occluded") == "1" else _VISIBLE)
    labeled = joints[joints[:, 2] > 0]
    if not len(labeled):
        raise DataError("skeleton without a joint inside")
    (x1, y1), (x2, y2) = labeled[:, :2].min(axis=0).tolist(), labeled[:, :2].max(axis=0).tolist()
    return joints, [x1, y1, x2, y2]
