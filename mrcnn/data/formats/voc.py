"""Pascal VOC: instance maps in SegmentationObject, classes and boxes in an XML file for each image.

Instance k of a map is the object of the XML whose box it fills, the k-th where several do; without an XML the class is
that of most of its pixels in SegmentationClass, by labelmap.txt or the twenty classes of VOC. Value 255 is void.
Objects without a mask are left out ("no mask"), unless `boxes=True` reads them as rectangles. Boxes name their last
pixel: xmax 10 is the edge 10.0 after pixel 10, counted from 1.

Layouts: a VOCdevkit, one of its years, or a folder of XML files with the images beside them, or in images/ or
JPEGImages/. Splits are the lists of ImageSets/Segmentation, else of ImageSets/Main.

Ref: Everingham et al., "The PASCAL Visual Object Classes Challenge 2012 Development Kit".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.collector import Collector, relative_id
from mrcnn.data.formats.fields import read_text
from mrcnn.data.formats.image_files import ImageFiles, files_below
from mrcnn.data.formats.labelme_xml import is_labelme
from mrcnn.data.formats.saving import Saver
from mrcnn.data.formats.splits import canonical, in_order
from mrcnn.data.formats.voc_maps import LabeledObject, add_map, read_labelmap, voc_color
from mrcnn.data.formats.voc_writer import write_voc
from mrcnn.data.formats.xml_text import Element, read_xml, xml_root_tag

_BACKGROUND = ("background", "ignored", "__background__", "void")
_SAMPLED = 20
_LISTS = ("Segmentation", "Main")
_IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "PNGImages", "img")
_XML_FOLDERS = ("Annotations", "annotations", "xml", "labels")


class Voc(Format):
    """Pascal VOC; see the module."""

    name = "voc"
    looks_for = "a folder with SegmentationObject, or of XML files with <annotation><object><bndbox>"
    states_classes = False

    def recognize(self, path: Path) -> bool:
        """Whether a folder has VOC's maps, or XML files as VOC has them."""
        return path.is_dir() and _root(path) is not None

    def splits(self, path: Path) -> dict[str, Path]:
        """The lists of ImageSets."""
        root = _root(path) or path
        for kind in _LISTS:
            lists = files_below(root / "ImageSets" / kind, (".txt",), 0)
            named = {canonical(f.stem): f for f in lists if f.stat().st_size and not _is_list_of_class(f)}
            if named:
                if len(named) > 1:
                    named = {name: f for name, f in named.items() if name != "trainval"}
                return {name: named[name] for name in in_order(list(named))}
        return {}

    def load_split(
        self, path: Path, split: str, images: Path | None = None, *, validate: bool = True, **options: Any
    ) -> Dataset:
        """The images of a list."""
        root = path.parents[2]
        if path.is_dir():
            return self.load(path, images, validate=validate, **options)
        stems = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        return _load(root, path, stems, images, validate, **options)

    def load(self, path: Path, images: Path | None = None, *, validate: bool = True, boxes: bool = False) -> Dataset:
        """The data set of a folder without ImageSets.

        Args:
            path, images, validate: see `Format.load`.
            boxes: read objects that have a box and no mask as rectangles.

        Raises:
            DataError: see `Format.load`.
        """
        return _load(_root(path) or path, path, None, images, validate, boxes)

    def save(self, saver: Saver, *, split: str = "train") -> None:
        """One year's folder with maps, XML and a list; see `formats.voc_writer`."""
        write_voc(saver, split, voc_color)


def _root(path: Path) -> Path | None:
    """The folder of a year: the folder itself, or the only one below VOCdevkit."""
    for base in (path, path / "VOCdevkit"):
        if _is_root(base):
            return base
        years = sorted(f for f in base.glob("VOC*") if f.is_dir() and _is_root(f)) if base.is_dir() else []
        if years:
            return years[-1]
    return None


def _is_root(path: Path) -> bool:
    if (path / "SegmentationObject").is_dir():
        return True
    samples = [f for folder in (path, *(path / n for n in _XML_FOLDERS)) for f in files_below(folder, (".xml",), 0, 5)]
    return _are_voc([file for file in samples if xml_root_tag(file) == "annotation"])


def _are_voc(files: list[Path]) -> bool:
    """Whether a file is VOC's; of files that are cut off or hold an entity, whether no other is LabelMe's."""
    num_damaged, num_labelme = 0, 0
    for file in files:
        try:
            root = read_xml(file)
        except DataError:
            num_damaged += 1
        else:
            num_labelme += is_labelme(root)
    return num_damaged + num_labelme < len(files) or (num_damaged > 0 and not num_labelme)


def _is_list_of_class(file: Path) -> bool:
    """aeroplane_train.txt: each line names an image and whether the class is in it."""
    try:
        lines = read_text(file).splitlines()
    except DataError:
        return True
    first = next((line for line in lines if line.strip()), "")
    return len(first.split()) > 1 or ("_" in file.stem and not first)


def _load(
    root: Path, path: Path, stems: Sequence[str] | None, images: Path | None, validate: bool, boxes: bool = False
) -> Dataset:
    labelmap = read_labelmap(root / "labelmap.txt")
    names = None if labelmap is None else [name for name, _ in labelmap if name.lower() not in _BACKGROUND]
    collector = Collector(path, "voc", names)
    folders = [images] if images is not None else [root / n for n in _IMAGE_FOLDERS if (root / n).is_dir()]
    files = ImageFiles(folders or [root], depth=6 if folders else 0)
    labels = {
        relative_id(f, folder): f
        for folder in (root, *(root / n for n in _XML_FOLDERS))
        for f in files_below(folder, (".xml",), 0 if folder == root else 6)
    }
    maps = {relative_id(f, root / "SegmentationObject"): f for f in files_below(root / "SegmentationObject", (".png",))}
    listed = stems
    if listed is None:
        listed = sorted(maps) if maps else sorted({*labels, *(relative_id(f, _below(f, files)) for f in files.files)})
    for stem in listed:
        _read_image(collector, root, stem, files, labels.get(stem), maps.get(stem), labelmap, boxes)
    if not boxes and collector.num_objects and not any(image.annotations for image in collector._images):
        kinds = {issue.kind for issue in collector.issues if issue.annotation_id is not None}
        if kinds == {"no mask"}:
            message = (
                f"{collector.num_objects} objects have boxes and no mask; boxes=True reads them as rectangles"
                " (load_dataset(..., boxes=True))"
            )
            collector.issues[:] = [issue for issue in collector.issues if issue.kind != "no mask"]
            collector.report("no mask", message, fatal=True)
            collector.num_objects = 0
    return collector.finish(validate=validate)


def _below(file: Path, files: ImageFiles) -> Path:
    return next(folder for folder in files.folders if folder in file.parents)


def _read_image(
    collector: Collector,
    root: Path,
    stem: str,
    files: ImageFiles,
    label: Path | None,
    instance_map: Path | None,
    labelmap: list[tuple[str, tuple[int, int, int]]] | None,
    boxes: bool,
) -> None:
    named, stated = None, None
    objects: list[LabeledObject] = []
    if label is not None:
        try:
            named, stated, objects = _read_label(label)
        except DataError as error:
            collector.report("damaged label", str(error), stem, path=label)
            if instance_map is None:
                return
    file = files.find(stem) or (files.find(named) if named else None)
    if label is None and instance_map is None:
        collector.report("image without label", f"{stem} has no label; kept without objects", stem, path=file)
    image = collector.image(
        stem, file, stated=stated, label=label or instance_map, missing=files.missing(named or stem)
    )
    if image is None:
        return
    with_mask: set[int] = set()
    if instance_map is not None:
        try:
            with_mask = add_map(image, instance_map, root, stem, objects, labelmap)
        except DataError as error:
            image.discard("damaged label", str(error))
            return
    for number, entry in enumerate(objects, start=1):
        if number in with_mask:
            continue
        if entry.box is None:
            image.leave_out("no box", "expected <bndbox> with four numbers", number)
        elif boxes:
            y1, x1, y2, x2 = entry.box
            image.add(entry.name, box=(x1, y1, x2, y2), record=number)
        else:
            image.leave_out("no mask", f"{entry.name!r} has a box and no mask", number)


def _read_label(label: Path) -> tuple[str | None, tuple[int, int] | None, list[LabeledObject]]:
    """File name, (height, width) and objects of an XML file."""
    tree = read_xml(label)
    if tree.tag != "annotation":
        raise DataError(f"{label}: expected <annotation>, got <{tree.tag}>; left out")
    sizes = [_number(tree.find("size"), key) for key in ("height", "width")]
    stated = (int(sizes[0]), int(sizes[1])) if sizes[0] and sizes[1] else None
    objects = []
    for entry in tree.findall("object"):
        corners = [_number(entry.find("bndbox"), key) for key in ("ymin", "xmin", "ymax", "xmax")]
        box = None
        if None not in corners:
            y1, x1, y2, x2 = (float(v) for v in corners if v is not None)
            # VOC counts pixels from 1 and names the last one; tools that count from 0 write a 0 at the edge.
            box = (max(y1 - 1, 0.0) if y1 > 0 else y1, max(x1 - 1, 0.0) if x1 > 0 else x1, y2, x2)
        objects.append(LabeledObject((entry.findtext("name") or "").strip(), box))
    return tree.findtext("filename"), stated, objects


def _number(element: Element | None, key: str) -> float | None:
    text = None if element is None else element.findtext(key)
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None
