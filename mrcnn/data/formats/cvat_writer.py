"""CVAT for images 1.1: polygons, several parts of an object as a group; masks with holes as CVAT's masks."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.formats.saving import Saver
from mrcnn.data.rasterize import annotation_window
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation


def write_cvat(saver: Saver) -> None:
    """Write annotations.xml beside images/."""
    root = cvat_root(saver.dataset.class_names)
    group = 0
    for index in range(len(saver.dataset)):
        record = saver.dataset.record(index)
        height, width = saver.dataset.image_shape(index)
        image = cvat_image(index, saver.name(index), height, width)
        root.append(image)
        for annotation in saver.annotations(index):
            saver.without(record, annotation)
            group += 1
            if add_object(image, saver.class_name(annotation), annotation, group) is None:
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
        saver.put_image(index, saver.path / "images")
    with atomic_write(saver.path / "annotations.xml") as temporary:
        write_xml(root, temporary)


def cvat_root(class_names: Sequence[str], attributes: Sequence[str] = ()) -> ElementTree.Element:
    """The root of a file, its labels stated, each with some numeric attributes."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in class_names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        for attribute in attributes:
            entry = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
            for key, value in (("name", attribute), ("mutable", "False"), ("input_type", "text")):
                ElementTree.SubElement(entry, key).text = value
    return root


def cvat_image(number: int, name: str, height: int, width: int) -> ElementTree.Element:
    """The element of an image."""
    values = {"id": number, "name": name, "width": width, "height": height}
    return ElementTree.Element("image", {key: str(value) for key, value in values.items()})


def write_xml(root: ElementTree.Element, path: Path) -> None:
    """Write a file of CVAT, indented."""
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def add_object(
    image: ElementTree.Element, label: str, annotation: Annotation, group: int
) -> list[ElementTree.Element] | None:
    """Add one object to an image: polygons, of one group where they are several; a mask; a box.

    Returns:
        its elements; None: a mask without a pixel, nothing is added.
    """
    common = {"label": label, "source": "manual", "occluded": "0", "z_order": "0"}
    height, width = int(image.get("height", 0)), int(image.get("width", 0))
    segmentation = annotation.segmentation
    if segmentation is None:
        sides = dict(zip(("ytl", "xtl", "ybr", "xbr"), (f"{float(v):.4f}" for v in annotation.box), strict=True))
        return [ElementTree.SubElement(image, "box", {**common, **sides})]
    if isinstance(segmentation, list):
        several = {"group_id": str(group)} if len(segmentation) > 1 else {}
        added = []
        for polygon in segmentation:
            points = ";".join(f"{x:.6f},{y:.6f}" for x, y in np.asarray(polygon, np.float64).reshape(-1, 2).tolist())
            added.append(ElementTree.SubElement(image, "polygon", {**common, **several, "points": points}))
        return added
    top, left, bits = annotation_window(annotation, height, width)
    if not bits.any():
        return None
    window = {"left": left, "top": top, "width": bits.shape[1], "height": bits.shape[0]}
    place = {key: str(value) for key, value in window.items()}
    return [ElementTree.SubElement(image, "mask", {**common, "rle": ", ".join(map(str, row_runs(bits))), **place})]


def row_runs(bits: np.ndarray) -> list[int]:
    """Runs of 0 and 1 in turn along the rows, beginning with 0.

    Example:
        >>> row_runs(np.array([[1, 1], [0, 1]], bool))
        [0, 2, 1, 1]
    """
    flat = np.asarray(bits, bool).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
