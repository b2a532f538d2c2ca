"""CVAT for images 1.1: polygons, several parts of an object as a group; masks with holes as CVAT's masks."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np

from mrcnn.data.formats.saving import Saver
from mrcnn.data.rasterize import annotation_window
from mrcnn.files import atomic_write
from mrcnn.structures.records import Annotation, ImageRecord

_VISIBLE = 2


def write_cvat(saver: Saver) -> None:
    """Write annotations.xml beside images/."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in saver.dataset.class_names:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    group = 0
    for index in range(len(saver.dataset)):
        record = saver.dataset.record(index)
        height, width = saver.dataset.image_shape(index)
        values = {"id": index, "name": saver.name(index), "width": width, "height": height}
        image = ElementTree.SubElement(root, "image", {key: str(value) for key, value in values.items()})
        for annotation in saver.annotations(index):
            saver.without(record, annotation)
            group += 1
            _add(saver, image, record, annotation, group)
        saver.put_image(index, saver.path / "images")
    with atomic_write(saver.path / "annotations.xml") as temporary:
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def _add(saver: Saver, image: ElementTree.Element, record: ImageRecord, annotation: Annotation, group: int) -> None:
    common = {"label": saver.class_name(annotation), "source": "manual", "occluded": "0", "z_order": "0"}
    height, width = int(image.get("height", 0)), int(image.get("width", 0))
    segmentation = annotation.segmentation
    if segmentation is None:
        sides = dict(zip(("ytl", "xtl", "ybr", "xbr"), (f"{float(v):.4f}" for v in annotation.box), strict=True))
        ElementTree.SubElement(image, "box", {**common, **sides})
        return
    if isinstance(segmentation, list):
        several = {"group_id": str(group)} if len(segmentation) > 1 else {}
        for polygon in segmentation:
            points = ";".join(f"{x:.4f},{y:.4f}" for x, y in np.asarray(polygon, np.float64).reshape(-1, 2).tolist())
            ElementTree.SubElement(image, "polygon", {**common, **several, "points": points})
        return
    top, left, bits = annotation_window(annotation, height, width)
    if not bits.any():
        saver.lost("empty", "a mask without a pixel, not written", record, annotation)
        return
    window = {"left": left, "top": top, "width": bits.shape[1], "height": bits.shape[0]}
    place = {key: str(value) for key, value in window.items()}
    ElementTree.SubElement(image, "mask", {**common, "rle": ", ".join(map(str, row_runs(bits))), **place})


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
