"""Pascal VOC: maps of instances and classes in VOC's palette, and an XML file for each image."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np

from mrcnn.data.formats.map_writers import draw_map
from mrcnn.data.formats.saving import Saver, write_png, write_text
from mrcnn.files import atomic_write

_MOST = 254


def write_voc(saver: Saver, split: str, color: Callable[[int], tuple[int, int, int]]) -> None:
    """Write JPEGImages, Annotations, SegmentationObject, SegmentationClass, ImageSets and labelmap.txt.

    Args:
        saver: of the data set.
        split: the name of the list in ImageSets.
        color: of an index in VOC's palette.
    """
    dataset = saver.dataset
    palette = [v for k in range(256) for v in color(k)]
    for index in range(len(dataset)):
        record, (height, width) = dataset.record(index), dataset.image_shape(index)
        annotations = saver.annotations(index)
        for annotation in annotations[_MOST:]:
            saver.lost("too many objects", f"a map holds {_MOST}; not written", record, annotation)
        annotations = annotations[:_MOST]
        for annotation in annotations:
            saver.without(record, annotation)
        values = draw_map(saver, record, annotations, (height, width))
        classes = np.array([0, *(a.class_id for a in annotations)], np.int64)[values]
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = saver.name(index)
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", width), ("height", height), ("depth", 3)):
            ElementTree.SubElement(size, key).text = str(value)
        ElementTree.SubElement(root, "segmented").text = "1"
        for annotation in annotations:
            entry = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(entry, "name").text = saver.class_name(annotation)
            for key in ("truncated", "difficult"):
                ElementTree.SubElement(entry, key).text = "0"
            box = ElementTree.SubElement(entry, "bndbox")
            y1, x1, y2, x2 = (float(v) for v in annotation.box)
            for key, edge in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
                ElementTree.SubElement(box, key).text = f"{edge:.2f}".rstrip("0").rstrip(".")
        saver.put_image(index, saver.path / "JPEGImages")
        stem = saver.stem(index)
        write_png(saver.path / "SegmentationObject" / f"{stem}.png", values.astype(np.uint8), palette)
        write_png(saver.path / "SegmentationClass" / f"{stem}.png", classes.astype(np.uint8), palette)
        with atomic_write(saver.path / "Annotations" / f"{stem}.xml") as temporary:
            ElementTree.indent(root)
            ElementTree.ElementTree(root).write(temporary, encoding="utf-8")
    names = "".join(f"{saver.stem(index)}\n" for index in range(len(dataset)))
    write_text(saver.path / "ImageSets" / "Segmentation" / f"{split}.txt", names)
    rows = [f"{name}:{','.join(map(str, color(k)))}::" for k, name in enumerate(("background", *dataset.class_names))]
    write_text(saver.path / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *rows, ""]))
